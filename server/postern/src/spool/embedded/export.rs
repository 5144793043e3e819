//! `spool export`: saves what can be read of a store, damaged or not, into a folder of its own. The store is not
//! changed, and nothing is ever overwritten.
//!
//! | file | |
//! |---|---|
//! | `ID.eml` | the content, octet for octet, every checksum right |
//! | `ID.partial.eml` | what is left of content that is damaged, or whose row is lost and so its length |
//! | `ID.json` | envelope, origin, times, and where each recipient stands |

use super::inspect::{self, Damage, Standing};
use super::open::OpenError;
use super::states::Fate;
use super::store::{BODY, CHUNK};
use super::vault::{Row, Vault};
use crate::spool::StoredMessage;
use postern_core::mail::{BodyType, QueueId};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Why nothing, or not all, was saved.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store can't be opened at all, even for reading.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The folder has something in it.
    #[error("{} is not empty: export needs a folder of its own", .0.display())]
    NotEmpty(PathBuf),
    /// A file or folder can't be made or written. What was saved before stays.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Messages saved whole.
    pub whole: u64,
    /// Messages of which something is missing: see their `damage`, or that they have no `.json`.
    pub partial: u64,
    /// Messages of which nothing could be saved but their id.
    pub lost: u64,
}

#[derive(Serialize)]
struct MessageFile<'a> {
    id: String,
    /// Empty for `<>`.
    sender: &'a str,
    body: &'static str,
    smtputf8: bool,
    accepted: String,
    deliver_at: String,
    session: &'a str,
    listener: &'a str,
    peer: Option<String>,
    user: Option<&'a str>,
    size: u64,
    header_size: u64,
    recipients: Vec<RecipientEntry<'a>>,
    /// What could not be read; empty for a whole message.
    damage: &'a [String],
}

#[derive(Serialize)]
struct RecipientEntry<'a> {
    seq: String,
    recipient: &'a str,
    /// `pending`, `held`, `done`, or `unknown` if it can't be read.
    state: &'static str,
    zone: &'a str,
    destination: &'a str,
    attempts: Option<u16>,
    due: Option<String>,
    reason: &'a str,
}

/// Saves the store in `dir` into `out`, and tells of what can't be read as it is found.
///
/// # Errors
/// See [`ExportError`]; damage is none.
pub fn export(dir: &Path, out: &Path, mut tell: impl FnMut(Damage)) -> Result<Saved, ExportError> {
    let vault = Vault::open(dir)?;
    make_folder(out)?;
    for what in &vault.wrong {
        tell(Damage { message: None, what: what.clone() });
    }
    let mut saved = Saved::default();
    for id in inspect::ids(&vault, &mut tell) {
        let mut damage = Vec::new();
        match vault.row(id) {
            Row::Whole(message, streamed) => {
                let standings = inspect::standings(&vault, &message, &mut |what| damage.push(what));
                if standings.iter().all(|standing| standing.fate == Some(Fate::Done)) {
                    // It had ended; only its last traces were still to be removed.
                    continue;
                }
                save(&vault, out, &message, streamed, &standings, &mut damage)?;
                if damage.is_empty() {
                    saved.whole += 1;
                } else {
                    saved.partial += 1;
                }
            }
            Row::Missing | Row::Damaged(_) => {
                damage.push("its row can't be read: sender and recipients are lost".to_owned());
                if save_orphan(&vault, out, id)? { saved.partial += 1 } else { saved.lost += 1 }
            }
        }
        damage.into_iter().for_each(|what| tell(Damage { message: Some(QueueId(id)), what }));
    }
    flush(out)?;
    Ok(saved)
}

