//! One connection: moves octets between the state machine and the socket, and keeps the time.

use super::content::{Feed, has_8bit};
use super::{Attempt, Options};
use crate::spool::StoredMessage;
use postern_core::bounce;
use postern_core::mail::{BodyType, Outcome, Recipient, Reply, Scope, Seq};
use postern_core::message::ContentSource;
use postern_core::smtp::client::{Cause, Client, Failure, Loss, Stage, Status, TimeLimits, Transaction, Unsupported};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Octets read at a time. Replies are small.
const READ_BUFFER: usize = 4096;

/// An idle connection keeps a buffer of at most so many octets for the next message.
const KEPT_BUFFER: usize = 16 * 1024;

/// A greeted session with a next hop. Dropping it closes the connection without QUIT.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    client: Client,
    limits: TimeLimits,
    remote: String,
    /// What is being sent and how much of it has been.
    out: Vec<u8>,
    sent: usize,
    input: Box<[u8]>,
    /// After a failed write there may still be a reply that says why.
    write_error: Option<String>,
    used: bool,
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

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits for the greeting on a new connection and says EHLO. `remote` names the peer to people.
    ///
    /// # Errors
    /// The peer did not greet us, or refused us.
    pub async fn greet(stream: S, remote: String, options: &Options) -> Result<Self, Failure> {
        let mut connection = Self {
            stream,
            client: Client::new(options.helo.as_str()),
            limits: options.limits,
            remote,
            out: Vec::new(),
            sent: 0,
            input: vec![0; READ_BUFFER].into_boxed_slice(),
            write_error: None,
            used: false,
        };
        connection.exchange().await;
        match connection.client.failure() {
            Some(failure) => Err(failure.clone()),
            None => Ok(connection),
        }
    }

    /// The peer as people read it: `host[ip]:port`.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.remote
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
        let reused = std::mem::replace(&mut self.used, true);
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
                let mut attempt = Attempt::failed(recipients, &failure, &self.remote);
                attempt.reusable = self.client.status() == Status::Ready;
                return attempt;
            }
        };
        let mut results = results.into_iter();
        let missing = || Err(Failure::new(Stage::Mail, Cause::Lost(Loss::Unexpected)));
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
        let stale = reused && !reusable && unanswered;
        Attempt { outcomes, passed_on, reusable, stale, remote: self.remote.clone() }
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
            // Whatever it says, the session is over.
            let _ = self.stream.shutdown().await;
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
                    return Poll::Ready(Ok(Did::Wrote));
                }
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
