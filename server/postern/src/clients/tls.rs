//! TLS of a socket of ours: its certificates, by the name that the client asks for, read anew when their files change.
//!
//! TLS 1.2 and later. Sessions are resumed by tickets, so that none are kept in memory. A pair of files that has become
//! unfit leaves the one before in force.

use postern_core::hook::SessionTls;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, client::verify_server_name};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// How often files are looked at. A change counts once it has lasted from one look to the next: whoever writes a pair
/// may have written half of it.
pub const LOOK: Duration = Duration::from_secs(2);
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Octets of TLS that wait for a client to take them, for each connection.
const MAX_BUFFER: usize = 64 * 1024;
/// Larger files are no certificates.
const MAX_FILE: u64 = 1 << 20;

/// A certificate with its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and the chain after it (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Which file of a pair is of no use, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairError {
    /// Of the pairs this one.
    pub index: usize,
    /// It is the key's file.
    pub of_key: bool,
    /// The file and what is wrong.
    pub text: String,
}

/// TLS of one socket.
pub struct ServerTls {
    pairs: Vec<Pair>,
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    seen: Mutex<Seen>,
}

/// What was seen of the files.
#[derive(Default)]
struct Seen {
    /// When they were read, or found unfit.
    taken: Vec<Option<Stamp>>,
    /// At the last look, if that was something else.
    changing: Option<Vec<Option<Stamp>>>,
}

/// What tells one content of a file from another.
type Stamp = (SystemTime, u64);

#[derive(Debug)]
struct Certificates(RwLock<Arc<Vec<Arc<CertifiedKey>>>>);

impl Certificates {
    fn get(&self) -> Arc<Vec<Arc<CertifiedKey>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    /// The first that is valid for the name that the client asks for; else the first.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.get();
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |one: &&Arc<CertifiedKey>| {
            let Some(name) = &asked else { return false };
            let parsed = one.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
            parsed.is_some_and(|own| verify_server_name(&own, name).is_ok())
        };
        certificates.iter().find(fits).or_else(|| certificates.first()).cloned()
    }
}

impl ServerTls {
    /// Reads the pairs; the first is for clients that ask for no name, or for one that none has. `alpn` are the protocols
    /// that are spoken.
    ///
    /// # Errors
    /// A file is of no use.
    pub fn new(pairs: Vec<Pair>, alpn: &[&str]) -> Result<Self, PairError> {
        // Looked at before they are read: a change that comes in between is seen as one.
        let taken = stamps(&pairs);
        let certificates = Arc::new(Certificates(RwLock::new(Arc::new(read(&pairs)?))));
        let of_settings = |error: rustls::Error| PairError { index: 0, of_key: false, text: format!("TLS: {error}") };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(of_settings)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.ticketer = Ticketer::new().map_err(of_settings)?;
        // Another protocol's client is refused in the handshake, if it says what it is (ALPACA).
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { pairs, acceptor, certificates, seen: Mutex::new(Seen { taken, changing: None }) })
    }

    /// The handshake; the caller keeps the time.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept_with(tcp, |session| session.set_buffer_limit(Some(MAX_BUFFER))).await
    }

    /// Looks at the files, and takes over what has changed.
    pub async fn look(self: &Arc<Self>, listener: &str) {
        let this = Arc::clone(self);
        let looked = spawn_blocking(move || this.take_changes()).await;
        match looked {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => info!(listener, "certificates were read anew"),
            Ok(Err(error)) => warn!(listener, "new certificates can't be used, those before stay: {}", error.text),
            Err(error) => warn!(listener, %error, "certificates could not be looked at"),
        }
    }

    fn take_changes(&self) -> Result<bool, PairError> {
        let now = stamps(&self.pairs);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.taken == now {
            seen.changing = None;
            return Ok(false);
        }
        if seen.changing.as_ref() != Some(&now) {
            seen.changing = Some(now);
            return Ok(false);
        }
        // One that can't be used is complained of once, until it changes again.
        (seen.taken, seen.changing) = (now, None);
        let certificates = read(&self.pairs)?;
        *self.certificates.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificates);
        Ok(true)
    }
}

