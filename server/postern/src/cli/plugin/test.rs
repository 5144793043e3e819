//! `postern plugin test`: runs a plugin in the real host on fixtures, and compares what it did with what they expect.

use super::fixture::{self, Fixture};
use super::lines::{diff, fits, told};
use super::outcome::{self, Outcome};
use super::subject::{CodeCache, Subject};
use crate::cli::out::{counted, print, printable};
use crate::cli::run::blocking;
use anyhow::bail;
use clap::Args;
use postern_core::hook::HookPoint;
use std::path::PathBuf;

/// `postern plugin test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin's folder, or a component
    plugin: PathBuf,
    /// TOML files, each a case, or folders of them [default: the folder `tests` beside the component]
    fixtures: Vec<PathBuf>,
}

/// Runs the cases; fails if one does.
pub fn run(args: &TestArgs) -> anyhow::Result<()> {
    let subject = Subject::find(&args.plugin)?;
    let places = if args.fixtures.is_empty() { vec![subject.fixtures.clone()] } else { args.fixtures.clone() };
    let fixtures = fixture::read_all(&places)?;
    print(&format!("{}\n", printable(&subject.title())))?;
    blocking(async {
        let cache = CodeCache::new()?;
        let mut failed = 0_u64;
        for fixture in &fixtures {
            let problem = case(&subject, fixture, &cache).await?;
            let mark = if problem.is_some() { "FAIL" } else { "ok  " };
            print(&format!("{mark} {}\n", fixture.path.display()))?;
            if let Some(problem) = problem {
                failed += 1;
                let shown = problem.lines().map(|line| format!("     {}\n", printable(line)));
                print(&shown.collect::<String>())?;
            }
        }
        print(&format!("{}, {failed} failed\n", counted(fixtures.len() as u64, "case")))?;
        if failed > 0 {
            bail!("{} failed: `-` was expected, `+` is what happened", counted(failed, "case"));
        }
        Ok(())
    })
}

/// Runs one case and tells how it differs from what is expected.
async fn case(subject: &Subject, fixture: &Fixture, cache: &CodeCache) -> anyhow::Result<Option<String>> {
    let plugins = match subject.load(fixture, cache).await {
        Ok(plugins) => plugins,
        Err(error) => return Ok(Some(told(&error))),
    };
    let hooks: Vec<HookPoint> = plugins.plugins().iter().flat_map(|plugin| plugin.hooks()).collect();
    let (mut expected, expected_changes) = outcome::expected(fixture, &hooks)?;
    let Outcome { calls, changes, content } = outcome::run(&plugins, fixture).await?;
    let wanted = fixture.expected_message()?;
    let mut happened = calls;
    let of_content = |line: &String| line.starts_with("header ") || line.starts_with("body: ");
    let changes = changes.into_iter().filter(|line| wanted.is_none() || !of_content(line));
    expected.extend(expected_changes.into_iter().filter(|line| wanted.is_none() || !of_content(line)));
    happened.extend(changes);
    let mut problem = diff(&expected, &happened, fits).unwrap_or_default();
    match (wanted, content) {
        (Some(wanted), Some(content)) => {
            problem.extend(diff(&message_lines(&wanted), &message_lines(&content), fits));
        }
        // Why it was not taken stands above, unless that is what was expected.
        (Some(_), None) if problem.is_empty() => problem.push_str("- the message of expect.content\n+ none is taken\n"),
        _ => {}
    }
    Ok((!problem.is_empty()).then_some(problem))
}

/// The lines of a message, for comparing and showing.
pub fn message_lines(content: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(content).lines().map(str::to_owned).collect()
}