fn save(
    vault: &Vault,
    out: &Path,
    message: &StoredMessage,
    streamed: bool,
    standings: &[Standing],
    damage: &mut Vec<String>,
) -> Result<(), ExportError> {
    let id = message.id;
    let whole = out.join(format!("{id}.eml"));
    let mut file = create(&whole)?;
    let before = damage.len();
    for (number, len) in inspect::chunks(message.header_len, message.len, streamed) {
        match vault.chunk(id.0, number) {
            Ok(Some(data)) if data.len() == len => at(&whole, file.write_all(&data))?,
            Ok(Some(_)) => damage.push(format!("chunk {number} of its content is of another length")),
            Ok(None) => damage.push(format!("chunk {number} of its content is missing")),
            Err(what) => damage.push(format!("chunk {number} of its content {what}")),
        }
    }
    at(&whole, file.flush())?;
    if damage.len() > before {
        at(&whole, fs::rename(&whole, out.join(format!("{id}.partial.eml"))))?;
    }
    let path = out.join(format!("{id}.json"));
    let mut file = create(&path)?;
    let text = serde_json::to_vec_pretty(&description(message, standings, damage));
    at(&path, text.map_err(io::Error::other).and_then(|text| file.write_all(&text)))?;
    at(&path, file.write_all(b"\n").and_then(|()| file.flush()))
}

fn description<'a>(message: &'a StoredMessage, standings: &'a [Standing], damage: &'a [String]) -> MessageFile<'a> {
    let recipient = |(at, standing): (usize, &'a Standing)| {
        let times = inspect::times(standing.fate);
        RecipientEntry {
            seq: standing.seq.to_string(),
            recipient: message.envelope.recipients[at].address.as_str(),
            state: inspect::state_name(standing.fate),
            zone: &message.queues[at].zone,
            destination: &message.queues[at].destination,
            attempts: times.map(|(attempts, _)| attempts),
            due: times.map(|(_, due)| due.to_string()),
            reason: &standing.reason,
        }
    };
    MessageFile {
        id: message.id.to_string(),
        sender: message.envelope.reverse_path.as_str(),
        body: match message.envelope.body {
            BodyType::SevenBit => "7BIT",
            BodyType::EightBit => "8BITMIME",
        },
        smtputf8: message.envelope.smtputf8,
        accepted: message.accepted.to_string(),
        deliver_at: message.deliver_at.to_string(),
        session: &message.origin.session,
        listener: &message.origin.listener,
        peer: message.origin.peer_addr.map(|peer| peer.to_string()),
        user: message.origin.user.as_deref(),
        size: message.len,
        header_size: message.header_len,
        recipients: standings.iter().enumerate().map(recipient).collect(),
        damage,
    }
}

/// Saves content whose row is lost: as far as it goes. True if there was any.
fn save_orphan(vault: &Vault, out: &Path, id: u64) -> Result<bool, ExportError> {
    let path = out.join(format!("{}.partial.eml", QueueId(id)));
    let mut file = None;
    // Where the body was streamed ahead, the header block stands alone in the first chunks.
    for first in [0, BODY] {
        for number in first.. {
            let Ok(Some(data)) = vault.chunk(id, number) else { break };
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(create(&path)?),
            };
            at(&path, file.write_all(&data))?;
            if data.len() < CHUNK {
                break;
            }
        }
    }
    match &mut file {
        None => Ok(false),
        Some(file) => at(&path, file.flush()).map(|()| true),
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ExportError> {
    result.map_err(|source| ExportError::Io { path: path.to_owned(), source })
}

/// Makes the folder, for the owner alone; one that is there must be empty.
fn make_folder(out: &Path) -> Result<(), ExportError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(out) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = at(out, fs::read_dir(out))?;
            if entries.next().is_some() { Err(ExportError::NotEmpty(out.to_owned())) } else { Ok(()) }
        }
        made => at(out, made),
    }
}

fn create(path: &Path) -> Result<BufWriter<File>, ExportError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(BufWriter::with_capacity(64 * 1024, at(path, options.open(path))?))
}

/// What was saved is on the disk before anybody is told so.
fn flush(out: &Path) -> Result<(), ExportError> {
    #[cfg(target_os = "linux")]
    at(out, File::open(out).and_then(|folder| Ok(rustix::fs::syncfs(folder)?)))?;
    Ok(())
}
