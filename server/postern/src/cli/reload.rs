//! `postern reload`: the running server reads its config and its plugins anew.

use super::ConfigArgs;
use super::control::Control;
use super::out::print;
use super::run::blocking;
use crate::http::Reloaded;
use clap::Args;

/// `postern reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the server whose config this is.
pub fn run(args: &ReloadArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    blocking(async {
        let mut control = Control::connect(config.data_dir()).await?;
        let done: Reloaded = control.post("/api/v1/reload", &serde_json::json!({})).await?;
        if args.json {
            return print(&(serde_json::to_string_pretty(&done)? + "\n"));
        }
        let mut text = format!("generation {}: {}\n", done.generation, listed(&done.plugins));
        if !done.needs_restart.is_empty() {
            text += &format!("changed, and taken over only by a restart: {}\n", done.needs_restart.join(", "));
        }
        print(&text)
    })
}

fn listed(plugins: &[String]) -> String {
    if plugins.is_empty() { "no plugins".to_owned() } else { plugins.join(", ") }
}
