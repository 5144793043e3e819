//! `postern sink`: takes mail and throws it away, prints it or keeps it in files; for demos and tests. It can be told
//! to refuse, to stall and to lose its replies.
//!
//! A test tool: no TLS, no AUTH, no rules about who may send. Bounded all the same: [`MAX_SESSIONS`] sessions,
//! [`MAX_LINE`] octets in a command, content streamed to its file.

mod session;

use serde::Serialize;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Sessions at once; more wait to be accepted.
pub const MAX_SESSIONS: usize = 1000;
/// Octets in a command line.
pub const MAX_LINE: usize = 8192;

/// Arguments of `postern sink`.
#[derive(Clone, Debug, clap::Args)]
pub struct SinkOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:2700")]
    pub listen: SocketAddr,
    /// Keep each message as DIR/<n>.eml with its envelope in DIR/<n>.json
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// Print each message to standard output
    #[arg(long)]
    pub print: bool,
    /// No line for each message, only the sums at the end
    #[arg(long)]
    pub quiet: bool,
    /// Answer at a stage (greeting, ehlo, mail, rcpt, data, dot) with this reply, such as `rcpt=450 4.2.0 later`;
    /// `rcpt:ADDRESS=REPLY` is for one recipient
    #[arg(long = "reply", value_name = "STAGE=REPLY")]
    pub replies: Vec<ScriptedReply>,
    /// Answer every Nth message with 451 after its content
    #[arg(long, value_name = "N")]
    pub fail_every: Option<u64>,
    /// Take every Nth message and close the connection instead of saying so
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    pub drop_after_data: Option<u64>,
    /// Wait so many milliseconds before the greeting
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub greeting_delay: u64,
    /// Wait so many milliseconds before the reply to each content
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub reply_delay: u64,
    /// Do not offer PIPELINING
    #[arg(long)]
    pub no_pipelining: bool,
    /// Do not offer 8BITMIME
    #[arg(long)]
    pub no_8bitmime: bool,
    /// Do not offer SMTPUTF8
    #[arg(long)]
    pub no_smtputf8: bool,
    /// Largest content in octets, offered as SIZE
    #[arg(long, value_name = "OCTETS", default_value_t = 1 << 31)]
    pub max_size: u64,
    /// Recipients of one message
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max_recipients: usize,
}

/// When a scripted reply is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Instead of the 220.
    Greeting,
    /// To EHLO and HELO.
    Ehlo,
    /// To MAIL.
    Mail,
    /// To RCPT.
    Rcpt,
    /// To DATA.
    Data,
    /// After the content.
    Dot,
}

/// `STAGE=REPLY`, an argument of `--reply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedReply {
    /// When it is given.
    pub when: When,
    /// Only to this recipient.
    pub recipient: Option<String>,
    /// The line that is sent, code first.
    pub line: String,
}

impl FromStr for ScriptedReply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (stage, line) = text.split_once('=').ok_or("it is written STAGE=REPLY")?;
        let (stage, recipient) = match stage.split_once(':') {
            Some((stage, recipient)) => (stage, Some(recipient.to_owned())),
            None => (stage, None),
        };
        let when = match stage {
            "greeting" => When::Greeting,
            "ehlo" => When::Ehlo,
            "mail" => When::Mail,
            "rcpt" => When::Rcpt,
            "data" => When::Data,
            "dot" => When::Dot,
            _ => return Err("the stages are greeting, ehlo, mail, rcpt, data and dot".to_owned()),
        };
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        if !code.is_some_and(|code| (200..600).contains(&code)) || line.bytes().any(|b| b < b' ') {
            return Err("a reply is a code from 200 to 599 and a text".to_owned());
        }
        let line = if line.len() == 3 { format!("{line} as scripted") } else { line.to_owned() };
        Ok(Self { when, recipient, line })
    }
}

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Messages that were taken, those whose reply was dropped included.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// Octets of their content.
    pub octets: u64,
}

#[derive(Debug, Default)]
struct Tally {
    sessions: AtomicU64,
    /// Contents that came to their end, taken or not: numbers the files.
    contents: AtomicU64,
    messages: AtomicU64,
    recipients: AtomicU64,
    octets: AtomicU64,
}

impl Tally {
    fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.load(Relaxed),
            messages: self.messages.load(Relaxed),
            recipients: self.recipients.load(Relaxed),
            octets: self.octets.load(Relaxed),
        }
    }
}

/// A sink that has its port.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
    options: Arc<SinkOptions>,
}

impl Sink {
    /// Binds the port and makes the folder for messages.
    ///
    /// # Errors
    /// The port is taken or the folder can't be made.
    pub async fn bind(options: SinkOptions) -> anyhow::Result<Self> {
        if let Some(dir) = &options.dump {
            tokio::fs::create_dir_all(dir).await?;
        }
        Ok(Self { listener: TcpListener::bind(options.listen).await?, options: Arc::new(options) })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// The system does not know.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes mail until `shutdown` resolves; sessions are cut then.
    pub async fn run(self, shutdown: impl Future) -> Counts {
        let tally = Arc::new(Tally::default());
        let permits = Arc::new(Semaphore::new(MAX_SESSIONS));
        let mut sessions = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accept = async {
                // The semaphore is never closed.
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (permit, self.listener.accept().await)
            };
            tokio::select! {
                biased;
                _ = &mut shutdown => break,
                Some(_) = sessions.join_next() => {}
                (permit, accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let (options, tally) = (Arc::clone(&self.options), Arc::clone(&tally));
                        tally.sessions.fetch_add(1, Relaxed);
                        sessions.spawn(async move {
                            // A session that breaks is its peer's business.
                            let _ = session::run(stream, &options, &tally).await;
                            drop(permit);
                        });
                    }
                    // Out of descriptors, most likely: some will be closed soon.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
        sessions.shutdown().await;
        tally.counts()
    }
}

/// The command: takes mail until `shutdown` resolves, then prints the sums.
///
/// # Errors
/// The port is taken, the folder can't be made, or standard output is closed.
pub async fn run(options: SinkOptions, shutdown: impl Future) -> anyhow::Result<()> {
    let sink = Sink::bind(options).await?;
    writeln!(std::io::stdout(), "listening on {}", sink.local_addr()?)?;
    let counts = sink.run(shutdown).await;
    let Counts { sessions, messages, recipients, octets } = counts;
    writeln!(std::io::stdout(), "{messages} messages, {recipients} recipients, {octets} octets, {sessions} sessions")?;
    Ok(())
}

#[cfg(test)]
mod tests;
