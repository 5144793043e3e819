//! Builds plugins that are not Rust: the folder's own script runs the language's tool, and the component is given the
//! name and version that the folder says.

use anyhow::{Context as _, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A language, by the file that tells its folders.
struct Tool {
    /// Says name and version.
    manifest: &'static str,
    /// What runs the script.
    program: &'static str,
    script: &'static str,
    /// Is there what the script needs?
    is_there: fn(&Path) -> bool,
    /// What to do if not.
    install: &'static str,
}

const TOOLS: [Tool; 2] = [
    Tool {
        manifest: "pyproject.toml",
        program: "sh",
        script: "build.sh",
        is_there: |_| {
            let mut command = Command::new("componentize-py");
            command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        },
        install: "componentize-py is not there. Install it with: pip install componentize-py==0.25.0",
    },
    Tool {
        manifest: "package.json",
        program: "node",
        script: "build.mjs",
        is_there: |dir| dir.join("node_modules/@bytecodealliance/componentize-js").is_dir(),
        install: "componentize-js is not there. Install it with `npm install` in that folder",
    },
];

/// Builds the plugin in `dir` if it is of one of these languages, and gives its component.
///
/// # Errors
/// The tool is missing, or fails, or what it made is no component.
pub fn build(dir: &Path) -> Option<anyhow::Result<PathBuf>> {
    let tool = TOOLS.iter().find(|tool| dir.join(tool.manifest).is_file())?;
    Some(run(dir, tool))
}

fn run(dir: &Path, tool: &Tool) -> anyhow::Result<PathBuf> {
    let (name, version) = identity(&dir.join(tool.manifest))?;
    let absolute = dir.canonicalize().with_context(|| format!("can't read {}", dir.display()))?;
    if !dir.join(tool.script).is_file() {
        bail!("{} has no {}: `postern plugin new` makes one", dir.display(), tool.script);
    }
    if !(tool.is_there)(dir) {
        bail!("{}", tool.install);
    }
    let fresh = absolute.join(format!(".{name}.wasm.new"));
    let mut command = Command::new(tool.program);
    command.arg(tool.script).arg(&fresh).current_dir(&absolute).stdin(Stdio::null());
    let status = command.status().with_context(|| format!("can't run {}", tool.program))?;
    if !status.success() {
        // What a failed tool left behind is of no use.
        let _ = fs::remove_file(&fresh);
        bail!("{} failed ({status})", dir.join(tool.script).display());
    }
    let mut wasm = fs::read(&fresh).with_context(|| format!("{} did not write its component", tool.script))?;
    postern_plugin_host::inspect(&wasm).with_context(|| format!("what {} made", tool.script))?;
    append_identity(&mut wasm, &format!("{name}@{version}"));
    let path = dir.join(format!("{name}.wasm"));
    let written = fs::write(&fresh, &wasm).and_then(|()| fs::rename(&fresh, &path));
    written.with_context(|| format!("can't write {}", path.display()))?;
    Ok(path)
}

/// Name and version from `pyproject.toml` or `package.json`.
fn identity(manifest: &Path) -> anyhow::Result<(String, String)> {
    let text = fs::read_to_string(manifest).with_context(|| format!("can't read {}", manifest.display()))?;
    let place = || manifest.display().to_string();
    let (project, at) = if manifest.extension().is_some_and(|ending| ending == "json") {
        (serde_json::from_str::<serde_json::Value>(&text).with_context(place)?, "")
    } else {
        let table: toml::Table = toml::from_str(&text).with_context(place)?;
        let project = table.get("project").cloned().unwrap_or(toml::Value::Boolean(false));
        (serde_json::to_value(project).with_context(place)?, "project.")
    };
    let field = |key: &str| match project[key].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => bail!("{}: {at}{key} is missing", manifest.display()),
    };
    let (name, version) = (field("name")?, field("version")?);
    if name.contains(['/', '\\', '@']) || name.starts_with('.') {
        bail!("{}: {at}name `{name}` can't name a file", manifest.display());
    }
    Ok((name, version))
}

/// Puts the custom section `postern:plugin` at the end, as the SDK does for Rust.
fn append_identity(wasm: &mut Vec<u8>, identity: &str) {
    let name = b"postern:plugin";
    let mut section = leb128(name.len());
    section.extend_from_slice(name);
    section.extend_from_slice(identity.as_bytes());
    wasm.push(0);
    wasm.extend(leb128(section.len()));
    wasm.extend(section);
}

/// A length as WebAssembly writes it.
fn leb128(mut length: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            octets.push(low);
            return octets;
        }
        octets.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_read_back() {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        let name = "n".repeat(150);
        append_identity(&mut wasm, &format!("{name}@1.2.3"));
        let found = postern_plugin_host::inspect(&wasm).unwrap().identity.unwrap();
        assert_eq!(found.1, "1.2.3");
        assert!(found.0.starts_with("nnn"));
    }

    #[test]
    fn a_manifest_without_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let check = |file: &str, text: &str, expected: &str| {
            let path = dir.path().join(file);
            fs::write(&path, text).unwrap();
            let said = identity(&path).map(|(name, version)| format!("{name}@{version}"));
            let said = said.unwrap_or_else(|error| format!("{error:#}"));
            assert!(said.contains(expected), "{file}: {said}");
        };
        check("package.json", r#"{"name": "a", "version": "1.0.0"}"#, "a@1.0.0");
        check("package.json", r#"{"version": "1.0.0"}"#, "name is missing");
        check("package.json", r#"{"name": "@me/a", "version": "1"}"#, "can't name a file");
        check("pyproject.toml", "[project]\nname = 'a'\nversion = '2'", "a@2");
        check("pyproject.toml", "[tool]\n", "project.name is missing");
    }
}
