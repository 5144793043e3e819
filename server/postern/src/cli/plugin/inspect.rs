//! `postern plugin inspect`: what a component is and asks for, read from its file; nothing of it is run.

use crate::cli::out::{print, printable};
use anyhow::Context as _;
use clap::Args;
use postern_plugin_host::{Inspection, Need, inspect};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// `postern plugin inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let file = &args.file;
    let wasm = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    let found = inspect(&wasm).with_context(|| file.display().to_string())?;
    if args.json {
        return print(&(serde_json::to_string_pretty(&as_json(&found))? + "\n"));
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut text, &found);
    print(&text)
}

fn as_json(found: &Inspection) -> Value {
    let hooks = found.hooks.iter().map(|hook| json!({ "name": hook.name(), "called": hook.is_called() }));
    let imports = found.imports.iter().map(|import| match import.need {
        Need::Nothing => json!({ "name": import.name, "known": true, "grant": null }),
        Need::Grant { name, .. } => json!({ "name": import.name, "known": true, "grant": name }),
        Need::Unknown(_) => json!({ "name": import.name, "known": false, "grant": null }),
    });
    let producer =
        |(field, name, version): &(String, String, String)| json!({ "field": field, "name": name, "version": version });
    json!({
        "name": found.identity.as_ref().map(|(name, _)| name),
        "version": found.identity.as_ref().map(|(_, version)| version),
        "size": found.size,
        "sha256": found.sha256,
        "hooks": hooks.collect::<Vec<_>>(),
        "reads_config": found.has_lifecycle || found.imports.iter().any(reads_config),
        "imports": imports.collect::<Vec<_>>(),
        "grants": found.grants(),
        "producers": found.producers.iter().map(producer).collect::<Vec<_>>(),
        "problems": found.problems(),
    })
}

fn reads_config(import: &postern_plugin_host::Import) -> bool {
    import.need == Need::Nothing && import.name.starts_with("postern:plugin/config@")
}

fn write(text: &mut String, found: &Inspection) -> std::fmt::Result {
    let name = match &found.identity {
        Some((name, version)) => format!("{name} {version}"),
        None => "(it does not say)".to_owned(),
    };
    writeln!(text, "name      {}", printable(&name))?;
    writeln!(text, "size      {} octets", found.size)?;
    writeln!(text, "sha256    {}", found.sha256)?;
    for (index, hook) in found.hooks.iter().enumerate() {
        let note = if hook.is_called() { "" } else { "  (this server does not call it yet)" };
        writeln!(text, "{}{}{note}", if index == 0 { "hooks     " } else { "          " }, hook.name())?;
    }
    let takes = if found.has_lifecycle || found.imports.iter().any(reads_config) { "is read" } else { "is not read" };
    writeln!(text, "config    {takes}")?;
    for (index, import) in found.imports.iter().enumerate() {
        let note = match import.need {
            Need::Nothing => String::new(),
            Need::Grant { name, .. } => format!("  (grant `{name}`)"),
            Need::Unknown(hint) => format!("  (unknown: {hint})"),
        };
        let label = if index == 0 { "imports   " } else { "          " };
        writeln!(text, "{label}{}{note}", printable(&import.name))?;
    }
    writeln!(text, "grants    {}", found.grants().unwrap_or_else(|| "none needed".to_owned()))?;
    for (index, (field, name, version)) in found.producers.iter().enumerate() {
        let label = if index == 0 { "made by   " } else { "          " };
        let (name, version) = (printable(name), printable(version));
        writeln!(text, "{}", format!("{label}{}: {name} {version}", printable(field)).trim_end())?;
    }
    for problem in found.problems() {
        writeln!(text, "problem   {}", printable(&problem))?;
    }
    Ok(())
}
