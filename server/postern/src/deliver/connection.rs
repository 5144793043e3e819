//! One connection: moves octets between the state machine and the socket, and keeps the time.

use super::Attempt;
use super::content::{Feed, has_8bit};
use super::stream::Stream;
use super::tls::{TlsClient, TlsInfo};
use crate::spool::StoredMessage;
use postern_core::bounce;
use postern_core::mail::{BodyType, Outcome, Recipient, Reply, Scope, Seq};
use postern_core::message::ContentSource;
use postern_core::smtp::client::{
    Cause, Client, Failure, Loss, Stage, Status, Terms, TimeLimits, TlsFault, Transaction, Unsupported,
};
use postern_core::zone::{Source, TlsMode};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Octets read at a time. Replies are small.
const READ_BUFFER: usize = 4096;

/// An idle connection keeps a buffer of at most so many octets for the next message.
const KEPT_BUFFER: usize = 16 * 1024;

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct Session {
    /// Names the peer to people: `host[ip]:port`.
    pub remote: String,
    /// What the connection is made from.
    pub source: Source,
    /// What has to be so before mail is handed over.
    pub terms: Terms,
    /// How long to wait for what.
    pub limits: TimeLimits,
}

/// A greeted session with a next hop. Dropping it closes the connection without QUIT.
pub struct Connection<S = Stream> {
    stream: S,
    client: Client,
    limits: TimeLimits,
    remote: String,
    source: Source,
    /// The address that it is made from, as far as the system says.
    local_ip: Option<IpAddr>,
    tls: Option<TlsInfo>,
    /// What is being sent and how much of it has been.
    out: Vec<u8>,
    sent: usize,
    /// Does the stream hold nothing back of what it took? TLS may.
    flushed: bool,
    input: Box<[u8]>,
    /// After a failed write there may still be a reply that says why.
    write_error: Option<String>,
    used: bool,
}

impl<S> fmt::Debug for Connection<S> {
    /// Without what is being sent, where a password may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, source, tls, client, .. } = self;
        let mut shown = f.debug_struct("Connection");
        shown.field("remote", remote).field("source", source).field("tls", tls).field("client", client);
        shown.finish_non_exhaustive()
    }
}

/// Does the outcome speak against going on in this session, even though the peer would?
pub(super) fn ends_session(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered(_) => false,
        Outcome::Deferred(reason) | Outcome::Bounced(reason) => matches!(reason.scope, Scope::Session | Scope::NextHop),
    }
}

/// What one step did.
enum Did {
    Wrote,
    Read,
}

impl Connection<Stream> {
    /// Waits for the greeting of `host` on a new connection to `ip`, and does what the terms want.
    ///
    /// # Errors
    /// The peer did not greet us, refused us, or can't be trusted as the terms want.
    pub(super) async fn open(
        tcp: TcpStream,
        session: Session,
        host: &str,
        ip: IpAddr,
        tls: &TlsClient,
    ) -> Result<Self, Failure> {
        let verify = session.terms.tls == TlsMode::Verify;
        let local_ip = tcp.local_addr().ok().map(|local| local.ip().to_canonical());
        let mut connection = Self { local_ip, ..Self::new(Stream::Clear(tcp), session) };
        connection.exchange().await;
        if connection.client.status() == Status::WantsTls {
            connection = Box::pin(connection.start_tls(host, ip, tls, verify)).await?;
        }
        connection.greeted()
    }

