//! The command line: arguments, exit codes, printing; one file per command.
//!
//! Exit codes: 0 fine, 1 failed, 2 usage (a config that can't be used counts as failed).

mod check;
mod control;
mod create;
mod out;
#[cfg(feature = "plugins")]
mod plugin;
mod queue;
mod reload;
mod run;
pub mod sink;
mod spool;
mod user;

use crate::config::{Config, ConfigError};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// An outbound mail server whose behaviour lives in sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "postern", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground
    Run(run::RunArgs),
    /// Check config and plugins, and print the config in effect
    Check(check::CheckArgs),
    /// Make a folder with a config to start from
    Create(create::CreateArgs),
    /// Let the running server take over a changed config and changed plugins
    Reload(reload::ReloadArgs),
    /// Look at the queue of the running server, and act on it
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Look at a store that no server has open
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Make what the config has of users' passwords
    #[command(subcommand)]
    User(user::UserCommand),
    /// Take mail and keep or print it, for demos and tests
    Sink(sink::SinkOptions),
    /// Tools for plugin authors
    #[cfg(feature = "plugins")]
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

/// Which config.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// Config file; may be repeated, later files override single keys [default: postern.toml, /etc/postern/postern.toml]
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Folder of an app: its postern.toml is the config
    #[arg(short, long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        // A variable that is not UTF-8 can't be one of ours.
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let of_dir = self.dir.as_ref().map(|dir| vec![dir.join("postern.toml")]);
        Config::load(of_dir.as_ref().unwrap_or(&self.config), std::env::vars_os().filter_map(text))
    }
}

/// Parses the arguments and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Create(args) => create::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Queue(command) => queue::run(&command),
        Command::Spool(command) => spool::run(&command),
        Command::User(command) => user::run(&command),
        Command::Sink(options) => run::blocking(async { sink::run(options, run::stop_signal()).await }),
        #[cfg(feature = "plugins")]
        Command::Plugin(command) => plugin::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has had enough of it.
        Err(error) if error.is::<out::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if error.is::<Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Exit code for a command that makes no sense; clap's own.
const USAGE: u8 = 2;

/// The command makes no sense, whatever the server would say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

#[allow(clippy::print_stderr, reason = "this is where errors meet the operator")]
fn complain(error: &anyhow::Error) {
    eprintln!("postern: {error:#}");
}
