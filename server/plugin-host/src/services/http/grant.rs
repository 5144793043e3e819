//! The grant `http = ["https://api.example.com", …]`: origins that a plugin may reach.
//!
//! An origin is scheme, host and port. `https://*.example.com` stands for one label before `.example.com`, as in a
//! certificate. Origins are compared as the URL standard normalises them, which is what is connected to: case, percent
//! signs, odd forms of an IP address and internationalised names make no difference.

use crate::services::error::GrantError;
use reqwest::Url;
use std::fmt;

/// So many origins has a grant.
const MAX_ORIGINS: usize = 100;

/// What a plugin may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    origin: Origin,
    /// The host is what follows `*.`.
    wildcard: bool,
}

/// Whom a request goes to. `Display` is how it would be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// That of a URL of http or https.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        Some(Self { https, host, port: url.port_or_known_default()? })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl HttpGrant {
    /// Reads the grant's value: a list of origins.
    ///
    /// # Errors
    /// The entry that is none, and why.
    pub fn parse(value: &serde_json::Value) -> Result<Self, GrantError> {
        let wrong = || {
            let text = "the grant `http` is a list of origins, such as [\"https://api.example.com\"]";
            GrantError(text.to_owned())
        };
        let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        if list.len() > MAX_ORIGINS {
            return Err(GrantError(format!("the grant `http` has more than {MAX_ORIGINS} origins")));
        }
        let read = |value: &serde_json::Value| {
            let text = value.as_str().ok_or_else(wrong)?;
            entry(text).map_err(|why| GrantError(format!("the grant `http`: `{}` {why}", text.escape_debug())))
        };
        list.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn covers(&self, origin: &Origin) -> bool {
        self.0.iter().any(|entry| entry.covers(origin))
    }
}

impl Entry {
    fn covers(&self, origin: &Origin) -> bool {
        if !self.wildcard {
            return self.origin == *origin;
        }
        let below = origin.host.strip_suffix(&self.origin.host).and_then(|label| label.strip_suffix('.'));
        let one_label = below.is_some_and(|label| !label.is_empty() && !label.contains('.'));
        one_label && (self.origin.https, self.origin.port) == (origin.https, origin.port)
    }
}

fn entry(text: &str) -> Result<Entry, String> {
    let (scheme, rest) = text.split_once("://").ok_or("is not an origin like https://api.example.com")?;
    if !matches!(scheme, "http" | "https") {
        return Err(format!("begins with {}://; only http:// and https:// can be granted", scheme.escape_debug()));
    }
    if rest.contains('@') {
        return Err("has a user or password; an origin is scheme, host and port".to_owned());
    }
    if rest.contains(['/', '\\', '?', '#']) {
        return Err("has a path; an origin is scheme, host and port alone, without a slash at its end".to_owned());
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has white space in it".to_owned());
    }
    let (wildcard, host) = rest.strip_prefix("*.").map_or((false, rest), |host| (true, host));
    if host.contains('*') {
        return Err("has a star elsewhere than as the first label (https://*.example.com)".to_owned());
    }
    let url = Url::parse(&format!("{scheme}://{host}")).map_err(|error| format!("is not an origin: {error}"))?;
    if wildcard && !url.domain().is_some_and(|domain| domain.trim_end_matches('.').contains('.')) {
        return Err("has too wide a star: at least two labels of a name must follow it".to_owned());
    }
    let origin = Origin::of(&url).ok_or("is not an origin")?;
    Ok(Entry { origin, wildcard })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grant(entry: &str) -> HttpGrant {
        HttpGrant::parse(&json!([entry])).unwrap()
    }

    #[test]
    fn what_a_grant_covers() {
        let check = |entry: &str, url: &str, expected: bool| {
            let origin = Origin::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(grant(entry).covers(&origin), expected, "{entry} {url}");
        };
        check("https://api.example.com", "https://api.example.com/path?q#f", true);
        check("https://api.example.com", "https://API.example.com:443", true);
        check("https://api.example.com:443", "https://api.example.com", true);
        check("https://api.example.com", "http://api.example.com", false);
        check("https://api.example.com", "https://api.example.com:8443", false);
        check("https://api.example.com", "https://api.example.com.", false);
        check("https://api.example.com", "https://x.api.example.com", false);
        check("https://api.example.com", "https://api.example.com.evil.test", false);
        check("https://api.example.com", "https://api.example.com@evil.test", false);
        check("http://127.0.0.1:11333", "http://127.0.0.1:11333/checkv2", true);
        check("http://127.0.0.1:11333", "http://0x7f.1:11333/", true);
        check("http://[::1]:80", "http://[0:0::1]/", true);
        check("https://n\u{e4}ide.example", "https://xn--nide-loa.example/", true);
        check("https://*.example.com", "https://a.example.com", true);
        check("https://*.example.com", "https://a.b.example.com", false);
        check("https://*.example.com", "https://example.com", false);
        check("https://*.example.com", "https://.example.com", false);
        check("https://*.example.com", "https://aexample.com", false);
        check("https://*.example.com", "http://a.example.com", false);
        check("https://*.example.com:8443", "https://a.example.com:8443", true);
    }

    #[test]
    fn what_is_no_grant() {
        let check = |value: serde_json::Value, part: &str| {
            let error = HttpGrant::parse(&value).unwrap_err().to_string();
            assert!(error.contains("`http`") && error.contains(part), "{value}: {error}");
        };
        check(json!(true), "list of origins");
        check(json!([]), "list of origins");
        check(json!(["https://a.example", 1]), "list of origins");
        check(json!(["https://a.example/"]), "`https://a.example/` has a path");
        check(json!(["https://a.example/x"]), "has a path");
        check(json!(["https://a.example?q"]), "has a path");
        check(json!(["https://u:p@a.example"]), "user or password");
        check(json!(["ftp://a.example"]), "begins with ftp://");
        check(json!(["a.example"]), "is not an origin");
        check(json!(["https://"]), "is not an origin");
        check(json!(["https://a.example:99999"]), "is not an origin");
        check(json!(["https://a b"]), "white space");
        check(json!(["https://*"]), "star elsewhere");
        check(json!(["https://a.*.example"]), "star elsewhere");
        check(json!(["https://**.example.com"]), "star elsewhere");
        check(json!(["https://*.com"]), "too wide");
        check(json!(["https://*.com."]), "too wide");
        check(json!(["https://*.10.0.0.1"]), "too wide");
        check(json!(vec!["https://a.example"; 101]), "more than 100");
    }

    #[test]
    fn origins_as_text() {
        for (url, expected) in
            [("https://A.example/x", "https://a.example"), ("http://a.example:8080", "http://a.example:8080")]
        {
            assert_eq!(Origin::of(&Url::parse(url).unwrap()).unwrap().to_string(), expected);
        }
        assert_eq!(Origin::of(&Url::parse("ftp://a.example").unwrap()), None);
    }
}
