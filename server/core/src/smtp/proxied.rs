//! The PROXY header, versions 1 and 2, that a proxy sends before anything else: who its client is.

use proxy_header::{Error, ParseConfig, ProxyHeader};
use std::net::SocketAddr;

/// Longest header, with what a proxy adds to version 2, in octets.
pub const LONGEST_HEADER: usize = 2048;
/// Longest header of version 1, in octets, line end included.
const LONGEST_LINE: usize = 107;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyClient {
    /// The client's address; None where the proxy speaks for itself (a health check), or of a client that it can't name.
    pub address: Option<SocketAddr>,
    /// Octets of the header.
    pub length: usize,
}

/// There is no such header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It does not end within [`LONGEST_HEADER`].
    #[error("the PROXY header is too long")]
    TooLong,
    /// It is something else.
    #[error("no PROXY header: {0}")]
    Malformed(String),
}

/// Reads the header that `seen` begins with; None if there is more of it to come.
///
/// # Errors
/// See [`ProxyError`].
pub fn proxy_client(seen: &[u8]) -> Result<Option<ProxyClient>, ProxyError> {
    match ProxyHeader::parse(seen, ParseConfig::default()) {
        // The crate looks at the length of version 1 only while the line is not complete, and not at all at the octet
        // behind the first word.
        Ok((_, length)) if seen.starts_with(b"P") && length > LONGEST_LINE => Err(ProxyError::TooLong),
        Ok(_) if seen.starts_with(b"P") && seen.get(5) != Some(&b' ') => {
            Err(ProxyError::Malformed("Invalid PROXY protocol header".to_owned()))
        }
        Ok((header, length)) => {
            Ok(Some(ProxyClient { address: header.proxied_address().map(|address| address.source), length }))
        }
        Err(Error::BufferTooShort) if seen.len() < LONGEST_HEADER => Ok(None),
        Err(Error::BufferTooShort) => Err(ProxyError::TooLong),
        Err(error) => Err(ProxyError::Malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(header: &[u8]) -> Option<String> {
        let found = proxy_client(header).unwrap().unwrap();
        assert_eq!(found.length, header.len());
        for cut in 0..header.len() {
            assert_eq!(proxy_client(&header[..cut]), Ok(None), "cut at {cut}");
        }
        found.address.map(|address| address.to_string())
    }

    #[test]
    fn headers() {
        assert_eq!(address(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 25\r\n").as_deref(), Some("192.0.2.1:4000"));
        assert_eq!(address(b"PROXY TCP6 2001:db8::1 ::1 4000 25\r\n").as_deref(), Some("[2001:db8::1]:4000"));
        assert_eq!(address(b"PROXY UNKNOWN\r\n"), None);
        let second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x0f\xa0\0\x19";
        assert_eq!(address(second).as_deref(), Some("192.0.2.1:4000"));
        assert_eq!(address(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), None);
    }

    #[test]
    fn what_is_none() {
        for other in [&b"EHLO x\r\n"[..], b"GET / HTTP/1.1\r\n", b"PROXY TCP4 a b c d\r\n", b"\x16\x03\x01"] {
            assert!(matches!(proxy_client(other), Err(ProxyError::Malformed(_))), "{other:?}");
        }
        assert!(proxy_client(b"PROXYxTCP4 192.0.2.1 192.0.2.2 4000 25\r\n").is_err());
        let long = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert!(proxy_client(long(107).as_bytes()).is_ok());
        assert_eq!(proxy_client(long(108).as_bytes()), Err(ProxyError::TooLong));
        let endless = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(), vec![0; LONGEST_HEADER]].concat();
        assert_eq!(proxy_client(&endless), Err(ProxyError::TooLong));
    }
}
