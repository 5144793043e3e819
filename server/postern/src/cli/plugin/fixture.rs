//! Fixtures: a TOML file for each case, with the transaction that a plugin is called for and what is expected of it.
//!
//! What `[expect]` does not name must not happen: every hook says "go on", and nothing is changed. In its texts `*`
//! stands for anything. `docs/plugins.md` lists every key.

use crate::config::Span;
use anyhow::{Context as _, bail};
use postern_core::hook::HookPoint;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// One case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fixture {
    /// Its file; relative paths in it belong to the file's folder.
    #[serde(skip)]
    pub path: PathBuf,
    /// File with the message; line ends may be LF.
    message: Option<PathBuf>,
    /// Hooks to call, in this order; empty: those that the plugin exports, as a message meets them.
    hooks: Vec<String>,
    /// Keys of the `[[plugin]]` table: config, grants, limits.
    pub plugin: toml::Table,
    /// The session.
    pub session: SessionTable,
    /// The envelope.
    pub envelope: EnvelopeTable,
    /// What the server's config has.
    pub server: ServerTable,
    /// The attempt that `delivery-before` is about.
    pub delivery: Option<DeliveryTable>,
    /// What `bounce` is about.
    pub failure: Vec<FailureTable>,
    /// What `event` is given.
    pub event: Vec<toml::Table>,
    /// What is expected.
    pub expect: Expect,
}

/// `[session]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionTable {
    /// Name of the listener.
    pub listener: String,
    /// The client's end of the connection.
    pub peer: SocketAddr,
    /// The name of its address.
    pub peer_name: Option<String>,
    /// What it calls itself.
    pub helo: String,
    /// The authenticated user.
    pub user: Option<String>,
    /// Notes that earlier plugins left.
    pub attributes: BTreeMap<String, String>,
}

impl Default for SessionTable {
    fn default() -> Self {
        Self {
            listener: "feeder".into(),
            peer: SocketAddr::from(([192, 0, 2, 1], 49152)),
            peer_name: None,
            helo: "client.example".into(),
            user: None,
            attributes: BTreeMap::new(),
        }
    }
}

/// `[envelope]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeTable {
    /// MAIL FROM; empty for `<>`.
    pub from: String,
    /// RCPT TO.
    pub to: Vec<String>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// The zone that an earlier plugin chose.
    pub zone: Option<String>,
}

impl Default for EnvelopeTable {
    fn default() -> Self {
        let to = vec!["recipient@example.net".into()];
        Self { from: "sender@example.com".into(), to, smtputf8: false, zone: None }
    }
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTable {
    /// Zones besides `default`.
    pub zones: Vec<String>,
    /// Pools besides `default`.
    pub pools: Vec<String>,
    /// The zone whose rules claim the message.
    pub claimed: String,
}

impl Default for ServerTable {
    fn default() -> Self {
        Self { zones: Vec::new(), pools: Vec::new(), claimed: "default".into() }
    }
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryTable {
    /// What the attempt goes to; the domain of the first recipient if empty.
    pub next_hop: String,
    /// The pool's addresses.
    pub sources: Vec<IpAddr>,
    /// The zone's TLS mode.
    pub tls: String,
    /// Attempts before this one.
    pub attempts: u32,
}

impl Default for DeliveryTable {
    fn default() -> Self {
        let sources = vec![IpAddr::from([192, 0, 2, 10])];
        Self { next_hop: String::new(), sources, tls: "opportunistic".into(), attempts: 0 }
    }
}

/// `[[failure]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureTable {
    /// The recipient.
    pub to: String,
    /// What has been decided: `defer`, `bounce` or `expire`.
    pub action: String,
    /// What the next hop said.
    #[serde(default)]
    pub reply: Option<String>,
    /// Attempts so far, the failed one included.
    #[serde(default = "one")]
    pub attempts: u32,
}

fn one() -> u32 {
    1
}

/// `[expect]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Expect {
    connect: Option<Verdicts>,
    mail: Option<Verdicts>,
    rcpt: Option<Verdicts>,
    spam: Option<Verdicts>,
    rewrite: Option<Verdicts>,
    rewrite_part: Option<Verdicts>,
    route: Option<Verdicts>,
    delivery_before: Option<Verdicts>,
    bounce: Option<Verdicts>,
    event: Option<Verdicts>,
    /// Header fields that go, `Name: value`.
    pub removed: Vec<String>,
    /// Header fields that get another value, with the new one.
    pub changed: Vec<String>,
    /// Header fields that come.
    pub added: Vec<String>,
    /// File with the whole message as it has to be; it takes the place of the three above.
    pub content: Option<PathBuf>,
    /// The reverse-path; empty for `<>`.
    pub from: Option<String>,
    /// The recipients.
    pub to: Option<Vec<String>>,
    /// The zone that is chosen.
    pub zone: Option<String>,
    /// How long the first attempt is held back.
    pub delay: Option<Span>,
    /// Notes that come or change; false for one that goes.
    pub attributes: BTreeMap<String, Note>,
    /// Where recipients go, by address.
    pub routes: BTreeMap<String, RouteTable>,
    /// The attempt as it begins.
    pub delivery: Option<DeliveryExpected>,
    /// What becomes of recipients that failed, by address: `defer`, or `bounce without DSN`.
    pub failures: BTreeMap<String, String>,
}

/// One text for every call, or (for `rcpt`) one for each recipient.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a verdict is a text; for rcpt it may be a list with one for each recipient")]
pub enum Verdicts {
    /// The same for all.
    Same(String),
    /// For each.
    Each(Vec<String>),
}

