//! `postern queue …`: asks the running server over its control socket.

use super::ConfigArgs;
use super::run::blocking;
use crate::http::{RecipientRow, RecipientsPage, control_socket};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Subcommand;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::io::Write as _;
use std::path::Path;
use tokio::net::UnixStream;

/// `postern queue …`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the recipients in the queue
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(command: &QueueCommand) -> anyhow::Result<()> {
    let QueueCommand::List { config, json } = command;
    let config = config.load()?;
    blocking(list(config.data_dir(), *json))
}

async fn list(data_dir: &Path, json: bool) -> anyhow::Result<()> {
    let mut control = connect(data_dir).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut after, mut count) = (None::<String>, 0usize);
    loop {
        let query = after.map(|id| format!("?after={id}")).unwrap_or_default();
        let page: RecipientsPage = get(&mut control, &format!("/api/v1/recipients{query}")).await?;
        for row in &page.recipients {
            if json {
                serde_json::to_writer(&mut out, row)?;
                out.write_all(b"\n")?;
            } else {
                write_row(&mut out, row)?;
            }
        }
        count += page.recipients.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if !json {
        let noun = if count == 1 { "recipient" } else { "recipients" };
        writeln!(out, "{count} {noun} in the queue")?;
    }
    Ok(out.flush()?)
}

fn write_row(out: &mut impl std::io::Write, row: &RecipientRow) -> std::io::Result<()> {
    let RecipientRow { id, seq, state, zone, destination, sender, recipient, size, attempts, due, reason, .. } = row;
    writeln!(
        out,
        "{id}.{seq} {state} <{sender}> -> <{recipient}> zone={zone} to={destination} size={size} attempts={attempts} due={due}"
    )?;
    if reason.is_empty() { Ok(()) } else { writeln!(out, "    {reason}") }
}

/// A connection to the running server.
async fn connect(data_dir: &Path) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let path = control_socket(data_dir);
    let stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("no server answers at {} (is it running with this data_dir?)", path.display()))?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn get<T: serde::de::DeserializeOwned>(control: &mut SendRequest<Empty<Bytes>>, path: &str) -> anyhow::Result<T> {
    control.ready().await.context("the server closed the connection")?;
    let request = hyper::Request::get(path).header("host", "postern").body(Empty::new())?;
    let response = control.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(serde_json::from_slice(&body)?)
}