/// What a handshake agreed on.
#[must_use]
pub fn agreed(stream: &TlsStream<TcpStream>) -> SessionTls {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
    // The registry's names; the library marks version 1.3 in them.
    SessionTls { version: version.replace('_', "."), cipher: suite.replacen("TLS13_", "TLS_", 1) }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("pairs", &self.pairs).finish_non_exhaustive()
    }
}

fn stamps(pairs: &[Pair]) -> Vec<Option<Stamp>> {
    let stamp = |file: &Path| fs::metadata(file).ok().and_then(|of| Some((of.modified().ok()?, of.len())));
    pairs.iter().flat_map(|pair| [stamp(&pair.certificate), stamp(&pair.key)]).collect()
}

fn read(pairs: &[Pair]) -> Result<Vec<Arc<CertifiedKey>>, PairError> {
    let provider = default_provider();
    let mut all = Vec::new();
    for (index, Pair { certificate, key }) in pairs.iter().enumerate() {
        let wrong = |of_key, file: &Path, why: &dyn fmt::Display| {
            let text = format!("{}: {why}", file.display());
            PairError { index, of_key, text }
        };
        let pem = content(certificate).map_err(|error| wrong(false, certificate, &error))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| wrong(false, certificate, &error))?;
        let Some(own) = chain.first() else {
            return Err(wrong(false, certificate, &"there is no certificate in it (PEM)"));
        };
        ParsedCertificate::try_from(own).map_err(|error| wrong(false, certificate, &error))?;
        let pem = content(key).map_err(|error| wrong(true, key, &error))?;
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| wrong(true, key, &"there is no private key in it (PEM)"))?;
        let pair = CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong(true, key, &format!("is not the key of {}", certificate.display()))
            }
            error => wrong(true, key, &error),
        })?;
        all.push(Arc::new(pair));
    }
    Ok(all)
}

fn content(file: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(file)?.len() > MAX_FILE {
        return Err(io::Error::other("is too large"));
    }
    fs::read(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str) -> Pair {
        let made = rcgen::generate_simple_self_signed(vec![format!("{name}.example")]).unwrap();
        let pair = Pair { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        fs::write(&pair.certificate, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        pair
    }

    #[test]
    fn unfit_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (write(dir.path(), "a"), write(dir.path(), "b"));
        let check = |certificate: &Path, key: &Path, index, of_key, wanted: &str| {
            let pair = Pair { certificate: certificate.to_owned(), key: key.to_owned() };
            let pairs = if index == 0 { vec![pair] } else { vec![a.clone(), pair] };
            let error = ServerTls::new(pairs, &[]).unwrap_err();
            assert_eq!((error.index, error.of_key), (index, of_key), "{error:?}");
            assert!(error.text.contains(wanted), "{error:?}");
        };
        check(&a.certificate, &b.key, 0, true, "is not the key of");
        check(&a.key, &a.key, 0, false, "no certificate");
        check(&b.certificate, &b.certificate, 1, true, "no private key");
        check(Path::new("/no/such"), &a.key, 1, false, "/no/such: ");
        assert!(ServerTls::new(vec![a.clone(), b.clone()], &[]).is_ok());
    }

    #[test]
    fn changed_files_are_taken_once_they_last() {
        let dir = tempfile::tempdir().unwrap();
        let pair = write(dir.path(), "a");
        let tls = ServerTls::new(vec![pair.clone()], &[]).unwrap();
        let first = tls.certificates.get()[0].cert.clone();
        assert_eq!(tls.take_changes(), Ok(false));
        fs::write(&pair.key, "half").unwrap();
        assert_eq!(tls.take_changes(), Ok(false), "it may be half-way");
        assert!(tls.take_changes().is_err());
        assert_eq!(tls.take_changes(), Ok(false), "complained of once");
        assert_eq!(tls.certificates.get()[0].cert, first);
        write(dir.path(), "a");
        assert_eq!(tls.take_changes(), Ok(false));
        assert_eq!(tls.take_changes(), Ok(true));
        assert_ne!(tls.certificates.get()[0].cert, first);
    }
}
