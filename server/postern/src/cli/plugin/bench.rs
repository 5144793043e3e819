//! `postern plugin bench`: what a call of each hook costs, on an instance that is kept and on a fresh one.

use super::fixture::{self, Fixture};
use super::scene::{Answer, Call, Scene, failures_of};
use super::subject::{CodeCache, Subject};
use crate::cli::out::{print, printable};
use crate::cli::run::blocking;
use anyhow::{Context as _, bail};
use clap::Args;
use postern_core::hook::HookPoint;
use postern_plugin_host::PluginSet;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Fresh instances cost so much more that fewer calls do.
const FRESH_SHARE: usize = 10;

/// `postern plugin bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The plugin's folder, or a component
    plugin: PathBuf,
    /// The TOML file with the transaction [default: the first in the folder `tests` beside the component]
    fixture: Option<PathBuf>,
    /// Calls of each hook on kept instances; a tenth as many on fresh ones
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    calls: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One row of the report; times in microseconds.
#[derive(Debug, Serialize)]
struct Row {
    hook: String,
    instance: &'static str,
    calls: usize,
    mean: f64,
    p50: f64,
    p99: f64,
}

/// Measures and prints.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let subject = Subject::find(&args.plugin)?;
    let place = args.fixture.clone().unwrap_or_else(|| subject.fixtures.clone());
    let fixtures = fixture::read_all(&[place])?;
    let fixture = fixtures.first().context("there is no fixture")?;
    blocking(async {
        let plugins = subject.load(fixture, &CodeCache::new()?).await?;
        let rows = measure(&plugins, fixture, args.calls as usize).await?;
        if args.json {
            return print(&(serde_json::to_string_pretty(&rows)? + "\n"));
        }
        print(&format!("{} on {}\n", printable(&subject.title()), fixture.path.display()))?;
        print(&format!(
            "{:<36} {:<8} {:>9} {:>11} {:>11} {:>11}\n",
            "hook", "instance", "calls", "mean µs", "p50 µs", "p99 µs"
        ))?;
        for Row { hook, instance, calls, mean, p50, p99 } in rows {
            let hook = printable(&hook);
            print(&format!("{hook:<36} {instance:<8} {calls:>9} {mean:>11.2} {p50:>11.2} {p99:>11.2}\n"))?;
        }
        Ok(())
    })
}

async fn measure(plugins: &PluginSet, fixture: &Fixture, count: usize) -> anyhow::Result<Vec<Row>> {
    let plugin = plugins.plugins().first().context("there is no plugin")?;
    let (mut scene, calls) = Scene::new(fixture, &plugin.hooks())?;
    let mut rows = Vec::new();
    for call in &calls {
        let errors = failures_of(plugin, call.hook);
        for _ in 0..count / 10 {
            scene.clone().ask(plugins, call).await;
        }
        let kept = times(&scene, plugins, call, count, || {}).await;
        let fresh = times(&scene, plugins, call, (count / FRESH_SHARE).max(10), || plugin.drop_instances()).await;
        if failures_of(plugin, call.hook) != errors {
            bail!("{} fails on {}: look at it with `postern plugin test`", call.label(), fixture.path.display());
        }
        rows.push(row(call, "kept", &kept));
        rows.push(row(call, "fresh", &fresh));
        let goes_on = matches!(scene.ask(plugins, call).await, Answer::Pass | Answer::Held(_));
        // A recipient that is refused leaves the others.
        if !goes_on && call.hook != HookPoint::Rcpt {
            break;
        }
    }
    Ok(rows)
}

/// The time of each call; what `after` does after it counts as part of it.
async fn times(scene: &Scene, plugins: &PluginSet, call: &Call, count: usize, after: impl Fn()) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    after();
    for _ in 0..count {
        let mut scene = scene.clone();
        let start = Instant::now();
        scene.ask(plugins, call).await;
        after();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

fn row(call: &Call, instance: &'static str, times: &[Duration]) -> Row {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |percent: usize| micros(times[(times.len() * percent / 100).min(times.len() - 1)]);
    let mean = micros(times.iter().sum::<Duration>()) / times.len() as f64;
    Row { hook: call.label(), instance, calls: times.len(), mean, p50: at(50), p99: at(99) }
}
