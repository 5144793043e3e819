//! What a plugin may reach: its imports, read from the component's type and checked against the `grants` of its
//! `[[plugin]]` entry. A linker holds what was granted and nothing else.

use crate::bindings::postern::plugin as api;
use crate::load::LoadError;
use crate::log::escape;
use crate::services::{HttpGrant, kv_quota};
use crate::state::GuestState;
use std::collections::BTreeMap;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

/// The package whose interfaces are ours, and the version that this host speaks.
const PACKAGE: &str = "postern:plugin/";
const VERSION: (u64, u64) = (0, 1);

/// Interfaces that need no grant.
const FREE: [&str; 12] = [
    "types",
    "session",
    "credentials",
    "envelope",
    "message",
    "routing",
    "delivery",
    "failures",
    "exchange",
    "log",
    "config",
    "metrics",
];
/// Grants, the interfaces that they open, and an example of each.
const GRANTS: [(&str, &str, &str); 6] = [
    ("http", "http-client", "[\"https://api.example.com\"]"),
    ("kv", "kv", "true"),
    ("dns", "dns", "true"),
    ("clock", "clock", "true"),
    ("random", "random", "true"),
    ("secrets", "secrets", "{ NAME = { file = \"…\" } }"),
];

/// The custom section in which a component names itself as `name@version`.
pub(crate) const SECTION: &str = "postern:plugin";

/// What the server asks for an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: every plugin has it.
    Nothing,
    /// This grant.
    Grant {
        /// Its name.
        name: &'static str,
        /// An example of its value, in TOML.
        example: &'static str,
    },
    /// The server does not have it; a hint at what may be behind it.
    Unknown(&'static str),
}

/// What the server asks for the import of this name.
pub(crate) fn need(import: &str) -> Need {
    if HAS_WASI && import.starts_with("wasi:") {
        return Need::Grant { name: WASI, example: "true" };
    }
    let Some(interface) = ours(import) else { return Need::Unknown(hint(import)) };
    match GRANTS.iter().find(|(_, opens, _)| *opens == interface) {
        Some((name, _, example)) => Need::Grant { name, example },
        None if FREE.contains(&interface) => Need::Nothing,
        None => Need::Unknown(hint(import)),
    }
}

/// Name and version from the octets of the section [`SECTION`].
pub(crate) fn identity(section: &[u8]) -> Option<(String, String)> {
    let (name, version) = std::str::from_utf8(section).ok()?.rsplit_once('@')?;
    Some((escape(name, 64), escape(version, 32)))
}

/// The grant that opens all of WASI's interfaces, where the host is built with it.
const WASI: &str = "wasi";

/// Does WASI have a place in this build?
const HAS_WASI: bool = cfg!(feature = "wasi");

/// Grants as written: `grants = { clock = true, http = ["https://api.example.com"] }`. Those of `secrets` are apart, as
/// [`Secrets`].
pub type Grants = BTreeMap<String, serde_json::Value>;

/// What the grant `secrets` gives: passwords and keys by name. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What was granted.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    /// The names of the grants that are given.
    names: Vec<&'static str>,
    pub(crate) http: Option<HttpGrant>,
    /// Octets of lasting state.
    pub(crate) kv: Option<u64>,
}

/// Reads the grants and checks the imports against them.
pub(crate) fn check(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    grants: &Grants,
    secrets: Option<&Secrets>,
) -> Result<Granted, LoadError> {
    let granted = read(plugin, grants, secrets)?;
    let mut imported = Vec::new();
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine) {
        let grant = match need(name) {
            Need::Nothing => continue,
            Need::Grant { name, .. } => name,
            Need::Unknown(hint) => {
                return Err(LoadError::UnknownImport { plugin: plugin.into(), import: name.into(), hint });
            }
        };
        if !granted.names.contains(&grant) {
            let line = line_to_add(grants, grant);
            return Err(LoadError::NotGranted { plugin: plugin.into(), interface: name.into(), line });
        }
        imported.push(grant);
    }
    for unused in granted.names.iter().filter(|grant| !imported.contains(*grant)) {
        tracing::warn!(plugin, grant = unused, "the plugin has a grant that it does not use");
    }
    Ok(granted)
}

/// Is `name` an interface of ours in a version that this host speaks? If so, gives its name alone.
pub(crate) fn ours(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
    let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u64>);
    let speaks = numbers.next()?.ok()? == VERSION.0 && numbers.next()?.ok()? == VERSION.1;
    speaks.then_some(interface)
}

/// Does `name` belong to our package, in whatever version?
pub(crate) fn is_of_package(name: &str) -> bool {
    name.starts_with(PACKAGE)
}

/// Reads the values.
fn read(plugin: &str, grants: &Grants, secrets: Option<&Secrets>) -> Result<Granted, LoadError> {
    let mut granted = Granted::default();
    for (name, value) in grants {
        let known = GRANTS.iter().map(|(known, ..)| *known).find(|known| *known == name);
        let Some(known) = known.or((HAS_WASI && name == WASI).then_some(WASI)) else {
            return Err(LoadError::UnknownGrant { plugin: plugin.into(), grant: name.clone(), hint: near_miss(name) });
        };
        let bad = |what: String| LoadError::BadGrant { plugin: plugin.into(), grant: name.clone(), what };
        let given =
            match known {
                "http" => {
                    granted.http = Some(HttpGrant::parse(value).map_err(|error| bad(error.to_string()))?);
                    true
                }
                "kv" => {
                    granted.kv = kv_quota(value).map_err(|error| bad(error.to_string()))?;
                    granted.kv.is_some()
                }
                "secrets" => return Err(bad(
                    "the grant `secrets` is a table of names, each with a text, { file = \"…\" } or { env = \"…\" }"
                        .into(),
                )),
                _ => value.as_bool().ok_or_else(|| bad(format!("the grant `{name}` is either true or false")))?,
            };
        if given {
            granted.names.push(known);
        }
    }
    if secrets.is_some() {
        granted.names.push("secrets");
    }
    Ok(granted)
}

