//! `postern create DIR`: a folder to start from. Nothing that is there is ever overwritten.

use super::out;
use anyhow::{Context as _, bail};
use clap::Args;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

const CONFIG: &str = include_str!("create/postern.toml");
const PLUGINS: &str = include_str!("create/plugins.md");
const GITIGNORE: &str =
    "# The queue. It is not for version control, and not for a copy while the server runs.\n/data/\n";

/// `postern create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The folder; it may be there already, without a postern.toml
    dir: PathBuf,
}

/// Makes the folder.
pub fn run(args: &CreateArgs) -> anyhow::Result<()> {
    let dir = &args.dir;
    let config = dir.join("postern.toml");
    // A link that leads nowhere is something too.
    if fs::symlink_metadata(&config).is_ok() {
        bail!("{} is there already; nothing was changed", config.display());
    }
    let plugins = dir.join("plugins");
    fs::create_dir_all(&plugins).with_context(|| format!("can't make {}", plugins.display()))?;
    add(&plugins.join("README.md"), PLUGINS)?;
    add(&dir.join(".gitignore"), GITIGNORE)?;
    // Last: with it the folder is complete, and without it the command can be given again.
    if !add(&config, CONFIG)? {
        bail!("{} was made by somebody else just now; it was left alone", config.display());
    }
    let dir = dir.display();
    out::print(&format!(
        "{} is made. What to do next:\n\
         \x20 edit   {}\n\
         \x20 check  postern check -d {dir}\n\
         \x20 start  postern run -d {dir}\n",
        dir,
        config.display()
    ))
}

/// Makes a file if there is none; says whether it did.
fn add(path: &Path, text: &str) -> anyhow::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).with_context(|| format!("can't write {}", path.display()))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't make {}", path.display())),
    }
}
