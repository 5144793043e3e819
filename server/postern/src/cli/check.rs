//! `postern check`: reads the config, loads the plugins, and prints the config in effect.

use super::ConfigArgs;
use super::run::blocking;
use crate::relay;
use anyhow::Context as _;
use clap::Args;

/// `postern check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
}

/// Prints the config in effect, or fails with the first mistake.
#[allow(clippy::print_stdout, reason = "the result of the command")]
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    blocking(async { Ok(relay::load_plugins(&config).await.map(drop)?) })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&config.written).context("can't print the config")?);
    } else {
        print!("{}", toml::to_string_pretty(&config.written).context("can't print the config")?);
    }
    Ok(())
}