fn near_miss(name: &str) -> String {
    if FREE.contains(&name) {
        return "it needs no grant".into();
    }
    if name == WASI {
        return "this build of postern has no WASI (cargo feature `wasi`)".into();
    }
    if let Some((grant, ..)) = GRANTS.iter().find(|(_, interface, _)| *interface == name) {
        return format!("the grant for it is `{grant}`");
    }
    match GRANTS.iter().find(|(known, ..)| strsim::damerau_levenshtein(name, known) <= 2) {
        Some((near, ..)) => format!("did you mean `{near}`?"),
        None => format!("there are {}", GRANTS.map(|(grant, ..)| grant).join(", ")),
    }
}

fn hint(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "plugins get no WASI: build for wasm32-unknown-unknown, or with your toolchain's option to stub WASI; a server \
         built with the cargo feature `wasi` can grant an empty one"
    } else if ours(import).is_some() {
        "this version of Postern does not have it yet"
    } else if is_of_package(import) {
        "it was built for another version of Postern"
    } else {
        "Postern has no such interface"
    }
}

/// The `grants` line that would let the plugin in. Booleans, texts and lists read the same in JSON and TOML.
fn line_to_add(grants: &Grants, grant: &str) -> String {
    let mut entries: Vec<String> =
        grants.iter().filter(|(name, _)| *name != grant).map(|(name, value)| format!("{name} = {value}")).collect();
    let example = GRANTS.iter().find(|(known, ..)| *known == grant).map_or("true", |(.., example)| example);
    entries.push(format!("{grant} = {example}"));
    format!("grants = {{ {} }}", entries.join(", "))
}

/// What the engine finds for the imports of a plugin: what was granted and nothing else.
pub(crate) fn linker(engine: &Engine, granted: &Granted) -> wasmtime::Result<Linker<GuestState>> {
    type Own = HasSelf<GuestState>;
    let mut linker = Linker::new(engine);
    api::types::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::session::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::credentials::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::envelope::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::message::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::routing::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::delivery::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::failures::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::exchange::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::log::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::config::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::metrics::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    for grant in &granted.names {
        match *grant {
            "http" => api::http_client::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            "kv" => api::kv::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            "dns" => api::dns::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            "secrets" => api::secrets::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            #[cfg(feature = "wasi")]
            WASI => wasmtime_wasi::p2::add_to_linker_async(&mut linker)?,
            "clock" => api::clock::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            "random" => api::random::add_to_linker::<_, Own>(&mut linker, |state| state)?,
            _ => {}
        }
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_same_minor_are_ours() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(ours(name), expected, "{name}");
        check("postern:plugin/log@0.1.0", Some("log"));
        check("postern:plugin/log@0.1.7", Some("log"));
        check("postern:plugin/log@0.2.0", None);
        check("postern:plugin/log@1.1.0", None);
        check("postern:plugin/log", None);
        check("wasi:io/poll@0.2.9", None);
    }

    #[test]
    fn grants_are_read_and_near_misses_named() {
        let grants = |json: &str| serde_json::from_str::<Grants>(json).unwrap();
        let read = |json: &str, secrets: Option<&Secrets>| read("p", &grants(json), secrets);
        assert_eq!(read(r#"{"clock": true}"#, None).unwrap().names, ["clock"]);
        assert_eq!(read(r#"{"clock": false, "kv": false}"#, None).unwrap().names, [""; 0]);
        let some = Secrets(BTreeMap::from([("a".to_owned(), "s3cret".to_owned())]));
        assert_eq!(read("{}", Some(&some)).unwrap().names, ["secrets"]);
        assert_eq!(read("{}", Some(&Secrets::default())).unwrap().names, ["secrets"], "an empty table is a grant, too");
        assert!(!format!("{some:?}").contains("s3cret"));
        let granted = read(r#"{"http": ["https://a.example"], "kv": "2MiB"}"#, None).unwrap();
        assert_eq!((granted.http.is_some(), granted.kv), (true, Some(2 << 20)));
        let error = |json: &str| read(json, None).unwrap_err().to_string();
        assert!(error(r#"{"http": true}"#).contains("list of origins"));
        assert!(error(r#"{"kv": 3}"#).contains("10MiB"));
        assert!(error(r#"{"secrets": true}"#).contains("table of names"));
        assert!(error(r#"{"http-client": true}"#).contains("the grant for it is `http`"));
        assert!(error(r#"{"clokc": true}"#).contains("did you mean `clock`?"));
        assert!(error(r#"{"log": true}"#).contains("needs no grant"));
        assert!(error(r#"{"clock": "yes"}"#).contains("true or false"));
        assert_eq!(
            line_to_add(&grants(r#"{"clock": false, "http": ["http://a"]}"#), "clock"),
            r#"grants = { http = ["http://a"], clock = true }"#
        );
    }
}
