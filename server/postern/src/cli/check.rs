//! `postern check`: reads the config, loads the plugins, and prints the config in effect.

use super::run::blocking;
use super::{ConfigArgs, out};
use crate::relay;
use anyhow::Context as _;
use clap::Args;

/// Every key, documented.
const KEYS: &str = include_str!("../../../../config/postern.toml");

/// `postern check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
    /// Print every key, documented, at its default, and check nothing
    #[arg(long, conflicts_with = "json")]
    keys: bool,
}

/// Prints the config in effect, or fails with the first mistake.
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    if args.keys {
        return out::print(KEYS);
    }
    let config = args.config.load()?;
    config.written.run.identity()?;
    blocking(async { Ok(relay::check_plugins(&config).await?) })?;
    if args.json {
        out::print(&(serde_json::to_string_pretty(&config.written).context("can't print the config")? + "\n"))
    } else {
        out::print(&toml::to_string_pretty(&config.written).context("can't print the config")?)
    }
}
