//! What a server offers in its reply to EHLO (RFC 5321 section 4.1.1.1).

use super::Mechanisms;

/// The extensions that matter to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954.
    pub auth: Mechanisms,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 1870: SIZE was offered. Its limit in octets; `u64::MAX` if it names none or 0.
    pub size: Option<u64>,
}

impl Extensions {
    /// Reads the text of the reply to EHLO: a line of greeting, then a keyword with parameters on each line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "ENHANCEDSTATUSCODES" => found.enhanced_status_codes = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "AUTH" => found.auth.add(words),
                // Servers from before RFC 2554, and those that are kind to clients from before it.
                old if old.starts_with("AUTH=") => found.auth.add(old.split('=').skip(1).chain(words)),
                "SIZE" => {
                    // A limit that is no number is taken for none: the server will say so itself.
                    let limit = words.next().and_then(|word| word.parse().ok()).filter(|limit| *limit > 0);
                    found.size = Some(limit.unwrap_or(u64::MAX));
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_in_any_case_after_the_first_line() {
        let all = Extensions::parse(
            "PIPELINING.example\npipelining\nSIZE 1000\n8BitMime\nX-OTHER a b\n\nSMTPUTF8\nSTARTTLS\nENHANCEDSTATUSCODES\nDsn",
        );
        assert!(
            all.pipelining
                && all.eight_bit_mime
                && all.smtputf8
                && all.starttls
                && all.enhanced_status_codes
                && all.dsn
        );
        assert_eq!(all.size, Some(1000));
        for (text, size) in [
            ("a\nSIZE", Some(u64::MAX)),
            ("a\nSIZE 0", Some(u64::MAX)),
            ("a\nSIZE x", Some(u64::MAX)),
            ("SIZE 5", None),
        ] {
            assert_eq!(Extensions::parse(text), Extensions { size, ..Extensions::default() });
        }
    }

    #[test]
    fn mechanisms() {
        for (text, plain, login) in [
            ("a\nAUTH PLAIN LOGIN", true, true),
            ("a\nauth cram-md5 login", false, true),
            ("a\nAUTH=PLAIN X", true, false),
            ("a\nAUTH=LOGIN PLAIN", true, true),
            ("a\nAUTH", false, false),
            ("AUTH PLAIN", false, false),
            ("a\nAUTH PLAINER", false, false),
        ] {
            assert_eq!(Extensions::parse(text).auth, Mechanisms { plain, login }, "{text:?}");
        }
    }
}
