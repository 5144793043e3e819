//! `[http]`: as written and as used.

use super::credentials::Credentials;
use crate::clients::tls::ServerTls;
use crate::clients::{CertificateSection, Certificates, ClientLimits, Clients};
use crate::config::{Secret, Size};
use crate::intake::Policy;
use crate::users::Users;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// `[http]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Is it served at all?
    pub enabled: bool,
    /// Address and port.
    pub address: SocketAddr,
    /// TLS.
    pub tls: HttpTlsMode,
    /// Certificate and chain (PEM), for clients that ask for no name that `certificates` has; empty: none.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// More of them, for the names that they are valid for.
    pub certificates: Vec<CertificateSection>,
    /// Must everybody authenticate, also where the config names nobody? Plugins then say who is who.
    pub auth_required: bool,
    /// After so many failed logins within ten minutes an address, or a name, is turned away for as long.
    pub auth_failures: u32,
    /// Largest message.
    pub max_size: Size,
    /// Largest body in JSON, inflated.
    pub max_body: Size,
    /// Most recipients of one request.
    pub max_recipients: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// Does X-Sending-Zone choose the zone? By default where only loopback can reach the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_headers: Option<bool>,
    /// Does a Date in the future (5 minutes to a year) delay delivery until then?
    pub future_date: bool,
    /// A message with more Received fields is in a loop and refused.
    pub max_hops: usize,
    /// What one address may do.
    pub per_address: ClientLimits,
    /// What one user may do.
    pub per_user: ClientLimits,
    /// `[[http.user]]`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<HttpUserSection>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            enabled: true,
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: HttpTlsMode::Off,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            certificates: Vec::new(),
            auth_required: false,
            auth_failures: 10,
            max_size: Size(30 << 20),
            max_body: Size(48 << 20),
            max_recipients: 10_000,
            max_connections: 1000,
            trust_headers: None,
            future_date: false,
            max_hops: 50,
            per_address: ClientLimits::default(),
            per_user: ClientLimits::default(),
            user: Vec::new(),
        }
    }
}

/// TLS of the HTTP API.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HttpTlsMode {
    /// Never.
    Off,
    /// From the first octet on.
    Implicit,
}

/// `[[http.user]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HttpUserSection {
    /// Who it is: the user of the messages.
    pub name: String,
    /// Argon2 hash (PHC string) of the password for Basic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// For Bearer: the SHA-256 of the token in hex, or where the token is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<Scope>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send messages.
    Submit,
    /// Say in whose name, and from which address, they are sent.
    Impersonate,
    /// See the queue, messages in it and figures.
    Read,
    /// Change the queue, reload.
    Admin,
    /// Call what plugins answer.
    Plugin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Submit, Self::Impersonate, Self::Read, Self::Admin, Self::Plugin];

    /// As in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Impersonate => "impersonate",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Plugin => "plugin",
        }
    }
}

/// The HTTP API as used.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port.
    pub address: SocketAddr,
    /// Most connections at once.
    pub max_connections: usize,
    /// What one request may bring.
    pub limits: Limits,
    /// What the headers of messages may do.
    pub policy: Policy,
    /// Its certificates; none without TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Who may do what.
    pub credentials: Arc<Credentials>,
    /// Failed logins of one address, or for one name, before it is turned away.
    pub auth_failures: u32,
    /// Who is there, and what they have done.
    pub clients: Arc<Clients>,
}

/// What one request may bring.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a message.
    pub max_size: u64,
    /// Octets of a body in JSON, inflated.
    pub max_body: u64,
    /// Recipients of a request.
    pub max_recipients: usize,
}

