//! XCLIENT: a trusted host says for whom it speaks (Postfix's `XCLIENT_README`), as nginx and Postfix do in front of a
//! server of their own.

use crate::hook::Protocol;
use crate::mail::{valid_domain, xtext_decode};
use std::net::IpAddr;

/// The attributes that are understood, as EHLO offers them.
pub const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN";

/// Longest name of a user, in octets.
const MAX_LOGIN: usize = 255;

/// What an attribute says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said<T> {
    /// It was not given: what was known stays.
    #[default]
    Nothing,
    /// `[UNAVAILABLE]` or `[TEMPUNAVAIL]`: there is none, or nobody knows it now.
    Unknown,
    /// This.
    Value(T),
}

/// Who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xclient {
    /// NAME: what the address's DNS says it is called, checked by whoever says it.
    pub name: Said<String>,
    /// ADDR
    pub address: Said<IpAddr>,
    /// PORT
    pub port: Said<u16>,
    /// PROTO
    pub protocol: Said<Protocol>,
    /// HELO
    pub helo: Said<String>,
    /// LOGIN: the user that has authenticated there.
    pub login: Said<String>,
}

impl Xclient {
    /// Reads the command's arguments. Names of attributes are in any case, and values are xtext (RFC 3461 section 4).
    /// None if one of them is malformed, unknown or given twice, or if there is none.
    #[must_use]
    pub fn parse(arguments: &str) -> Option<Self> {
        let mut client = Self::default();
        let mut any = false;
        for attribute in arguments.split_ascii_whitespace() {
            let (name, value) = attribute.split_once('=')?;
            any = true;
            match name.to_ascii_uppercase().as_str() {
                "NAME" => set(&mut client.name, value, |name| valid_domain(&name).then_some(name))?,
                "ADDR" => set(&mut client.address, value, |text| address(&text))?,
                "PORT" => set(&mut client.port, value, |port| port.parse().ok())?,
                "PROTO" => set(&mut client.protocol, value, |name| protocol(&name))?,
                "HELO" => set(&mut client.helo, value, |name| super::command::is_client_name(&name).then_some(name))?,
                "LOGIN" => set(&mut client.login, value, |name| (name.len() <= MAX_LOGIN).then_some(name))?,
                _ => return None,
            }
        }
        any.then_some(client)
    }
}

fn set<T>(said: &mut Said<T>, value: &str, read: impl Fn(String) -> Option<T>) -> Option<()> {
    if !matches!(said, Said::Nothing) {
        return None;
    }
    let value = xtext_decode(value)?;
    *said = match value.to_ascii_uppercase().as_str() {
        "[UNAVAILABLE]" | "[TEMPUNAVAIL]" => Said::Unknown,
        _ => Said::Value(read(value)?),
    };
    Some(())
}

/// `192.0.2.1`, `IPV6:2001:db8::1`; the prefix may be missing.
fn address(text: &str) -> Option<IpAddr> {
    let prefix = text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("IPV6:"));
    let address: IpAddr = text[prefix.map_or(0, str::len)..].parse().ok()?;
    (prefix.is_none() || address.is_ipv6()).then(|| address.to_canonical())
}

fn protocol(name: &str) -> Option<Protocol> {
    [Protocol::Smtp, Protocol::Esmtp].into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let all = "NAME=mail.example ADDR=192.0.2.1 PORT=4000 PROTO=ESMTP HELO=[192.0.2.1] LOGIN=a+2Bb";
        let expected = Xclient {
            name: Said::Value("mail.example".into()),
            address: Said::Value("192.0.2.1".parse().unwrap()),
            port: Said::Value(4000),
            protocol: Said::Value(Protocol::Esmtp),
            helo: Said::Value("[192.0.2.1]".into()),
            login: Said::Value("a+b".into()),
        };
        assert_eq!(Xclient::parse(all), Some(expected));
        let unknown = Xclient::parse("name=[UNAVAILABLE] login=[tempunavail]").unwrap();
        assert_eq!((unknown.name, unknown.login, unknown.helo), (Said::Unknown, Said::Unknown, Said::Nothing));
    }

    #[test]
    fn addresses() {
        let check = |value: &str, expected: &str| {
            let address = Xclient::parse(&format!("ADDR={value}")).map(|client| client.address);
            assert_eq!(address, Some(Said::Value(expected.parse().unwrap())), "{value}");
        };
        check("IPV6:2001:db8::1", "2001:db8::1");
        check("ipv6:::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8::1", "2001:db8::1");
    }

    #[test]
    fn mistakes() {
        for wrong in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=300.1.1.1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=192.0.2.1 ADDR=192.0.2.2",
            "PORT=65536",
            "PROTO=HTTP",
            "NAME=a b",
            "NAME=a+0Ab",
            "HELO=a+20b",
            "LOGIN=a+0D+0Ab",
            "DESTADDR=192.0.2.1",
            "COLOUR=red",
        ] {
            assert_eq!(Xclient::parse(wrong), None, "{wrong}");
        }
    }
}
