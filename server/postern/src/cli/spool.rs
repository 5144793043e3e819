//! `postern spool …`: looks at a store that no server has open. The store is only ever read.

use super::ConfigArgs;
use super::out::{counted, print, printable, written};
use crate::config::Config;
use crate::spool::embedded::{self, Counts, Damage, OpenError, Saved};
use anyhow::bail;
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;

/// `postern spool …`
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Verify every row and all content, and name each damage
    Check(CheckArgs),
    /// Save what can be read of a store, damaged or not, as files
    Export(ExportArgs),
}

/// `postern spool check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// `postern spool export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder for the files; it must not be there yet, or be empty
    out: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(command: &SpoolCommand) -> anyhow::Result<()> {
    expect_damage();
    match command {
        SpoolCommand::Check(args) => check(args),
        SpoolCommand::Export(args) => export(args),
    }
}

/// Where the store's library meets a page that makes no sense it may panic; that is caught, told as damage, and no
/// reason to alarm anybody with a trace.
fn expect_damage() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|place| !place.file().contains("redb")) {
            usual(panic);
        }
    }));
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let mut damages = 0;
    let mut printed = Ok(());
    let counts = embedded::check(config.data_dir(), |damage| {
        damages += 1;
        if printed.is_ok() {
            printed = print(&line(&damage, args.json));
        }
    });
    let Counts { messages, recipients, held, octets, facts } = counts.map_err(|error| explained(error, &config))?;
    printed?;
    print(&if args.json {
        let counts = serde_json::json!({
            "messages": messages, "recipients": recipients, "held": held, "octets": octets, "facts": facts,
            "damages": damages,
        });
        format!("{counts}\n")
    } else {
        format!(
            "{}, {} ({held} held), {octets} octets of content, {}; {}\n",
            counted(messages, "message"),
            counted(recipients, "recipient"),
            counted(facts, "fact"),
            if damages == 0 { "no damage".to_owned() } else { counted(damages, "damage") },
        )
    })?;
    if damages > 0 {
        bail!("{} is damaged; `postern spool export` saves what can be read", config.data_dir().display());
    }
    Ok(())
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let mut damages = 0u64;
    let mut out = std::io::stdout().lock();
    let mut printed = Ok(());
    let saved = embedded::export(config.data_dir(), &args.out, |damage| {
        damages += 1;
        // Whoever reads this may go away: the messages are saved all the same.
        if printed.is_ok() {
            printed = written(out.write_all(line(&damage, args.json).as_bytes()));
        }
    });
    let saved = match saved {
        Err(embedded::ExportError::Store(error)) => return Err(explained(error, &config)),
        saved => saved?,
    };
    drop(out);
    let Saved { whole, partial, lost } = saved;
    let incomplete = damages > 0 || partial > 0 || lost > 0;
    printed?;
    print(&if args.json {
        format!("{}\n", serde_json::json!({ "whole": whole, "partial": partial, "lost": lost, "damages": damages }))
    } else {
        let folder = args.out.display();
        format!("{} saved to {folder}, {partial} in part, {lost} lost\n", counted(whole, "message"))
    })?;
    if incomplete {
        bail!("not everything could be saved");
    }
    Ok(())
}

fn line(damage: &Damage, json: bool) -> String {
    let Damage { message, what } = damage;
    if json {
        let message = message.map(|id| id.to_string());
        return format!("{}\n", serde_json::json!({ "message": message, "damage": what }));
    }
    let about = message.map_or_else(|| "the store".to_owned(), |id| id.to_string());
    format!("{about}: {}\n", printable(what))
}

fn explained(error: OpenError, config: &Config) -> anyhow::Error {
    let dir = config.data_dir().display().to_string();
    match error {
        OpenError::Locked(_) => anyhow::anyhow!("a server runs on {dir}: stop it first"),
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("there is no queue in {dir}")
        }
        OpenError::Damaged { path, what } => anyhow::anyhow!("nothing can be read of {}: {what}", path.display()),
        error => error.into(),
    }
}
