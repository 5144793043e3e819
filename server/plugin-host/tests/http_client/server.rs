//! An HTTP/1.1 server on loopback that answers as its path says, over TCP or TLS, and remembers what it was asked.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

pub struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub connections: Arc<AtomicUsize>,
    /// Requests whose answer has not begun.
    pub in_progress: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

#[derive(Clone)]
struct State {
    asked: Arc<Mutex<Vec<Asked>>>,
    in_progress: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { asked: Arc::default(), in_progress: Arc::default() };
        let connections = Arc::new(AtomicUsize::new(0));
        let (theirs, counted) = (state.clone(), Arc::clone(&connections));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(TlsAcceptor::from);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                let (state, acceptor) = (theirs.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Io> = match acceptor {
                        None => Box::new(socket),
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let _ = serve(BufReader::new(stream), &state).await;
                });
            }
        });
        let State { asked, in_progress } = state;
        Self { address, scheme, asked, connections, in_progress, task }
    }

    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn url(&self, target: &str) -> String {
        format!("{}{target}", self.origin())
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

type Stream = BufReader<Box<dyn Io>>;

async fn serve(mut stream: Stream, state: &State) -> std::io::Result<()> {
    while let Some(mut asked) = head(&mut stream).await? {
        state.in_progress.fetch_add(1, SeqCst);
        let len: usize = asked.header("content-length").map_or(0, |len| len.parse().unwrap());
        assert_eq!(asked.header("transfer-encoding"), None, "the length is always known");
        if asked.target != "/early" {
            asked.body = vec![0; len];
            stream.read_exact(&mut asked.body).await?;
        }
        let target = asked.target.clone();
        state.asked.lock().unwrap().push(asked);
        let answered = answer(&mut stream, &target).await;
        state.in_progress.fetch_sub(1, SeqCst);
        answered?;
        if target == "/early" {
            // It never reads what is still to come.
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

async fn head(stream: &mut Stream) -> std::io::Result<Option<Asked>> {
    let mut asked = Asked::default();
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    (asked.method, asked.target) = (words.next().unwrap(), words.next().unwrap());
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { return Ok(Some(asked)) };
        asked.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

async fn answer(stream: &mut Stream, target: &str) -> std::io::Result<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut write = async |text: &str| {
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await
    };
    match path {
        "/hello" | "/early" => write("HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nhello").await,
        "/status" => write(&format!("HTTP/1.1 {query} Odd\r\nContent-Length: 0\r\n\r\n")).await,
        // `/to?CODE+URL`
        "/to" => {
            let (code, location) = query.split_once('+').unwrap();
            write(&format!("HTTP/1.1 {code} X\r\nLocation: {location}\r\nContent-Length: 2\r\n\r\nno")).await
        }
        "/nowhere" => write("HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nno").await,
        "/silent" => std::future::pending().await,
        "/slow-header" => {
            write("HTTP/1.1 200 OK\r\nX-A: ").await?;
            std::future::pending().await
        }
        "/slow-body" => {
            write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await?;
            std::future::pending().await
        }
        "/short-body" => {
            write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhello").await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        "/garbage" => {
            write("SSH-2.0-OpenSSH\r\n\r\n").await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        "/endless" => {
            write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            loop {
                write(&chunk).await?;
            }
        }
        // `/length?OCTETS`
        "/length" => {
            write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {query}\r\n\r\n")).await?;
            write(&"x".repeat(query.parse().unwrap())).await
        }
        // `/headers?COUNT`, each of about 1,000 octets.
        "/headers" => {
            let lines: String =
                (0..query.parse().unwrap()).map(|n| format!("X-{n}: {}\r\n", "h".repeat(990))).collect();
            write(&format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")).await
        }
        _ => write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await,
    }
}

/// A CA of our own, and servers' TLS with certificates for 127.0.0.1 by it.
pub struct Certificates(CertifiedIssuer<'static, KeyPair>);

impl Certificates {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn roots(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    pub fn config(&self, name: &str, expired: bool) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}