/// An attribute.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "an attribute is a text, or false for one that is removed")]
pub enum Note {
    /// Its value.
    Value(String),
    /// It is there, or it goes.
    Is(bool),
}

/// `[expect.routes."ADDRESS"]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTable {
    /// The zone.
    pub zone: Option<String>,
    /// What it goes to.
    pub next_hop: Option<String>,
    /// Another pool than the zone's.
    pub pool: Option<String>,
    /// How long it is held back.
    pub delay: Option<Span>,
    /// Why it is held.
    pub hold: Option<String>,
}

/// `[expect.delivery]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryExpected {
    /// Another next hop.
    pub next_hop: Option<String>,
    /// The addresses it may leave from.
    pub sources: Option<Vec<IpAddr>>,
    /// The TLS mode.
    pub tls: Option<String>,
    /// Fields on top of the message.
    pub top: Vec<String>,
}

impl Fixture {
    /// Reads a case.
    ///
    /// # Errors
    /// The file can't be read, or something in it is wrong: file, line and key are named.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        let fixture: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let fixture = Self { path: path.to_owned(), ..fixture };
        fixture.hooks().with_context(|| format!("{}: hooks", path.display()))?;
        Ok(fixture)
    }

    /// The hooks that it names.
    pub fn hooks(&self) -> anyhow::Result<Vec<HookPoint>> {
        self.hooks.iter().map(|name| hook_named(name)).collect()
    }

    /// A file that it names.
    pub fn resolve(&self, file: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }

    /// The message: header block and the rest, lines ended by CRLF. Without a file it is empty.
    pub fn message(&self) -> anyhow::Result<Vec<u8>> {
        let Some(file) = &self.message else { return Ok(b"\r\n".to_vec()) };
        let place = || format!("{}: message", self.path.display());
        read_message(&self.resolve(file)).with_context(place)
    }

    /// The message as it has to be.
    pub fn expected_message(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = &self.expect.content else { return Ok(None) };
        let place = || format!("{}: expect.content", self.path.display());
        read_message(&self.resolve(file)).map(Some).with_context(place)
    }
}

impl Expect {
    /// What a hook is expected to say at its `index`th call; none: go on.
    pub fn verdict(&self, hook: HookPoint, index: usize) -> Option<&str> {
        let verdicts = match hook {
            HookPoint::Connect => &self.connect,
            HookPoint::Mail => &self.mail,
            HookPoint::Rcpt => &self.rcpt,
            HookPoint::Spam => &self.spam,
            HookPoint::Rewrite => &self.rewrite,
            HookPoint::RewritePart => &self.rewrite_part,
            HookPoint::Route => &self.route,
            HookPoint::DeliveryBefore => &self.delivery_before,
            HookPoint::Bounce => &self.bounce,
            HookPoint::Event => &self.event,
            HookPoint::Auth | HookPoint::Sign | HookPoint::Http => &None,
        };
        match verdicts.as_ref()? {
            Verdicts::Same(text) => Some(text),
            Verdicts::Each(texts) => texts.get(index).map(String::as_str),
        }
    }
}

/// A message from a file, its lines ended by CRLF.
fn read_message(file: &Path) -> anyhow::Result<Vec<u8>> {
    let text = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    let mut content = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                content.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                content.extend_from_slice(b"\r\n");
            }
            None => content.extend_from_slice(line),
        }
    }
    Ok(content)
}

fn hook_named(name: &str) -> anyhow::Result<HookPoint> {
    if let Some(hook) = HookPoint::by_name(name) {
        return Ok(hook);
    }
    match HookPoint::ALL.iter().find(|hook| strsim::damerau_levenshtein(hook.name(), name) <= 2) {
        Some(near) => bail!("there is no hook `{name}`; did you mean `{}`?", near.name()),
        None => bail!("there is no hook `{name}`; there are {}", HookPoint::ALL.map(HookPoint::name).join(", ")),
    }
}

/// The cases: files, and the `*.toml` files of folders, sorted by name.
///
/// # Errors
/// One can't be read, or there are none.
pub fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Fixture>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("can't read {}", path.display()))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        found.sort();
        files.extend(found);
    }
    if files.is_empty() {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!("there is no fixture in {}: a TOML file for each case", places.join(", "));
    }
    files.iter().map(|file| Fixture::read(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation has every key.
    #[test]
    fn the_documented_case_is_one() {
        let docs = include_str!("../../../../../docs/plugins.md");
        let (_, cases) = docs.split_once("## Cases").unwrap();
        let text = cases.split("```").nth(1).unwrap().strip_prefix("toml").unwrap();
        let case: Fixture = toml::from_str(text).unwrap();
        assert_eq!(case.expect.verdict(HookPoint::Rcpt, 1), Some("550 *"));
        assert_eq!((case.failure.len(), case.event.len(), case.expect.routes.len()), (1, 1, 1));
        let defaults = Fixture::default();
        assert_eq!((case.session.listener, case.session.peer), (defaults.session.listener, defaults.session.peer));
        assert_eq!((case.envelope.from, case.envelope.to), (defaults.envelope.from, defaults.envelope.to));
    }

    #[test]
    fn lines_of_messages_end_in_crlf() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.eml");
        fs::write(&file, "A: 1\nB: 2\r\n\nbody").unwrap();
        assert_eq!(read_message(&file).unwrap(), b"A: 1\r\nB: 2\r\n\r\nbody");
    }
}
