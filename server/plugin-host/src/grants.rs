//! What a plugin may reach: its imports, read from the component's type and checked against the `grants` of its
//! `[[plugin]]` entry. A linker holds what was granted and nothing else.

use crate::bindings::postern::plugin as api;
use crate::load::LoadError;
use crate::state::GuestState;
use std::collections::BTreeMap;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

/// The package whose interfaces are ours, and the version that this host speaks.
const PACKAGE: &str = "postern:plugin/";
const VERSION: (u64, u64) = (0, 1);

/// Interfaces that need no grant.
const FREE: [&str; 9] = ["types", "session", "envelope", "message", "routing", "delivery", "failures", "log", "config"];
/// Grants and the interfaces that they open.
const GRANTS: [(&str, &str); 2] = [("clock", "clock"), ("random", "random")];

/// Grants as written: `grants = { clock = true }`.
pub type Grants = BTreeMap<String, serde_json::Value>;

/// What a plugin may reach beyond the call, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    /// The names of the grants that are given.
    names: Vec<&'static str>,
}

/// Reads the grants and checks the imports against them.
pub(crate) fn check(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    grants: &Grants,
) -> Result<Granted, LoadError> {
    let granted = read(plugin, grants)?;
    let mut imported = Vec::new();
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine) {
        let grant = |interface: &str| GRANTS.iter().find(|(_, opens)| *opens == interface).map(|(grant, _)| *grant);
        let Some(interface) = ours(name).filter(|name| FREE.contains(name) || grant(name).is_some()) else {
            return Err(LoadError::UnknownImport { plugin: plugin.into(), import: name.into(), hint: hint(name) });
        };
        let Some(grant) = grant(interface) else { continue };
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
fn read(plugin: &str, grants: &Grants) -> Result<Granted, LoadError> {
    let mut granted = Granted::default();
    for (name, value) in grants {
        let Some((known, _)) = GRANTS.iter().find(|(known, _)| *known == name) else {
            return Err(LoadError::UnknownGrant { plugin: plugin.into(), grant: name.clone(), hint: near_miss(name) });
        };
        let bad = |what: String| LoadError::BadGrant { plugin: plugin.into(), grant: name.clone(), what };
        if value.as_bool().ok_or_else(|| bad("is either true or false".to_owned()))? {
            granted.names.push(*known);
        }
    }
    Ok(granted)
}

fn near_miss(name: &str) -> String {
    if FREE.contains(&name) {
        return "it needs no grant".into();
    }
    if let Some((grant, _)) = GRANTS.iter().find(|(_, interface)| *interface == name) {
        return format!("the grant for it is `{grant}`");
    }
    match GRANTS.iter().find(|(known, _)| strsim::damerau_levenshtein(name, known) <= 2) {
        Some((near, _)) => format!("did you mean `{near}`?"),
        None => format!("there is: {}", GRANTS.map(|(grant, _)| grant).join(", ")),
    }
}

fn hint(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "plugins get no WASI: build for wasm32-unknown-unknown, or with your toolchain's option to stub WASI"
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
    entries.push(format!("{grant} = true"));
    format!("grants = {{ {} }}", entries.join(", "))
}

/// What the engine finds for the imports of a plugin: what was granted and nothing else.
pub(crate) fn linker(engine: &Engine, granted: &Granted) -> wasmtime::Result<Linker<GuestState>> {
    type Own = HasSelf<GuestState>;
    let mut linker = Linker::new(engine);
    api::types::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::session::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::envelope::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::message::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::routing::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::delivery::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::failures::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::log::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::config::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    for grant in &granted.names {
        match *grant {
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
        assert_eq!(read("p", &grants(r#"{"clock": true}"#)).unwrap().names, ["clock"]);
        assert_eq!(read("p", &grants(r#"{"clock": false}"#)).unwrap().names, [""; 0]);
        let error = |json: &str| read("p", &grants(json)).unwrap_err().to_string();
        assert!(error(r#"{"clokc": true}"#).contains("did you mean `clock`?"));
        assert!(error(r#"{"log": true}"#).contains("needs no grant"));
        assert!(error(r#"{"clock": "yes"}"#).contains("true or false"));
        assert_eq!(
            line_to_add(&grants(r#"{"clock": false, "http": ["http://a"]}"#), "clock"),
            r#"grants = { http = ["http://a"], clock = true }"#
        );
    }
}
