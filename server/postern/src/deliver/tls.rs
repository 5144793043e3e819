//! TLS towards next hops, by rustls: the handshake, with a certificate that counts or with any.
//!
//! TLS 1.2 and later. Under `opportunistic` and `require` no certificate is looked at: whoever could forge one could as
//! well have struck STARTTLS out of the offer, or answered as the host that DNS named. Under `verify` it has to be valid
//! for the host's name by a root of the system or of `tls.roots`.
//!
//! Memory: rustls holds at most [`MAX_BUFFER`] octets that a peer does not take, and one record (16 KiB) of what it
//! sent; sessions to resume are kept for 32 hosts.

use postern_core::smtp::client::TlsFault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Octets of TLS that wait for a peer to take them, for each connection.
const MAX_BUFFER: usize = 64 * 1024;

/// Longest text of a TLS error that is kept, in octets: it may quote names out of the peer's certificate.
const MAX_ERROR: usize = 500;

/// Why there can be no TLS client: the file of extra roots.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It can't be read.
    #[error("{}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM, or something in it is not a certificate.
    #[error("{}: {message}", .file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The library refused its settings.
    #[error("TLS: {0}")]
    Settings(#[from] rustls::Error),
}

/// What TLS a session has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`.
    pub version: String,
    /// `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Was the certificate valid for the host's name? False if nobody looked.
    pub verified: bool,
}

impl fmt::Display for TlsInfo {
    /// `TLSv1.3 TLS_AES_256_GCM_SHA384 verified=no`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verified = if self.verified { "yes" } else { "no" };
        write!(f, "{} {} verified={verified}", self.version, self.cipher)
    }
}

/// Does handshakes.
pub struct TlsClient {
    provider: Arc<CryptoProvider>,
    any: TlsConnector,
    /// Made when it is first needed: the roots of a system are some hundred KiB, and most servers never verify.
    verifying: OnceCell<TlsConnector>,
    extra_roots: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("extra_roots", &self.extra_roots.len()).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// With the system's roots and those of a PEM file.
    ///
    /// # Errors
    /// The file is of no use.
    pub fn new(extra_roots: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate { schemes }))
            .with_no_client_auth();
        let extra_roots = extra_roots.map(read_roots).transpose()?.unwrap_or_default();
        Ok(Self { provider, any: TlsConnector::from(Arc::new(config)), verifying: OnceCell::new(), extra_roots })
    }

    /// The handshake with `host` over a connection to `ip`; `verify`: its certificate counts. The caller keeps the time.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        ip: IpAddr,
        verify: bool,
    ) -> Result<(TlsStream<TcpStream>, TlsInfo), (TlsFault, String)> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned());
        let (connector, name) = match name {
            Ok(name) if verify => (self.verifying().await.map_err(|why| (TlsFault::Certificate, why))?, name),
            Err(_) if verify => return Err((TlsFault::Certificate, format!("no certificate can be for {host:?}"))),
            // A name that can't be sent is not needed: nobody looks at the certificate.
            name => (&self.any, name.unwrap_or(ServerName::from(ip))),
        };
        let connected = connector.connect_with(name, tcp, |session| session.set_buffer_limit(Some(MAX_BUFFER))).await;
        let stream = connected.map_err(|error| (fault(&error), shortened(&error.to_string())))?;
        let info = TlsInfo::of(&stream, verify);
        Ok((stream, info))
    }

    async fn verifying(&self) -> Result<&TlsConnector, String> {
        self.verifying
            .get_or_try_init(|| async {
                let (provider, extra) = (Arc::clone(&self.provider), self.extra_roots.clone());
                // Reading and parsing some hundred certificates takes milliseconds.
                let made = tokio::task::spawn_blocking(|| verifying(provider, extra)).await;
                made.map_err(|error| error.to_string())?
            })
            .await
    }
}

impl TlsInfo {
    fn of(stream: &TlsStream<TcpStream>, verified: bool) -> Self {
        let (_, session) = stream.get_ref();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        // The registry's names; the library marks version 1.3 in them.
        Self { version: version.replace('_', "."), cipher: suite.replacen("TLS13_", "TLS_", 1), verified }
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// There are none in it, or something that is none.
pub(super) fn read_roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |message: String| TlsError::Wrong { file: file.to_owned(), message };
    let pem = std::fs::read(file).map_err(|source| TlsError::Read { file: file.to_owned(), source })?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = read.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it (PEM)".to_owned()));
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(certificates)
}

fn verifying(provider: Arc<CryptoProvider>, extra: Vec<CertificateDer<'static>>) -> Result<TlsConnector, String> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system.certs.into_iter().chain(extra));
    if roots.is_empty() {
        let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(format!("this system has no root certificates and tls.roots names none; {}", why.join("; ")));
    }
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn fault(error: &io::Error) -> TlsFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => TlsFault::Certificate,
        _ => TlsFault::Handshake,
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ERROR)].to_owned()
}

/// Takes every certificate. Its signature in the handshake is not looked at either: it would only prove that the peer
/// has the key of a certificate that anybody could have made, and old servers have certificates that can't be parsed.
#[derive(Debug)]
struct AnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
