//! The layers of the config: files in the order given, then the environment; later ones override single keys.
//!
//! Each file is checked alone first, so that an error names its line; then the tables are merged.

use super::{ConfigError, Written};
use serde::Deserialize as _;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Prefix of environment variables that set keys: `POSTERN__ZONE__DEFAULT__CONNECTIONS=5`.
pub const ENV_PREFIX: &str = "POSTERN__";

/// Keys that hold paths; a relative one belongs to the folder of the file that names it. `*` stands for any name.
const PATHS: [&[&str]; 17] = [
    &["data_dir"],
    &["tls", "roots"],
    &["plugin", "*", "component"],
    &["plugin", "*", "grants", "secrets", "*", "file"],
    &["zone", "*", "smart_host", "password", "file"],
    &["listener", "*", "certificate"],
    &["listener", "*", "key"],
    &["listener", "*", "certificates", "*", "certificate"],
    &["listener", "*", "certificates", "*", "key"],
    &["http", "certificate"],
    &["http", "key"],
    &["http", "certificates", "*", "certificate"],
    &["http", "certificates", "*", "key"],
    &["http", "user", "*", "password", "file"],
    &["http", "user", "*", "token", "file"],
    &["user", "*", "password", "file"],
    &["user", "*", "scram", "file"],
];

/// Reads and merges the files and the environment.
pub fn read(files: &[PathBuf], env: impl Iterator<Item = (String, String)>) -> Result<Table, ConfigError> {
    let mut merged = Table::new();
    for file in files {
        merge(&mut merged, read_file(file)?);
    }
    for (name, value) in env {
        if let Some(path) = name.strip_prefix(ENV_PREFIX) {
            merge(&mut merged, from_env(&name, path, &value)?);
        }
    }
    Ok(merged)
}

fn read_file(file: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    let wrong =
        |error: toml::de::Error| ConfigError::File { file: file.to_owned(), message: explained(&shown(&text, &error)) };
    toml::from_str::<Written>(&text).map_err(wrong)?;
    let mut table: Table = toml::from_str(&text).map_err(wrong)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    for path in PATHS {
        resolve(&mut table, path, folder);
    }
    Ok(table)
}

/// The error with its line, unless the file has a password or secrets in it: then with the line's number alone.
fn shown(text: &str, error: &toml::de::Error) -> String {
    // The line may be one of a table of secrets whose name stands elsewhere.
    if !["password", "secrets", "scram", "token"].iter().any(|word| text.contains(word)) {
        return error.to_string();
    }
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, column) =
        (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1);
    format!("TOML parse error at line {line}, column {column}\n{}", error.message())
}

fn from_env(name: &str, path: &str, text: &str) -> Result<Table, ConfigError> {
    let keys: Vec<String> = path.split("__").map(str::to_lowercase).collect();
    // A password is what it is, whatever else it could be read as; only a table says where it is.
    let is_raw = keys.last().is_some_and(|key| key == "password" || key == "scram") && !text.starts_with('{');
    let value = (!is_raw)
        .then(|| toml::from_str::<Table>(&format!("value = {text}")).ok())
        .flatten()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut table = Value::Table(Table::new());
    for (index, key) in keys.iter().rev().enumerate() {
        let inner = if index == 0 { value.clone() } else { table };
        table = Value::Table(Table::from_iter([(key.clone(), inner)]));
    }
    let Value::Table(table) = table else { return Ok(Table::new()) };
    match Written::deserialize(table.clone()) {
        Ok(_) => Ok(table),
        Err(error) => Err(ConfigError::Env { name: name.to_owned(), message: explained(&error.to_string()) }),
    }
}

/// `over` wins key by key; tables merge, `[[plugin]]` tables merge by name, everything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            // A secret is in one place: another place takes its.
            (Some(Value::Table(base)), Value::Table(over)) if !is_secret(&over) => merge(base, over),
            (Some(Value::Array(base)), Value::Array(over)) if key == "plugin" => merge_named(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// `{ file = "…" }` or `{ env = "…" }`
fn is_secret(table: &Table) -> bool {
    !table.is_empty() && table.keys().all(|key| matches!(key.as_str(), "file" | "env"))
}

fn merge_named(base: &mut Vec<Value>, over: Vec<Value>) {
    for value in over {
        let name = value.get("name").cloned();
        let same = base.iter_mut().find(|other| name.is_some() && other.get("name") == name.as_ref());
        match (same, value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => base.push(value),
        }
    }
}

fn resolve(table: &mut Table, path: &[&str], folder: &Path) {
    let Some((first, rest)) = path.split_first() else { return };
    if *first == "*" {
        for inner in table.iter_mut().filter_map(|(_, value)| value.as_table_mut()) {
            resolve(inner, rest, folder);
        }
        return;
    }
    match table.get_mut(*first) {
        // Empty stands for none.
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) if rest.is_empty() => *text = folder.join(&*text).to_string_lossy().into_owned(),
        Some(Value::Table(inner)) => resolve(inner, rest, folder),
        Some(Value::Array(items)) => {
            for item in items.iter_mut().filter_map(Value::as_table_mut) {
                resolve(item, rest.get(1..).unwrap_or_default(), folder);
            }
        }
        _ => {}
    }
}

