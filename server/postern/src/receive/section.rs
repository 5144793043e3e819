//! `[listener.NAME]`: as written and as used.

use crate::clients::tls::ServerTls;
use crate::clients::{CertificateSection, Certificates, ClientLimits, Clients};
use crate::config::{Size, Span};
use crate::intake::Policy;
use ipnet::IpNet;
use postern_core::smtp::server::Limits;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where listener `feeder` is if nothing is said.
const FEEDER: &str = "127.0.0.1:2525";

/// Delivery can't be put off for longer.
const LONGEST_RELEASE: Duration = Duration::from_secs(366 * 86_400);

/// A client is not kept waiting for its own name for longer.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);
/// RFC 5321 section 4.5.3.2.1 has clients wait for five minutes; few do.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// `[listener.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerSection {
    /// Takes part at all.
    pub enabled: bool,
    /// Address and port; only `feeder` has a default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// SMTP or LMTP.
    pub protocol: ListenerProtocol,
    /// Who may submit without authentication. Without `auth` everybody else is refused in the greeting.
    pub allow_from: Vec<IpNet>,
    /// TLS.
    pub tls: ListenerTlsMode,
    /// Certificate and chain (PEM), for clients that ask for no name that `certificates` has; empty: none.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// More of them, for the names that they are valid for.
    pub certificates: Vec<CertificateSection>,
    /// Who must authenticate.
    pub auth: Auth,
    /// May passwords come without TLS? By default from loopback alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_in_clear: Option<bool>,
    /// After so many failed logins within ten minutes an address, or a name, is turned away for as long.
    pub auth_failures: u32,
    /// Largest content.
    pub max_size: Size,
    /// Most recipients of one transaction.
    pub max_recipients: usize,
    /// Longest line of content.
    pub max_line: Size,
    /// Most sessions at once; more are told 421.
    pub max_sessions: usize,
    /// After so many refused commands a session is ended.
    pub max_errors: usize,
    /// Does X-Sending-Zone choose the zone? By default where only loopback can reach the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_headers: Option<bool>,
    /// How long clients may put delivery off by HOLDFOR and HOLDUNTIL (RFC 4865), a year at most; "0s" does not offer it.
    pub future_release: Span,
    /// Does a Date in the future (5 minutes to a year) delay delivery until then?
    pub future_date: bool,
    /// A message with more Received fields is in a loop and refused.
    pub max_hops: usize,
    /// Does each connection begin with a PROXY header, version 1 or 2? `allow_from` is then for the addresses in it.
    pub proxy_protocol: bool,
    /// Where the proxies are: nobody else may connect where `proxy_protocol` is on.
    pub proxy_from: Vec<IpNet>,
    /// Who may say by XCLIENT for whom it speaks: hosts that stand in front of this one, such as nginx.
    pub xclient_from: Vec<IpNet>,
    /// How long to look for the name of a client's address; "0s" does not.
    pub reverse_lookup: Span,
    /// How long to wait before the greeting, a minute at most: who talks in that time is refused.
    pub greet_delay: Span,
    /// What one address may do.
    pub per_address: ClientLimits,
    /// What one user may do.
    pub per_user: ClientLimits,
}

/// The networks of this machine alone.
fn loopback() -> Vec<IpNet> {
    [(IpAddr::from([127, 0, 0, 0]), 8), (IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 128)]
        .into_iter()
        .filter_map(|(ip, length)| IpNet::new(ip, length).ok())
        .collect()
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// TLS of a listener.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTlsMode {
    /// Never.
    Off,
    /// STARTTLS is offered.
    StartTls,
    /// From the first octet on (RFC 8314).
    Implicit,
}

/// AUTH of a listener.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Is not offered.
    Off,
    /// Who is not in `allow_from` must authenticate.
    Optional,
    /// Everybody must.
    Required,
}

impl Default for ListenerSection {
    fn default() -> Self {
        Self {
            enabled: true,
            address: None,
            protocol: ListenerProtocol::Smtp,
            allow_from: loopback(),
            tls: ListenerTlsMode::Off,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            certificates: Vec::new(),
            auth: Auth::Off,
            auth_in_clear: None,
            auth_failures: 10,
            max_size: Size(30 << 20),
            max_recipients: 1000,
            max_line: Size(64 << 10),
            max_sessions: 10_000,
            max_errors: 20,
            trust_headers: None,
            future_release: Span::secs(0),
            future_date: false,
            max_hops: 50,
            proxy_protocol: false,
            proxy_from: loopback(),
            xclient_from: Vec::new(),
            reverse_lookup: Span::secs(2),
            greet_delay: Span::secs(0),
            per_address: ClientLimits::default(),
            per_user: ClientLimits::default(),
        }
    }
}

