//! The process's HTTP client: connections, TLS, and what a failure is called.
//!
//! HTTP/1.1 and, where the server agrees by ALPN, HTTP/2. No proxy, cookie, referer, decompression or retry. At most
//! [`IDLE_CONNECTIONS`] connections to a host wait for further requests, for [`IDLE`]. Certificates count by the roots of
//! the system and those of `tls.roots`.

use super::grant::Origin;
use super::incoming::MAX_HEADER_OCTETS;
use super::redirect::Hop;
use super::upload::Upload;
use crate::services::error::ServiceError;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Client, Method, Request, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

/// Connections to one host that wait for their next request.
const IDLE_CONNECTIONS: usize = 16;
/// How long they wait.
const IDLE: Duration = Duration::from_secs(30);
/// A connection whose peer takes nothing for so long breaks, even if nobody waits for it any more.
const STALLED: Duration = Duration::from_secs(300);
/// Octets of one answer, and of all answers over one HTTP/2 connection, that come before they are asked for.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// `tls.roots` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpSetupError(String);

/// Connections to HTTP servers, for all plugins. It is made when it is first used: the system's roots are some hundred
/// KiB.
pub struct HttpClient {
    extra_roots: Vec<CertificateDer<'static>>,
    client: OnceCell<Client>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("extra_roots", &self.extra_roots.len()).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// With the system's roots alone.
    #[must_use]
    pub fn with_system_roots() -> Self {
        Self { extra_roots: Vec::new(), client: OnceCell::new() }
    }

    /// With the system's roots and those of a PEM file with this content.
    ///
    /// # Errors
    /// Something in it is not a certificate, or there is none.
    pub fn new(extra_roots: Option<&[u8]>) -> Result<Self, HttpSetupError> {
        let read = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let extra_roots = match extra_roots.map(read) {
            None => Vec::new(),
            Some(Ok(certificates)) if !certificates.is_empty() => certificates,
            Some(Ok(_)) => return Err(HttpSetupError("there is no certificate in it".to_owned())),
            Some(Err(error)) => return Err(HttpSetupError(error.to_string())),
        };
        let mut store = RootCertStore::empty();
        for certificate in &extra_roots {
            store.add(certificate.clone()).map_err(|error| HttpSetupError(error.to_string()))?;
        }
        Ok(Self { extra_roots, client: OnceCell::new() })
    }

    /// One request to one server, until the answer's header is there. The body may be on its way for longer: for as
    /// long as the upload is held.
    pub(super) async fn once(
        &self,
        hop: &Hop,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<(Response, Upload), ServiceError> {
        let upload = Upload::default();
        let mut request = Request::new(hop.method.clone(), hop.url.clone());
        *request.headers_mut() = hop.headers.clone();
        let body = upload.body(&hop.body, deadline);
        // Where a body is expected, that there is none is said (RFC 9110 section 8.6).
        if body.is_some() || [Method::POST, Method::PUT, Method::PATCH].contains(&hop.method) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(hop.body.len()));
        }
        *request.body_mut() = body;
        let answered = timeout_at(deadline, async {
            let client = self.client.get_or_try_init(|| self.connections()).await?;
            let sent = Box::pin(client.execute(request)).await;
            sent.map_err(|error| {
                if upload.unreadable() {
                    return ServiceError::unavailable(format_args!("the body for {origin} can't be read"));
                }
                let what = if error.is_connect() { "no connection" } else { "no answer" };
                failure(error, &origin.to_string(), what)
            })
        });
        let late = |_| Err(ServiceError::timeout(format_args!("{origin} did not answer in time")));
        let response = answered.await.unwrap_or_else(late)?;
        Ok((response, upload))
    }

    async fn connections(&self) -> Result<Client, ServiceError> {
        let extra = self.extra_roots.clone();
        let made = tokio::task::spawn_blocking(move || make(extra)).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        made.map_err(|error| ServiceError::unavailable(format_args!("the HTTP client can't be made: {error}")))
    }
}

fn make(extra_roots: Vec<CertificateDer<'static>>) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    if system.certs.is_empty() {
        tracing::warn!(errors = ?system.errors, "the system has no root certificates; only tls.roots count");
    }
    roots.add_parsable_certificates(system.certs.into_iter().chain(extra_roots));
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let header_list = u32::try_from(MAX_HEADER_OCTETS).unwrap_or(u32::MAX);
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent("postern")
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(header_list);
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(STALLED);
    builder.build().map_err(|error| error.to_string())
}

/// What a library's error is to a plugin: without the URL, which may hold secrets, and with its last causes.
pub(super) fn failure(error: reqwest::Error, origin: &str, what: &str) -> ServiceError {
    let late = error.is_timeout();
    let error = error.without_url();
    let mut causes: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some say what their own cause says.
        if !causes.last().is_some_and(|last| last.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    let why = match causes.as_slice() {
        [] => error.to_string(),
        [.., before, last] if !last.contains(before) => format!("{before}: {last}"),
        [.., last] => last.clone(),
    };
    let text = format!("{origin}: {what}: {why}");
    if late { ServiceError::timeout(text) } else { ServiceError::unavailable(text) }
}