/// Adds the near miss to serde's «unknown field».
fn explained(message: &str) -> String {
    let message = message.trim_end();
    match near_miss(message) {
        Some(name) => format!("{message}\ndid you mean `{name}`?"),
        None => message.to_owned(),
    }
}

/// Of the names that serde says it expected, the one that the unknown one was meant to be.
fn near_miss(message: &str) -> Option<&str> {
    let about = &message[message.find("unknown field")?..];
    let mut names = about.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let distances = names.map(|name| (strsim::damerau_levenshtein(unknown, name), name));
    distances.min().filter(|(distance, _)| *distance <= 3).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn merges_key_by_key_and_plugins_by_name() {
        let mut base = table("a = 1\n[z]\nx = 1\ny = [1]\n[[plugin]]\nname = 'p'\ndeadline = '1s'\ncomponent = 'c'");
        merge(&mut base, table("[z]\ny = [2]\n[[plugin]]\nname = 'p'\ndeadline = '2s'\n[[plugin]]\nname = 'q'"));
        let wanted = "a = 1\n[z]\nx = 1\ny = [2]\n[[plugin]]\nname = 'p'\ndeadline = '2s'\ncomponent = 'c'\n[[plugin]]\nname = 'q'";
        assert_eq!(base, table(wanted));
        let mut base = table("password = { file = 'a' }");
        merge(&mut base, table("password = { env = 'A' }"));
        assert_eq!(base, table("password = { env = 'A' }"), "not both");
    }

    #[test]
    fn a_password_is_not_in_an_error() {
        let text = "[zone.default]\nsmart_host = { password = 's3cret', prt = 3 }";
        let error = toml::from_str::<Written>(text).unwrap_err();
        let shown = explained(&shown(text, &error));
        assert!(!shown.contains("s3cret") && shown.contains("line 2, column"), "{shown}");
        assert!(shown.contains("`prt`") && shown.contains("did you mean `port`?"), "{shown}");
    }

    #[test]
    fn relative_paths_belong_to_their_file() {
        let mut base =
            table("data_dir = 'data'\n[[plugin]]\ncomponent = 'p.wasm'\n[[plugin]]\ncomponent = '/abs.wasm'");
        let mut secret = table("[[plugin]]\ngrants = { secrets = { a = { file = 'k' }, b = 't', c = { env = 'E' } } }");
        let mut zone = table("[zone.a]\nsmart_host = { password = { file = 'secret' } }\n[zone.b]");
        for path in PATHS {
            resolve(&mut base, path, Path::new("etc"));
            resolve(&mut zone, path, Path::new("etc"));
            resolve(&mut secret, path, Path::new("etc"));
        }
        let resolved = "[[plugin]]\ngrants = { secrets = { a = { file = 'etc/k' }, b = 't', c = { env = 'E' } } }";
        assert_eq!(secret, table(resolved));
        assert_eq!(zone, table("[zone.a]\nsmart_host = { password = { file = 'etc/secret' } }\n[zone.b]"));
        assert_eq!(
            base,
            table("data_dir = 'etc/data'\n[[plugin]]\ncomponent = 'etc/p.wasm'\n[[plugin]]\ncomponent = '/abs.wasm'")
        );
    }

    #[test]
    fn environment() {
        let read = |name: &str, value: &str| {
            read(&[], [(name.to_owned(), value.to_owned())].into_iter()).map_err(|error| error.to_string())
        };
        assert_eq!(read("POSTERN__ZONE__DEFAULT__CONNECTIONS", "5"), Ok(table("[zone.default]\nconnections = 5")));
        assert_eq!(read("POSTERN__QUEUE__MAX_AGE", "2d"), Ok(table("[queue]\nmax_age = '2d'")));
        assert_eq!(
            read("POSTERN__LISTENER__FEEDER__ALLOW_FROM", "['::1/128']"),
            Ok(table("[listener.feeder]\nallow_from = ['::1/128']"))
        );
        assert_eq!(read("POSTERNAL", "x"), Ok(Table::new()));
        let password = "POSTERN__ZONE__DEFAULT__SMART_HOST__PASSWORD";
        assert_eq!(read(password, "123"), Ok(table("[zone.default.smart_host]\npassword = '123'")));
        assert_eq!(
            read(password, "{ file = '/a' }"),
            Ok(table("[zone.default.smart_host]\npassword = { file = '/a' }"))
        );
        let error = read("POSTERN__ZONE__DEFAULT__CONECTIONS", "5").unwrap_err();
        assert!(error.contains("POSTERN__ZONE__DEFAULT__CONECTIONS") && error.contains("`connections`?"), "{error}");
    }
}
