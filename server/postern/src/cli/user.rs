//! `postern user`: what `[user."NAME"]` has in place of a password.

use super::out;
use crate::users::{PasswordHash, random};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use postern_core::smtp::auth::scram::Verifier;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::num::NonZeroU32;

/// Iterations of SCRAM: each login costs the client so many, and the server none. RFC 7677 asks for 4096 at least.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
/// Longest password, in octets.
const MAX_PASSWORD: u64 = 1024;

/// `postern user …`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Read a password (without echo, or the first line of standard input) and print what to put into [user."NAME"]
    Hash,
}

/// Runs the command.
pub fn run(command: &UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Hash => hash(),
    }
}

fn hash() -> anyhow::Result<()> {
    let password = if std::io::stdin().is_terminal() { asked()? } else { first_line()? };
    if password.is_empty() {
        bail!("the password is empty");
    }
    let salt: [u8; 16] = random()?;
    let (argon2, scram) = (PasswordHash::new(&password)?, Verifier::derive(&password, &salt, ITERATIONS));
    out::print(&format!("password = \"{argon2}\"\nscram = \"{scram}\"\n"))
}

fn asked() -> anyhow::Result<String> {
    let password = rpassword::prompt_password("Password: ").context("can't read a password")?;
    if rpassword::prompt_password("Again: ").context("can't read a password")? != password {
        bail!("these are two passwords");
    }
    Ok(password)
}

fn first_line() -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock().take(MAX_PASSWORD + 2);
    input.read_until(b'\n', &mut line).context("can't read standard input")?;
    let line = String::from_utf8(line).context("the password is not UTF-8")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.len() as u64 > MAX_PASSWORD {
        bail!("the password is longer than {MAX_PASSWORD} octets");
    }
    Ok(password.to_owned())
}