    async fn start_tls(mut self, host: &str, ip: IpAddr, tls: &TlsClient, verify: bool) -> Result<Self, Failure> {
        let limit = self.limits.of(Stage::Handshake);
        let unsent = self.sent < self.out.len();
        let stream = match self.stream {
            Stream::Clear(tcp) if !unsent => match timeout(limit, tls.handshake(tcp, host, ip, verify)).await {
                Ok(Ok((stream, info))) => {
                    self.tls = Some(info);
                    Some(Stream::Tls(Box::new(stream)))
                }
                Ok(Err((fault, detail))) => {
                    self.client.tls_failed(fault, detail);
                    None
                }
                Err(_) => {
                    self.client.lost(Loss::TimedOut, "");
                    None
                }
            },
            _ => {
                self.client.tls_failed(TlsFault::Handshake, "STARTTLS was answered before it was sent");
                None
            }
        };
        let Some(stream) = stream else { return Err(self.client.failure().cloned().unwrap_or_else(unknown)) };
        let mut secure = Self { stream, ..self };
        secure.client.tls_established();
        secure.exchange().await;
        // TLS 1.3 tells a client that it is refused only after that has done its part, so what is lost before the first
        // reply is lost in the handshake.
        match secure.client.failure() {
            Some(Failure {
                stage: Stage::Ehlo,
                cause: Cause::Lost(loss @ (Loss::Closed | Loss::TimedOut)),
                detail,
            }) => Err(Failure::new(Stage::Handshake, Cause::Lost(*loss)).with_detail(detail.as_str())),
            _ => Ok(secure),
        }
    }
}

