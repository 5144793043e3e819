//! `postern plugin capture`: makes a fixture of a message in the queue of the running server, for `plugin replay`.
//!
//! The message is as it was queued: what the hooks of intake made of it is in it already, except for the Received field
//! that the server put on top, which is taken off again.

use crate::cli::ConfigArgs;
use crate::cli::control::Control;
use crate::cli::out::print;
use crate::cli::run::blocking;
use crate::http::MessageView;
use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::BodyExt as _;
use postern_core::mail::QueueId;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// `postern plugin capture`
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Queue id of a message
    id: QueueId,
    /// Folder for the fixture, ID.toml and ID.eml; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Writes the fixture.
pub fn run(args: &CaptureArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let id = args.id;
    let (fixture, message) = (args.to.join(format!("{id}.toml")), args.to.join(format!("{id}.eml")));
    for file in [&fixture, &message] {
        if fs::symlink_metadata(file).is_ok() {
            bail!("{} is there already; nothing was changed", file.display());
        }
    }
    fs::create_dir_all(&args.to).with_context(|| format!("can't make {}", args.to.display()))?;
    blocking(async {
        let mut control = Control::connect(config.data_dir()).await?;
        let mut view: MessageView = control.get(&format!("/api/v1/messages/{id}")).await?;
        while let Some(next) = view.next.take() {
            let page: MessageView = control.get(&format!("/api/v1/messages/{id}?after={next}")).await?;
            view.recipients.extend(page.recipients);
            view.next = page.next;
        }
        let text = written(&view, &message)?;
        copy_content(&mut control, &view, &message).await?;
        // Last: it is what makes the two a fixture.
        fs::write(&fixture, text).with_context(|| format!("can't write {}", fixture.display()))?;
        print(&format!("{}\n", fixture.display()))
    })
}

/// The fixture's text.
fn written(view: &MessageView, message: &Path) -> anyhow::Result<String> {
    let file = message.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut session = toml::Table::new();
    session.insert("listener".into(), view.listener.clone().into());
    for (key, value) in [("peer", &view.peer), ("user", &view.user)] {
        if let Some(value) = value {
            session.insert(key.into(), value.clone().into());
        }
    }
    let mut envelope = toml::Table::new();
    envelope.insert("from".into(), view.sender.clone().into());
    let to: Vec<toml::Value> = view.recipients.iter().map(|row| row.recipient.clone().into()).collect();
    envelope.insert("to".into(), to.into());
    envelope.insert("smtputf8".into(), view.smtputf8.into());
    let mut table = toml::Table::new();
    table.insert("message".into(), file.into());
    table.insert("session".into(), session.into());
    table.insert("envelope".into(), envelope.into());
    let text = toml::to_string(&table).context("can't write the fixture")?;
    Ok(format!(
        "# Message {} as it was queued at {}, for `postern plugin replay`; [expect] makes it a case for\n\
         # `postern plugin test`. Its header has what hooks have done to it; recipients that were finished are not here.\n\
         {text}",
        view.id, view.accepted
    ))
}

/// Streams the content into the file, without the server's own Received field.
async fn copy_content(control: &mut Control, view: &MessageView, message: &Path) -> anyhow::Result<()> {
    let mut own = own_received(view);
    let place = || format!("can't write {}", message.display());
    let mut out = BufWriter::new(File::create_new(message).with_context(place)?);
    let mut body = control.stream(&format!("/api/v1/messages/{}/content", view.id)).await?.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the content broke off: what was written is not the whole message")?;
        let Some(piece) = frame.data_ref() else { continue };
        let skipped = own.min(piece.len());
        own -= skipped;
        out.write_all(&piece[skipped..]).with_context(place)?;
    }
    out.flush().with_context(place)
}

/// Octets of the Received field on top, if it is the one that the server put there for this message.
fn own_received(view: &MessageView) -> usize {
    let Some(header) = &view.header else { return 0 };
    let mut end = 0;
    for line in header.split_inclusive('\n') {
        if end > 0 && !line.starts_with([' ', '\t']) {
            break;
        }
        end += line.len();
    }
    let field = &header[..end];
    // What is not UTF-8 was replaced in the view, so that lengths would differ.
    let is_own = field.starts_with("Received:") && field.contains(&view.id) && !field.contains('\u{fffd}');
    if is_own { end } else { 0 }
}
