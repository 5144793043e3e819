//! `postern queue …`: looks at the queue of the running server, and acts on it, over its control socket.
//!
//! FILTER is checked here before a server is asked, so that a mistake in it is a usage error wherever it is made.

use super::control::{Control, encoded};
use super::out::{counted, print, printable, written};
use super::run::blocking;
use super::{ConfigArgs, Usage};
use crate::http::{ActionReply, ActionRequest, MessageView, RecipientRow, RecipientsPage, Verb};
use crate::spool::Filter;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http_body_util::BodyExt as _;
use postern_core::mail::{QueueId, RecipientId};
use std::io::{BufRead as _, BufWriter, IsTerminal as _, Write};
use std::str::FromStr;

/// `postern queue …`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the recipients in the queue that fit FILTER, or all
    List(ListArgs),
    /// Show a message: envelope, origin, recipients with their states, header
    Show(ShowArgs),
    /// Write a message's content to standard output, octet for octet
    Fetch(FetchArgs),
    /// Make recipients due now
    Retry(ActArgs),
    /// Keep recipients from being tried until they are released
    Hold(ActArgs),
    /// Let held recipients go
    Release(ActArgs),
    /// Take recipients out of the queue, without a bounce
    Delete(ActArgs),
}

/// `postern queue list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Terms KEY=VALUE that all must fit; keys: id, zone, domain, destination, sender, recipient, state. A queue id alone is id=…
    filter: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// `postern queue show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Queue id of a message, or of one of its recipients
    id: Id,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `postern queue fetch`
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Queue id of a message, or of one of its recipients
    id: Id,
    #[command(flatten)]
    config: ConfigArgs,
}

/// `postern queue retry|hold|release|delete`
#[derive(Debug, Args)]
pub struct ActArgs {
    /// Terms KEY=VALUE that all must fit; keys: id, zone, domain, destination, sender, recipient, state. A queue id alone is id=…
    filter: Vec<String>,
    /// All recipients in the queue
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on a terminal
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A message, or one recipient of it.
#[derive(Clone, Copy, Debug)]
struct Id {
    message: QueueId,
    recipient: Option<RecipientId>,
}

impl FromStr for Id {
    type Err = postern_core::mail::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(message) => Ok(Self { message, recipient: None }),
            Err(_) => text.parse().map(|id: RecipientId| Self { message: id.message, recipient: Some(id) }),
        }
    }
}

/// Runs the command.
pub fn run(command: &QueueCommand) -> anyhow::Result<()> {
    match command {
        QueueCommand::List(args) => blocking(list(args)),
        QueueCommand::Show(args) => blocking(show(args)),
        QueueCommand::Fetch(args) => blocking(fetch(args)),
        QueueCommand::Retry(args) => blocking(act(Verb::Retry, args)),
        QueueCommand::Hold(args) => blocking(act(Verb::Hold, args)),
        QueueCommand::Release(args) => blocking(act(Verb::Release, args)),
        QueueCommand::Delete(args) => blocking(act(Verb::Delete, args)),
    }
}

/// The filter's text, and what it means.
fn filter(words: &[String]) -> Result<(String, Filter), Usage> {
    let text = words.join(" ");
    let filter = text.parse().map_err(|error| Usage(format!("FILTER: {error}")))?;
    Ok((text, filter))
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let (filter, _) = filter(&args.filter)?;
    let config = args.config.load()?;
    let mut control = Control::connect(config.data_dir()).await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let path = format!("/api/v1/recipients?filter={}{after}", encoded(&filter));
        let page: RecipientsPage = control.get(&path).await?;
        for row in &page.recipients {
            if args.json {
                written(writeln!(out, "{}", serde_json::to_string(row)?))?;
            } else {
                let RecipientRow { id, sender, size, .. } = row;
                written(write!(out, "{id}.{} <{}> size={size} ", row.seq, printable(sender)))?;
                written(write_recipient(&mut out, row))?;
            }
        }
        count += page.recipients.len() as u64;
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    if !args.json {
        written(writeln!(out, "{} in the queue", counted(count, "recipient")))?;
    }
    written(out.flush())
}