/// What can't be, as the state machine gives its reasons.
fn unknown() -> Failure {
    Failure::new(Stage::Mail, Cause::Lost(Loss::Unexpected))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, session: Session) -> Self {
        let Session { remote, source, terms, limits } = session;
        Self {
            stream,
            client: Client::new(source.helo.as_str(), terms),
            limits,
            remote,
            source,
            local_ip: None,
            tls: None,
            out: Vec::new(),
            sent: 0,
            flushed: true,
            input: vec![0; READ_BUFFER].into_boxed_slice(),
            write_error: None,
            used: false,
        }
    }

    /// Waits for the greeting on a new connection of any kind and says EHLO. TLS is for TCP alone: where the terms end
    /// in STARTTLS, it fails.
    ///
    /// # Errors
    /// The peer did not greet us, or refused us.
    pub async fn greet(stream: S, session: Session) -> Result<Self, Failure> {
        let mut connection = Self::new(stream, session);
        connection.exchange().await;
        connection.client.tls_failed(TlsFault::Handshake, "no TLS over this kind of connection");
        connection.greeted()
    }

    fn greeted(self) -> Result<Self, Failure> {
        match self.client.failure() {
            Some(failure) => Err(failure.clone()),
            None => Ok(self),
        }
    }

    /// The peer as people read it: `host[ip]:port`.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The address of ours that it was opened with, as the route named it, and our name.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The TLS that the session has, if it has.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// Has it had a transaction?
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Why the session ended, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.client.failure()
    }

    /// One transaction: `message` to those of its recipients (at most
    /// [`MAX_RECIPIENTS`](postern_core::smtp::client::MAX_RECIPIENTS)). `content` is what is sent, which may be longer
    /// than the message's by what was put on top. Cancelling it in flight is safe for the queue (nothing is settled),
    /// but the connection must be dropped then.
    pub async fn deliver(
        &mut self,
        message: &StoredMessage,
        recipients: &[Seq],
        content: &dyn ContentSource,
    ) -> Attempt {
        self.used = true;
        let known = |seq: &Seq| message.envelope.recipients.get(seq.index());
        // An international recipient must not take the others with it where SMTPUTF8 is not offered.
        let offered = self.client.extensions().smtputf8;
        let unreachable = move |recipient: &Recipient| recipient.address.is_international() && !offered;
        let reachable = |recipient: &&Recipient| !unreachable(recipient);
        let reached: Vec<&Recipient> = recipients.iter().filter_map(known).filter(reachable).collect();
        debug_assert!(recipients.iter().all(|seq| known(seq).is_some()), "recipients are the message's");
        let results = match self.transaction(message, &reached, content).await {
            Ok(results) => results,
            Err(failure) => {
                let reusable = self.client.status() == Status::Ready;
                let failed = Attempt::failed(recipients, &failure, &self.remote);
                return Attempt { reusable, ..self.described(failed) };
            }
        };
        let mut results = results.into_iter();
        let missing = || Err(unknown());
        let outcomes = recipients.iter().map(|seq| {
            let result = match known(seq) {
                Some(recipient) if unreachable(recipient) => {
                    Err(Failure::new(Stage::Mail, Cause::Unsupported(Unsupported::SmtpUtf8)))
                }
                Some(_) => results.next().unwrap_or_else(missing),
                None => missing(),
            };
            (*seq, self.outcome(result))
        });
        let outcomes: Vec<(Seq, Outcome)> = outcomes.collect();
        let unanswered = self.failure().is_some_and(|failure| matches!(failure.stage, Stage::Rset | Stage::Mail));
        let reusable =
            self.client.status() == Status::Ready && !outcomes.iter().any(|(_, outcome)| ends_session(outcome));
        // RFC 3461 section 5.2.1: whom it was handed to with its parameters, the next hop reports on.
        let passed_on = |(seq, outcome): &&(Seq, Outcome)| {
            let asked = known(seq).is_some_and(|recipient| recipient.notify.is_some_and(|notify| notify.success));
            asked && self.client.extensions().dsn && matches!(outcome, Outcome::Delivered(_))
        };
        let passed_on = outcomes.iter().filter(passed_on).map(|(seq, _)| *seq).collect();
        let stale = !reusable && unanswered;
        self.described(Attempt { outcomes, passed_on, reusable, stale, ..Attempt::default() })
    }

    /// The attempt, made over this connection.
    fn described(&self, attempt: Attempt) -> Attempt {
        Attempt { remote: self.remote.clone(), tls: self.tls.clone(), source: self.local_ip, ..attempt }
    }

    /// Is an idle connection still good? Not if the peer has closed it or sent anything, a farewell most likely.
    pub fn is_alive(&mut self) -> bool {
        self.read_what_is_there();
        self.client.status() == Status::Ready
    }

    /// Says QUIT and waits a little for the answer.
    pub async fn quit(mut self) {
        self.client.quit();
        if self.client.status() == Status::Waiting {
            self.exchange().await;
            // Whatever it says, the session is over. Over TLS this sends close_notify, which a peer may not take.
            let _ = timeout(self.limits.quit, self.stream.shutdown()).await;
        }
    }

    fn outcome(&self, result: Result<Reply, Failure>) -> Outcome {
        match result {
            Ok(reply) => Outcome::Delivered(reply),
            Err(failure) => bounce::judge(&failure, &self.remote),
        }
    }

    /// Results in order, or a failure that struck before anything was sent.
    async fn transaction(
        &mut self,
        message: &StoredMessage,
        recipients: &[&Recipient],
        content: &dyn ContentSource,
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let (body, smtputf8) = self.needs(message, content).await?;
        // The first block, and so the whole of a small message, is read before the next hop is bothered.
        let mut feed = Feed::new(content);
        let mut block = Vec::new();
        let last = feed.next(&mut block).await?;
        let reverse_path = &message.envelope.reverse_path;
        let (ret, envid) = (message.envelope.ret, message.envelope.envid.as_ref());
        let transaction = Transaction { reverse_path, size: content.len(), body, smtputf8, ret, envid };
        self.client.begin(&transaction, recipients.iter().copied())?;
        self.exchange().await;
        if self.client.status() == Status::WantsContent {
            self.send_content(feed, block, last).await;
            self.exchange().await;
        }
        if self.sent == self.out.len() && self.out.capacity() > KEPT_BUFFER {
            // An idle connection holds no block of the large message it sent last.
            (self.out, self.sent) = (Vec::new(), 0);
        }
        Ok(self.client.take_results())
    }

    /// Which of BODY=8BITMIME and SMTPUTF8 the message needs here. Clients declare both for mail that needs neither;
    /// where the next hop does not offer them, the content says whether that is so.
    async fn needs(&self, message: &StoredMessage, content: &dyn ContentSource) -> Result<(BodyType, bool), Failure> {
        let offered = self.client.extensions();
        let mut body = message.envelope.body;
        let mut smtputf8 = message.envelope.smtputf8;
        if body == BodyType::EightBit && !offered.eight_bit_mime && !has_8bit(content, content.len()).await? {
            body = BodyType::SevenBit;
        }
        if smtputf8 && !offered.smtputf8 {
            let body_section = message.len.saturating_sub(message.header_len);
            smtputf8 = has_8bit(content, content.len().saturating_sub(body_section)).await?;
        }
        Ok((body, smtputf8))
    }

    async fn send_content(&mut self, mut feed: Feed<'_>, mut block: Vec<u8>, mut last: bool) {
        loop {
            std::mem::swap(&mut self.out, &mut block);
            self.sent = 0;
            let deadline = Instant::now() + self.limits.content;
            // What has come already came before the final dot.
            self.read_what_is_there();
            while self.sent < self.out.len() && self.client.status() == Status::WantsContent {
                self.step_until(deadline).await;
            }
            if self.client.status() != Status::WantsContent {
                return;
            }
            if last {
                return self.client.content_sent();
            }
            block.clear();
            match feed.next(&mut block).await {
                Ok(was_last) => last = was_last,
                Err(failure) => return self.client.abort(failure),
            }
        }
    }

    /// Sends what the state machine has to say and reads until it wants something else. The time limit starts again
    /// with each reply, not with each octet.
    async fn exchange(&mut self) {
        let mut replies = self.client.replies();
        let mut deadline = Instant::now() + self.limits.of(self.client.stage());
        while self.client.status() == Status::Waiting {
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
                // Taken whole: replies to the first commands may come while the last are still on their way.
                std::mem::swap(&mut self.out, self.client.output());
            }
            self.step_until(deadline).await;
            if self.client.replies() != replies {
                replies = self.client.replies();
                deadline = Instant::now() + self.limits.of(self.client.stage());
            }
        }
    }

    /// Writes or reads once, whichever can be done first; tells the state machine when neither can until `deadline`.
    async fn step_until(&mut self, deadline: Instant) {
        let step = poll_fn(|context| self.poll_step(context));
        match timeout_at(deadline, step).await {
            Ok(Ok(Did::Wrote | Did::Read)) => {}
            Ok(Err(error)) => self.client.lost(Loss::Closed, self.write_error.take().unwrap_or(error)),
            Err(_) => self.client.lost(Loss::TimedOut, ""),
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Did, String>> {
        if self.sent < self.out.len() && self.write_error.is_none() {
            match Pin::new(&mut self.stream).poll_write(context, &self.out[self.sent..]) {
                Poll::Ready(Ok(0)) => self.write_error = Some("the connection takes no more".to_owned()),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    self.flushed = false;
                    return Poll::Ready(Ok(Did::Wrote));
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error.to_string()),
                Poll::Pending => {}
            }
        }
        if !self.flushed && self.write_error.is_none() {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Ready(Err(error)) => self.write_error = Some(error.to_string()),
                Poll::Pending => {}
            }
        }
        match self.poll_read(context) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err("closed by the peer".to_owned())),
            Poll::Ready(Ok(count)) => {
                self.client.receive(&self.input[..count]);
                Poll::Ready(Ok(Did::Read))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        Pin::new(&mut self.stream).poll_read(context, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    /// Hands what has already come to the state machine, without waiting.
    fn read_what_is_there(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while self.client.status() != Status::Closed {
            match self.poll_read(&mut context) {
                Poll::Ready(Ok(0)) => self.client.lost(Loss::Closed, "closed by the peer"),
                Poll::Ready(Ok(count)) => self.client.receive(&self.input[..count]),
                Poll::Ready(Err(error)) => self.client.lost(Loss::Closed, error.to_string()),
                Poll::Pending => return,
            }
        }
    }
}