impl HttpSection {
    /// Checks the values; None if the API is off. `users` may submit by name and password.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, users: &Users) -> Result<Option<Http>, String> {
        if !self.enabled {
            return Ok(None);
        }
        for (key, zero) in [
            ("max_size", self.max_size.0 == 0),
            ("max_body", self.max_body.0 == 0),
            ("max_recipients", self.max_recipients == 0),
            ("max_connections", self.max_connections == 0),
            ("auth_failures", self.auth_failures == 0),
        ] {
            if zero {
                return Err(format!("http.{key}: must not be 0"));
            }
        }
        let is_local = self.address.ip().to_canonical().is_loopback();
        let credentials = Credentials::new(&self.user, users, self.auth_required)?;
        if credentials.is_empty() && !is_local {
            return Err(format!(
                "http.address: {} can be reached from other machines, where anybody could send mail: \
                 say who may in [[http.user]], let plugins say it with auth_required = true, or use an address of this machine alone such as 127.0.0.1",
                self.address
            ));
        }
        let tls = match self.tls {
            HttpTlsMode::Off => None,
            HttpTlsMode::Implicit => {
                let files = Certificates { certificate: &self.certificate, key: &self.key, more: &self.certificates };
                Some(Arc::new(files.read("http", &["http/1.1"])?))
            }
        };
        Ok(Some(Http {
            address: self.address,
            tls,
            auth_failures: self.auth_failures,
            clients: Clients::new(self.per_address, self.per_user),
            max_connections: self.max_connections,
            limits: Limits {
                max_size: self.max_size.0,
                max_body: self.max_body.0,
                max_recipients: self.max_recipients,
            },
            policy: Policy {
                trust_headers: self.trust_headers.unwrap_or(is_local),
                future_date: self.future_date,
                max_hops: self.max_hops,
            },
            credentials: Arc::new(credentials),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Users {
        Users::check(&std::collections::BTreeMap::new()).unwrap()
    }

    fn check(text: &str) -> Result<Option<Http>, String> {
        toml::from_str::<HttpSection>(text).map_err(|error| error.message().to_owned())?.check(&nobody())
    }

    #[test]
    fn what_others_can_reach_needs_credentials() {
        for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            let error = check(&format!("address = '{open}'")).unwrap_err();
            assert!(error.starts_with("http.address: ") && error.contains("[[http.user]]"), "{error}");
        }
        for local in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(&format!("address = '{local}'")).unwrap().unwrap().policy.trust_headers, "{local}");
        }
        let user = format!("user = [{{ name = 'a', token = '{}', scopes = ['submit'] }}]", "0a".repeat(32));
        assert!(!check(&format!("address = '0.0.0.0:8080'\n{user}")).unwrap().unwrap().policy.trust_headers);
        assert!(check("address = '0.0.0.0:8080'\nauth_required = true").unwrap().is_some());
        assert!(check("enabled = false\naddress = '0.0.0.0:8080'").unwrap().is_none());
    }

    #[test]
    fn mistakes_name_their_key() {
        let wrong = |text: &str, wanted: &str| {
            let error = check(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        wrong("max_size = 0", "http.max_size: ");
        wrong("auth_failures = 0", "http.auth_failures: ");
        wrong("tls = 'starttls'", "`implicit`");
        wrong("tls = 'implicit'", "http.certificate: TLS needs a file");
        wrong("tls = 'implicit'\ncertificate = '/no/such'\nkey = 'k'", "http.certificate: /no/such: ");
        wrong("max_connections = 0", "http.max_connections: ");
        wrong("user = [{ name = 'a', scopes = ['sbmit'] }]", "`submit`");
        wrong("user = [{ name = 'a', scopes = ['submit'] }]", "[[http.user]] `a`: ");
        wrong("user = [{ name = 'a', token = 't', scopes = ['submit'] }]", "`a`: token: ");
        wrong("user = [{ name = 'a', password = 'p', scopes = ['submit'] }]", "`a`: password: ");
        wrong("user = [{ name = 'a:b', password = 'p', scopes = ['submit'] }]", "`a:b`: name: ");
        let token = "ab".repeat(32);
        wrong(&format!("user = [{{ name = 'a', token = '{token}' }}]"), "`a`: scopes: ");
    }
}