fn write_recipient(out: &mut impl Write, row: &RecipientRow) -> std::io::Result<()> {
    let RecipientRow { state, zone, destination, attempts, due, reason, .. } = row;
    let recipient = printable(&row.recipient);
    writeln!(out, "{state} -> <{recipient}> zone={zone} to={destination} attempts={attempts} due={due}")?;
    if reason.is_empty() { Ok(()) } else { writeln!(out, "    {}", printable(reason)) }
}

async fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let mut control = Control::connect(config.data_dir()).await?;
    let id = args.id.message;
    let only = args.id.recipient.map(|id| id.to_string()).unwrap_or_default();
    let mut view: MessageView = control.get(&format!("/api/v1/messages/{id}?filter={only}")).await?;
    while let Some(next) = view.next.take() {
        let page: MessageView = control.get(&format!("/api/v1/messages/{id}?after={next}")).await?;
        view.recipients.extend(page.recipients);
        view.next = page.next;
    }
    if args.json {
        return print(&(serde_json::to_string_pretty(&view)? + "\n"));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    written(write_message(&mut out, &view).and_then(|()| out.flush()))
}

fn write_message(out: &mut impl Write, view: &MessageView) -> std::io::Result<()> {
    let MessageView { id, sender, body, size, header_size, accepted, deliver_at, session, listener, .. } = view;
    writeln!(out, "id          {id}")?;
    writeln!(out, "sender      <{}>", printable(sender))?;
    writeln!(out, "recipients  {} accepted, {} in the queue", view.accepted_recipients, view.recipients.len())?;
    let smtputf8 = if view.smtputf8 { " SMTPUTF8" } else { "" };
    writeln!(out, "size        {size} octets, {header_size} of them header; {body}{smtputf8}")?;
    writeln!(out, "accepted    {accepted}")?;
    if deliver_at != accepted {
        writeln!(out, "not before  {deliver_at}")?;
    }
    let peer = view.peer.as_ref().map(|peer| format!(" from {peer}")).unwrap_or_default();
    let user = view.user.as_ref().map(|user| format!(" as {}", printable(user))).unwrap_or_default();
    writeln!(out, "came by     listener {listener}{peer}{user}, session {session}")?;
    writeln!(out)?;
    for row in &view.recipients {
        write!(out, ".{} ", row.seq)?;
        write_recipient(out, row)?;
    }
    writeln!(out)?;
    match &view.header {
        None => writeln!(out, "the header can't be read"),
        Some(header) => header.lines().try_for_each(|line| writeln!(out, "{}", printable(line))),
    }
}

async fn fetch(args: &FetchArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let mut control = Control::connect(config.data_dir()).await?;
    let response = control.stream(&format!("/api/v1/messages/{}/content", args.id.message)).await?;
    let mut body = response.into_body();
    let mut out = std::io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the content broke off: what was written is not the whole message")?;
        if let Some(piece) = frame.data_ref() {
            written(out.write_all(piece))?;
        }
    }
    written(out.flush())
}

async fn act(verb: Verb, args: &ActArgs) -> anyhow::Result<()> {
    let (text, filter) = filter(&args.filter)?;
    if filter.is_empty() && !args.all {
        return Err(Usage(format!("queue {}: FILTER is missing; --all means the whole queue", verb.name())).into());
    }
    let config = args.config.load()?;
    let mut control = Control::connect(config.data_dir()).await?;
    let path = format!("/api/v1/{}", verb.name());
    let request = ActionRequest { filter: text, all: args.all, dry_run: args.dry_run };
    if !args.dry_run && !args.yes && std::io::stdin().is_terminal() {
        let dry = ActionRequest { dry_run: true, ..request.clone() };
        let ActionReply { count } = control.post(&path, &dry).await?;
        if !agreed(&format!("{} {}?", verb.name(), counted(count, "recipient")))? {
            bail!("nothing was done");
        }
    }
    let reply: ActionReply = control.post(&path, &request).await?;
    if let (0, Some(id)) = (reply.count, filter.message) {
        bail!("nothing to {}: {id} is not in the queue, or not so that {0} changes it", verb.name());
    }
    if args.json {
        return print(&format!("{}\n", serde_json::to_string(&reply)?));
    }
    let would = if args.dry_run { "would " } else { "" };
    print(&format!("{would}{} {}\n", verb.name(), counted(reply.count, "recipient")))
}

/// Asks on the terminal.
#[allow(clippy::print_stderr, reason = "a question is no result of the command")]
fn agreed(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("can't read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
