//! `postern plugin replay`: the same transactions against two versions of a plugin, and what differs.

use super::fixture::{self, Fixture};
use super::lines::{diff, told};
use super::outcome;
use super::subject::{CodeCache, Subject};
use super::test::message_lines;
use crate::cli::out::{counted, print, printable};
use crate::cli::run::blocking;
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;

/// `postern plugin replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The version to compare with: a plugin's folder, or a component
    old: PathBuf,
    /// The other version
    new: PathBuf,
    /// TOML files, each a transaction, or folders of them [default: the folder `tests` beside NEW's component]
    fixtures: Vec<PathBuf>,
}

/// Runs the transactions; fails if anything differs.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let (old, new) = (Subject::find(&args.old)?, Subject::find(&args.new)?);
    let places = if args.fixtures.is_empty() { vec![new.fixtures.clone()] } else { args.fixtures.clone() };
    let fixtures = fixture::read_all(&places)?;
    print(&format!("- {}\n+ {}\n", printable(&old.title()), printable(&new.title())))?;
    blocking(async {
        let cache = CodeCache::new()?;
        let mut differ = 0_u64;
        for fixture in &fixtures {
            let before = whole(&old, fixture, &cache).await;
            let after = whole(&new, fixture, &cache).await;
            let difference = diff(&before, &after, |a, b| a == b);
            let mark = if difference.is_some() { "DIFF" } else { "same" };
            print(&format!("{mark} {}\n", fixture.path.display()))?;
            if let Some(difference) = difference {
                differ += 1;
                let shown = difference.lines().filter(|line| !line.starts_with(' '));
                print(&shown.map(|line| format!("     {}\n", printable(line))).collect::<String>())?;
            }
        }
        let differs = if differ == 1 { "differs" } else { "differ" };
        print(&format!("{}, {differ} {differs}\n", counted(fixtures.len() as u64, "transaction")))?;
        if differ > 0 {
            bail!("{} {differs}", counted(differ, "transaction"));
        }
        Ok(())
    })
}

/// All that a version made of a transaction: verdicts, changes, and the message itself. That it could not be run is
/// something too that may differ.
async fn whole(subject: &Subject, fixture: &Fixture, cache: &CodeCache) -> Vec<String> {
    let run = async { outcome::run(&subject.load(fixture, cache).await?, fixture).await };
    match run.await {
        Ok(outcome) => {
            let content = outcome.content.map(|content| message_lines(&content)).unwrap_or_default();
            let changes = outcome.changes.into_iter().filter(|line| !line.starts_with("header "));
            let lines = content.into_iter().map(|line| format!("| {line}"));
            outcome.calls.into_iter().chain(changes).chain(lines).collect()
        }
        Err(error) => vec![format!("not run: {}", told(&error))],
    }
}
