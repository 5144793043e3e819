//! An SMTP server with STARTTLS that keeps apart what it hears in clear and over TLS, and lies about TLS as told.

use crate::deliver::tests::CONTENT;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A CA of our own and certificates of all kinds.
pub struct Certificates {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
    other_ca: CertifiedIssuer<'static, KeyPair>,
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Certificates {
    pub fn new() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap(), ca: ca(), other_ca: ca() };
        std::fs::write(made.roots(), made.ca.pem()).unwrap();
        made
    }

    /// The file with the CA's certificate.
    pub fn roots(&self) -> PathBuf {
        self.dir.path().join("roots.pem")
    }

    /// A server's TLS with a certificate of this kind.
    pub fn config(&self, kind: &str) -> Arc<ServerConfig> {
        let name = if kind == "wrong-name" { "other-name.example" } else { "mx.example" };
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        if kind == "expired" {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = match kind {
            "self-signed" => params.self_signed(&key),
            "other-ca" => params.signed_by(&key, &self.other_ca),
            _ => params.signed_by(&key, &self.ca),
        };
        let chain = vec![CertificateDer::from(certificate.unwrap().der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// What a server does about STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Offers it and means it.
    Tls,
    /// Does not offer it.
    Nothing,
    /// Offers and refuses it.
    Refused,
    /// Says 220 and then something that is not TLS.
    Broken,
    /// Says 220 and closes.
    Closed,
    /// Says 220 and then nothing.
    Stalls,
    /// Does the handshake and closes.
    ClosedAfter,
    /// Says 220 and, in one piece with it, what it wants to have said over TLS.
    Injects,
}

impl Offer {
    /// Is STARTTLS offered?
    pub fn has(self) -> bool {
        self != Self::Nothing
    }

    /// Does TLS fail after the 220?
    pub fn breaks(self) -> bool {
        matches!(self, Self::Broken | Self::Closed | Self::Stalls | Self::ClosedAfter)
    }
}

/// How a server behaves.
#[derive(Clone)]
pub struct Server {
    pub offer: Offer,
    /// The one AUTH mechanism that it offers, and demands. The user is tim, the password tanstaaftanstaaf.
    pub auth: Option<&'static str>,
    /// Closes without a word, and without close_notify, after so many messages.
    pub closes_after: Option<usize>,
    pub config: Option<Arc<ServerConfig>>,
}

/// What a server heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Octets before TLS.
    pub clear: String,
    /// Octets over TLS.
    pub secure: String,
    pub connections: usize,
    /// The name in the last handshake.
    pub sni: Option<String>,
    /// Did the last session over TLS end with QUIT and close_notify?
    pub ended_cleanly: bool,
}

impl Heard {
    #[track_caller]
    pub fn nothing_of_the_mail_in_clear(&self) {
        for text in ["MAIL", "RCPT", "DATA", CONTENT, "a@b.example", "r1@c.example", "tanstaaf"] {
            assert!(!self.clear.contains(text), "{text:?} went in clear: {}", self.clear);
        }
    }
}

/// How a session ended.
#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Quit,
    StartTls,
}

/// A server at work.
pub struct Running {
    heard: Arc<Mutex<Heard>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// What it heard. The client has to be done with its sessions: they are heard to their end.
    pub async fn stop(self) -> Heard {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Server {
    pub fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self { offer: Offer::Tls, auth: None, closes_after: None, config }
    }

    pub async fn start(self) -> (u16, Running) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap().port(), self.run(listener))
    }

    pub async fn start_at(self, ip: &str, port: u16) -> Running {
        self.run(TcpListener::bind((ip, port)).await.unwrap())
    }

    fn run(self, listener: TcpListener) -> Running {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (shared, server) = (Arc::clone(&heard), self);
        // One session after the other: what a client left behind has been heard when the next begins.
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    biased;
                    accepted = listener.accept() => accepted.unwrap(),
                    _ = &mut stopped => return,
                };
                shared.lock().unwrap().connections += 1;
                server.serve(stream, &shared).await;
            }
        });
        Running { heard, stop, task }
    }

    async fn serve(&self, stream: TcpStream, heard: &Mutex<Heard>) {
        let mut stream = BufReader::new(stream);
        let hear = |line: &[u8]| heard.lock().unwrap().clear.push_str(&String::from_utf8_lossy(line));
        stream.write_all(b"220 hi\r\n").await.unwrap();
        let offers: &[u8] = if self.offer.has() { b"STARTTLS" } else { b"X-NOTHING" };
        if self.session(&mut stream, offers, hear).await != End::StartTls {
            return;
        }
        match self.offer {
            Offer::Injects => {
                stream.write_all(b"220 go\r\n250-mx\r\n250 PIPELINING\r\n").await.unwrap();
                return drain(stream, hear).await;
            }
            _ => stream.write_all(b"220 go\r\n").await.unwrap(),
        }
        match self.offer {
            Offer::Closed => return,
            // What is said to a server that is silent or talks nonsense is recorded too, but it is TLS.
            Offer::Broken => stream.write_all(b"220 what?\r\n220 what?\r\n").await.unwrap(),
            Offer::Stalls => {}
            _ => return self.secure_session(stream.into_inner(), heard).await,
        }
        drain(stream, |_| {}).await;
    }

    async fn secure_session(&self, stream: TcpStream, heard: &Mutex<Heard>) {
        let acceptor = TlsAcceptor::from(Arc::clone(self.config.as_ref().unwrap()));
        let Ok(tls) = acceptor.accept(stream).await else { return };
        heard.lock().unwrap().sni = tls.get_ref().1.server_name().map(str::to_owned);
        if self.offer == Offer::ClosedAfter {
            return;
        }
        let hear = |line: &[u8]| heard.lock().unwrap().secure.push_str(&String::from_utf8_lossy(line));
        let mut stream = BufReader::new(tls);
        match self.session(&mut stream, b"SIZE 0", hear).await {
            End::Quit => {}
            End::Closed => return,
            End::StartTls => panic!("STARTTLS over TLS"),
        }
        let mut rest = Vec::new();
        let closed = stream.read_to_end(&mut rest).await;
        heard.lock().unwrap().ended_cleanly = closed.is_ok() && rest.is_empty();
    }

    /// Speaks SMTP until the session ends, or STARTTLS is accepted.
    async fn session<S>(&self, stream: &mut BufReader<S>, offers: &[u8], hear: impl Fn(&[u8])) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut authenticated, mut taken) = (self.auth.is_none(), 0);
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                return End::Closed;
            }
            hear(&line);
            let text = String::from_utf8_lossy(&line).to_uppercase();
            let reply: Vec<u8> = match text.split_whitespace().next().unwrap_or_default() {
                "EHLO" => {
                    let auth = self.auth.map(|mechanism| format!("250-AUTH {mechanism}\r\n")).unwrap_or_default();
                    [b"250-mx\r\n", auth.as_bytes(), b"250-PIPELINING\r\n250 ", offers].concat()
                }
                "STARTTLS" if self.offer == Offer::Refused => b"454 TLS not available".to_vec(),
                "STARTTLS" => return End::StartTls,
                "AUTH" => {
                    authenticated = self.authenticate(stream, &line, &hear).await;
                    if authenticated { b"235 ok".to_vec() } else { b"535 5.7.8 no".to_vec() }
                }
                "MAIL" if !authenticated => b"530 5.7.0 authenticate".to_vec(),
                "MAIL" | "RCPT" | "RSET" => b"250 ok".to_vec(),
                "DATA" => {
                    stream.write_all(b"354 go\r\n").await.unwrap();
                    content(stream, &hear).await;
                    taken += 1;
                    b"250 taken".to_vec()
                }
                "QUIT" => b"221 bye".to_vec(),
                _ => b"500 what?".to_vec(),
            };
            if stream.write_all(&[&reply[..], b"\r\n"].concat()).await.is_err() || stream.flush().await.is_err() {
                return End::Closed;
            }
            if text.starts_with("QUIT") {
                return End::Quit;
            }
            if self.closes_after == Some(taken) {
                return End::Closed;
            }
        }
    }

    async fn authenticate<S>(&self, stream: &mut BufReader<S>, command: &[u8], hear: &impl Fn(&[u8])) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.auth == Some("PLAIN") {
            return command == b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n";
        }
        let mut right = command == b"AUTH LOGIN\r\n";
        for (challenge, answer) in [("VXNlcm5hbWU6", "dGlt\r\n"), ("UGFzc3dvcmQ6", "dGFuc3RhYWZ0YW5zdGFhZg==\r\n")] {
            stream.write_all(format!("334 {challenge}\r\n").as_bytes()).await.unwrap();
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line).await.unwrap();
            hear(&line);
            right &= line == answer.as_bytes();
        }
        right
    }
}

/// Hears content up to the final dot, dots not doubled any more.
async fn content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, hear: impl Fn(&[u8])) {
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 || line == b".\r\n" {
            return;
        }
        hear(line.strip_prefix(b".").unwrap_or(&line));
    }
}

/// Hears whatever still comes.
async fn drain<S: AsyncRead + Unpin>(mut stream: S, hear: impl Fn(&[u8])) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        hear(&buffer[..count]);
    }
}
