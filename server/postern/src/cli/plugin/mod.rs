//! `postern plugin …`: tools for plugin authors. None of them needs a running server, but for `capture`.

mod attempt;
mod bench;
pub mod build;
mod capture;
mod fixture;
mod foreign;
mod inspect;
mod lines;
mod new;
mod outcome;
mod replay;
mod scene;
mod subject;
mod test;

use super::out::print;
use clap::Subcommand;
use std::path::PathBuf;

/// `postern plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a folder with a new plugin
    New(new::NewArgs),
    /// Build the plugin in DIR into DIR/<name>.wasm
    Build {
        /// Folders of plugins
        #[arg(required = true)]
        dir: Vec<PathBuf>,
    },
    /// Show what a component is and asks for, without running it
    Inspect(inspect::InspectArgs),
    /// Run a plugin on fixtures, and compare what it does with what they expect
    Test(test::TestArgs),
    /// Run two versions of a plugin on the same transactions, and show what differs
    Replay(replay::ReplayArgs),
    /// Measure what a call costs
    Bench(bench::BenchArgs),
    /// Make a fixture of a message in the queue of the running server
    Capture(capture::CaptureArgs),
}

/// Runs the command.
pub fn run(command: &PluginCommand) -> anyhow::Result<()> {
    match command {
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Build { dir } => {
            dir.iter().try_for_each(|dir| print(&format!("{}\n", build::build(dir)?.display())))
        }
        PluginCommand::Inspect(args) => inspect::run(args),
        PluginCommand::Test(args) => test::run(args),
        PluginCommand::Replay(args) => replay::run(args),
        PluginCommand::Bench(args) => bench::run(args),
        PluginCommand::Capture(args) => capture::run(args),
    }
}
