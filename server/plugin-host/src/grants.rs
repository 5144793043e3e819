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
const FREE: [&str; 6] = ["types", "session", "envelope", "message", "log", "config"];
/// Grants, which are named as the interfaces they open.
const GRANTS: [&str; 1] = ["clock"];

/// Grants as written: `grants = { clock = true }`.
pub type Grants = BTreeMap<String, serde_json::Value>;

/// Checks the imports against the grants and makes the linker for this plugin.
pub(crate) fn linker(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    grants: &Grants,
) -> Result<Linker<GuestState>, LoadError> {
    let granted = read(plugin, grants)?;
    let mut imported = Vec::new();
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine) {
        let interface = ours(name).filter(|name| FREE.contains(name) || GRANTS.contains(name));
        let Some(interface) = interface else {
            return Err(LoadError::UnknownImport { plugin: plugin.into(), import: name.into(), hint: hint(name) });
        };
        if !FREE.contains(&interface) && !granted.contains(&interface) {
            let line = line_to_add(grants, interface);
            return Err(LoadError::NotGranted { plugin: plugin.into(), interface: name.into(), line });
        }
        imported.push(interface);
    }
    for unused in granted.iter().filter(|grant| !imported.contains(*grant)) {
        tracing::warn!(plugin, grant = unused, "the plugin has a grant that it does not use");
    }
    link(engine, &granted).map_err(|source| LoadError::Component { plugin: plugin.into(), source })
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

/// The names of the grants that are given.
fn read(plugin: &str, grants: &Grants) -> Result<Vec<&'static str>, LoadError> {
    let mut granted = Vec::new();
    for (name, value) in grants {
        let Some(known) = GRANTS.iter().find(|known| *known == name) else {
            return Err(LoadError::UnknownGrant { plugin: plugin.into(), grant: name.clone(), hint: near_miss(name) });
        };
        match value.as_bool() {
            Some(true) => granted.push(*known),
            Some(false) => {}
            None => return Err(LoadError::BadGrant { plugin: plugin.into(), grant: name.clone() }),
        }
    }
    Ok(granted)
}

fn near_miss(name: &str) -> String {
    if FREE.contains(&name) {
        return "it needs no grant".into();
    }
    match GRANTS.iter().find(|known| strsim::damerau_levenshtein(name, known) <= 2) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is: {}", GRANTS.join(", ")),
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
fn line_to_add(grants: &Grants, interface: &str) -> String {
    let mut entries: Vec<String> =
        grants.iter().filter(|(name, _)| *name != interface).map(|(name, value)| format!("{name} = {value}")).collect();
    entries.push(format!("{interface} = true"));
    format!("grants = {{ {} }}", entries.join(", "))
}

fn link(engine: &Engine, granted: &[&str]) -> wasmtime::Result<Linker<GuestState>> {
    type Own = HasSelf<GuestState>;
    let mut linker = Linker::new(engine);
    api::types::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::session::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::envelope::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::message::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::log::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    api::config::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    if granted.contains(&"clock") {
        api::clock::add_to_linker::<_, Own>(&mut linker, |state| state)?;
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
        assert_eq!(read("p", &grants(r#"{"clock": true}"#)).unwrap(), ["clock"]);
        assert_eq!(read("p", &grants(r#"{"clock": false}"#)).unwrap(), [""; 0]);
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
