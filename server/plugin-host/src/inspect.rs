//! What a component is, read from its file: nothing of it is compiled or run, so that also what can't be loaded can be
//! looked at.

use crate::code_cache;
use crate::grants::{self, Need};
use postern_core::hook::HookPoint;
use wasmparser::{Encoding, KnownCustom, Parser, Payload};

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Name and version from its custom section `postern:plugin`, which the SDK writes.
    pub identity: Option<(String, String)>,
    /// Octets of the file.
    pub size: usize,
    /// SHA-256 of the file, in hex: the config's `sha256`.
    pub sha256: String,
    /// The hooks that it exports, in the order in which a message meets them.
    pub hooks: Vec<HookPoint>,
    /// Does it export `lifecycle`, so that it is given its config?
    pub has_lifecycle: bool,
    /// Exports of our package that this server does not know.
    pub unknown_exports: Vec<String>,
    /// What it imports, in order.
    pub imports: Vec<Import>,
    /// The tools that made it: field, name and version, as in the sections `producers`; each once.
    pub producers: Vec<(String, String, String)>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As it stands in the component: `postern:plugin/log@0.1.0`.
    pub name: String,
    /// What the server asks for it.
    pub need: Need,
}

/// The file can't be read as a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// Something else.
    #[error("not a WebAssembly component")]
    NotWasm,
    /// WebAssembly without component.
    #[error("a core module, not a component; `postern plugin build` makes one")]
    CoreModule,
    /// It is damaged, or of a newer format.
    #[error("not a component that can be read: {0}")]
    Damaged(String),
}

/// Reads the file's octets.
///
/// # Errors
/// They are no component.
pub fn inspect(wasm: &[u8]) -> Result<Inspection, InspectError> {
    if !wasm.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let mut found = Inspection {
        identity: None,
        size: wasm.len(),
        sha256: code_cache::hash(wasm),
        hooks: Vec::new(),
        has_lifecycle: false,
        unknown_exports: Vec::new(),
        imports: Vec::new(),
        producers: Vec::new(),
    };
    let damaged = |error: wasmparser::BinaryReaderError| InspectError::Damaged(error.to_string());
    // How many components and modules are around what is read.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(damaged)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(InspectError::CoreModule),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    found.import(import.map_err(damaged)?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    found.export(export.map_err(damaged)?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == grants::SECTION => {
                found.identity = found.identity.take().or_else(|| grants::identity(section.data()));
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Producers(fields) = section.as_known() {
                    // A section that says nothing of use is no reason to refuse the file.
                    let _ = found.producers(fields);
                }
            }
            _ => {}
        }
    }
    found.hooks.sort_unstable();
    Ok(found)
}

impl Inspection {
    fn import(&mut self, name: &str) {
        self.imports.push(Import { name: name.to_owned(), need: grants::need(name) });
    }

    fn export(&mut self, name: &str) {
        match grants::ours(name) {
            Some("lifecycle") => self.has_lifecycle = true,
            Some(own) => match HookPoint::by_name(own) {
                Some(hook) => self.hooks.push(hook),
                None => self.unknown_exports.push(name.to_owned()),
            },
            None if grants::is_of_package(name) => self.unknown_exports.push(name.to_owned()),
            None => {}
        }
    }

    fn producers(&mut self, fields: wasmparser::ProducersSectionReader<'_>) -> wasmparser::Result<()> {
        for field in fields {
            let field = field?;
            for value in field.values {
                let value = value?;
                let entry = (field.name.to_owned(), value.name.to_owned(), value.version.to_owned());
                if !self.producers.contains(&entry) {
                    self.producers.push(entry);
                }
            }
        }
        Ok(())
    }

    /// The grants that it needs, as the line to add to its `[[plugin]]` table; none if it needs none.
    #[must_use]
    pub fn grants(&self) -> Option<String> {
        let needed = self.imports.iter().filter_map(|import| match import.need {
            Need::Grant { name, example } => Some(format!("{name} = {example}")),
            _ => None,
        });
        let needed: Vec<String> = needed.collect();
        (!needed.is_empty()).then(|| format!("grants = {{ {} }}", needed.join(", ")))
    }

    /// Why this server would not load it, as far as can be known without compiling it; a sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for import in &self.imports {
            if let Need::Unknown(hint) = import.need {
                problems.push(format!("it imports {}: {hint}", import.name));
            }
        }
        let unknown = |name| format!("it exports {name}, which this server does not know: is it for another version?");
        problems.extend(self.unknown_exports.iter().map(unknown));
        for hook in self.hooks.iter().filter(|hook| !hook.is_called()) {
            problems.push(format!("it exports the hook {}, which this server does not call yet", hook.name()));
        }
        if self.hooks.is_empty() {
            problems.push("it exports no hook: it would never be called".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Inspection {
        inspect(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn imports_and_exports_are_told_apart() {
        let found = component(
            r#"(component
                 (import "postern:plugin/log@0.1.0" (instance))
                 (import "postern:plugin/clock@0.1.3" (instance))
                 (import "wasi:io/poll@0.2.9" (instance $poll))
                 (component (import "wasi:inner/one@0.1.0" (instance)))
                 (export "postern:plugin/rewrite@0.1.0" (instance $poll))
                 (export "postern:plugin/mail@0.1.0" (instance $poll))
                 (export "postern:plugin/sign@0.1.0" (instance $poll))
                 (export "postern:plugin/lifecycle@0.1.0" (instance $poll))
                 (export "postern:plugin/rewrite@0.9.0" (instance $poll))
                 (@custom "postern:plugin" "tagger@1.2.3"))"#,
        );
        assert_eq!(found.identity, Some(("tagger".to_owned(), "1.2.3".to_owned())));
        assert_eq!(found.hooks, [HookPoint::Mail, HookPoint::Rewrite, HookPoint::Sign]);
        assert!(found.has_lifecycle);
        assert_eq!(found.unknown_exports, ["postern:plugin/rewrite@0.9.0"]);
        let names: Vec<&str> = found.imports.iter().map(|import| import.name.as_str()).collect();
        assert_eq!(names, ["postern:plugin/log@0.1.0", "postern:plugin/clock@0.1.3", "wasi:io/poll@0.2.9"]);
        assert_eq!(found.imports[0].need, Need::Nothing);
        assert_eq!(found.grants().as_deref(), Some("grants = { clock = true }"));
        let problems = found.problems().join("\n");
        assert!(problems.contains("it imports wasi:io/poll@0.2.9: plugins get no WASI"), "{problems}");
        assert!(problems.contains("rewrite@0.9.0, which this server does not know"), "{problems}");
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert_eq!(inspect(b"#!/bin/sh"), Err(InspectError::NotWasm));
        assert_eq!(inspect(&wat::parse_str("(module)").unwrap()), Err(InspectError::CoreModule));
        let mut cut = wat::parse_str(r#"(component (import "a" (instance)))"#).unwrap();
        cut.truncate(cut.len() - 3);
        assert!(matches!(inspect(&cut), Err(InspectError::Damaged(_))));
        let empty = component("(component)");
        assert_eq!((empty.grants(), empty.problems().len()), (None, 1));
    }
}