/// A listener as used.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As in `[listener.NAME]`.
    pub name: Arc<str>,
    /// Address and port.
    pub address: SocketAddr,
    /// Who may submit without authentication.
    pub allow_from: Vec<IpNet>,
    /// Its certificates; none without TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// When TLS begins.
    pub tls_mode: ListenerTlsMode,
    /// Who must authenticate.
    pub auth: Auth,
    /// May passwords come without TLS? None: from loopback alone.
    pub auth_in_clear: Option<bool>,
    /// Failed logins of one address, or for one name, before it is turned away.
    pub auth_failures: u32,
    /// Most sessions at once.
    pub max_sessions: usize,
    /// What one session may do.
    pub limits: Limits,
    /// How long clients may put delivery off, where they may.
    pub future_release: Option<Duration>,
    /// What its clients' headers may do.
    pub policy: Policy,
    /// Where the proxies are, if connections come through them.
    pub proxies: Option<Vec<IpNet>>,
    /// Who may speak for others by XCLIENT.
    pub xclient_from: Vec<IpNet>,
    /// How long to look for the name of a client's address; zero: not at all.
    pub reverse_lookup: Duration,
    /// How long clients wait for the greeting.
    pub greet_delay: Duration,
    /// Who is there, and what they have done.
    pub clients: Arc<Clients>,
}

impl ListenerSection {
    /// Fills the default address in and checks the values; None if the listener is not enabled.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&mut self, name: &str) -> Result<Option<Listener>, String> {
        if name == "feeder" && self.address.is_none() {
            self.address = FEEDER.parse().ok();
        }
        if !self.enabled {
            return Ok(None);
        }
        let wrong = |key: &str, text: &str| Err(format!("listener.{name}.{key}: {text}"));
        let Some(address) = self.address else {
            return wrong("address", "a listener needs one, such as \"127.0.0.1:2526\"");
        };
        if self.auth_failures == 0 {
            return wrong("auth_failures", "must be at least 1");
        }
        if self.max_recipients == 0 || self.max_sessions == 0 || self.max_errors == 0 {
            return wrong("max_recipients, max_sessions, max_errors", "must be at least 1");
        }
        if let Some(net) =
            self.allow_from.iter().find(|net| net.prefix_len() < if net.addr().is_ipv4() { 8 } else { 16 })
        {
            return wrong(
                "allow_from",
                &format!("{net} would make an open relay: name the networks of your own clients"),
            );
        }
        if self.max_size.0 == 0 {
            return wrong("max_size", "must not be 0");
        }
        if self.future_release.0 > LONGEST_RELEASE {
            return wrong("future_release", "a year (\"366d\") is the longest");
        }
        if self.reverse_lookup.0 > LONGEST_LOOKUP {
            return wrong("reverse_lookup", "half a minute (\"30s\") is the longest");
        }
        if self.greet_delay.0 > LONGEST_DELAY {
            return wrong("greet_delay", "a minute (\"60s\") is the longest: clients wait for no more than five");
        }
        if self.max_line.0 < 998 {
            return wrong("max_line", "RFC 5321 asks for at least 998");
        }
        let tls = self.check_tls(name)?;
        let limits = Limits {
            max_size: self.max_size.0,
            max_recipients: self.max_recipients,
            max_line: usize::try_from(self.max_line.0).unwrap_or(usize::MAX),
            max_errors: self.max_errors,
            future_release: None,
            lmtp: self.protocol == ListenerProtocol::Lmtp,
        };
        let policy = Policy {
            trust_headers: self.trust_headers.unwrap_or(address.ip().to_canonical().is_loopback()),
            future_date: self.future_date,
            max_hops: self.max_hops,
        };
        Ok(Some(Listener {
            name: name.into(),
            address,
            allow_from: self.allow_from.clone(),
            tls: tls.map(Arc::new),
            tls_mode: self.tls,
            auth: self.auth,
            auth_in_clear: self.auth_in_clear,
            auth_failures: self.auth_failures,
            max_sessions: self.max_sessions,
            limits,
            future_release: Some(self.future_release.0).filter(|longest| !longest.is_zero()),
            policy,
            proxies: self.proxy_protocol.then(|| self.proxy_from.clone()),
            xclient_from: self.xclient_from.clone(),
            reverse_lookup: self.reverse_lookup.0,
            greet_delay: self.greet_delay.0,
            clients: Clients::new(self.per_address, self.per_user),
        }))
    }

    /// Reads the certificates.
    fn check_tls(&self, name: &str) -> Result<Option<ServerTls>, String> {
        if self.tls == ListenerTlsMode::Off {
            return Ok(None);
        }
        let files = Certificates { certificate: &self.certificate, key: &self.key, more: &self.certificates };
        files.read(&format!("listener.{name}"), &["smtp", "esmtp"]).map(Some)
    }
}

impl Listener {
    /// May this client submit? `::ffff:127.0.0.1` is 127.0.0.1.
    #[must_use]
    pub fn allows(&self, peer: IpAddr) -> bool {
        contains(&self.allow_from, peer)
    }

    /// May this client speak for others?
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        contains(&self.xclient_from, peer)
    }

    /// May this peer connect, be it a client or, where those are in between, a proxy?
    #[must_use]
    pub fn may_connect(&self, peer: IpAddr) -> bool {
        self.proxies.as_ref().is_none_or(|proxies| contains(proxies, peer))
    }
}

fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_submit_by_default() {
        let listener = ListenerSection::default().check("feeder").unwrap().unwrap();
        assert_eq!(listener.address, FEEDER.parse().unwrap());
        for (peer, allowed) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("128.0.0.1", false),
            ("::2", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(listener.allows(peer.parse().unwrap()), allowed, "{peer}");
        }
        assert!(ListenerSection::default().check("other").unwrap_err().starts_with("listener.other.address"));
    }
}
