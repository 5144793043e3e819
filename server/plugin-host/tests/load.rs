//! What is refused when a plugin is loaded, in words that say what to do; and the cache of compiled code.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_core::hook::Hooks as _;
use std::path::{Path, PathBuf};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// A component whose functions all trap, with the imports and exports of world `w`.
fn component_of(dir: &Path, wit: &str) -> PathBuf {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let path = dir.join("guest.wasm");
    std::fs::write(&path, component).unwrap();
    path
}

async fn refused_world(wit: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    refused(PluginSpec::new("odd", component_of(dir.path(), wit))).await
}

const MAIL: &str = "
    interface session { resource session { id: func() -> string; } }
    interface envelope { resource envelope { zone: func() -> option<string>; } }
    interface message { resource message { id: func() -> string; } }
";

#[tokio::test]
async fn a_capability_needs_its_grant() {
    let clock = || spec("tests/guests/wants-clock", json!({}));
    assert_eq!(
        refused(clock()).await,
        "plugin \"wants-clock\" imports postern:plugin/clock@0.1.0, which needs a grant. \
         Add to its [[plugin]] table: grants = { clock = true }"
    );
    let mut granted = clock();
    granted.grants.insert("clock".into(), json!(true));
    let set = set_of(vec![load(granted).await]);
    let mut transaction = transaction(&[]);
    set.rewrite(&mut transaction).await.unwrap();
    let header = header(&transaction);
    let seconds = header.strip_prefix("X-Time: ").and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000 && header.contains(" true"), "{header}");
}

#[tokio::test]
async fn grants_are_checked() {
    let check = async |name: &str, value: serde_json::Value, expected: &str| {
        let mut spec = header_rewrite(json!({}));
        spec.grants.insert(name.into(), value);
        assert_eq!(refused(spec).await, format!("plugin \"header-rewrite\": {expected}"));
    };
    check("clok", json!(true), "there is no grant `clok`: did you mean `clock`?").await;
    check("network", json!(true), "there is no grant `network`: there are http, kv, dns, clock, random, secrets").await;
    check("log", json!(true), "there is no grant `log`: it needs no grant").await;
    check("clock", json!("yes"), "the grant `clock` is either true or false").await;
    // One that is not used is only warned about.
    let mut spec = header_rewrite(json!({}));
    spec.grants.insert("clock".into(), json!(true));
    load(spec).await;
}

#[tokio::test]
async fn config_errors_name_plugin_and_key() {
    let error = refused(header_rewrite(json!({ "add": [{ "name": "X", "value": "{nope}" }] }))).await;
    assert!(
        error.starts_with("plugin \"header-rewrite\" refuses its config: add[0].value: unknown placeholder {nope}"),
        "{error}"
    );
    let error = refused(header_rewrite(json!({ "ad": [] }))).await;
    assert!(error.contains("config: ad: unknown field `ad`"), "{error}");
}

#[tokio::test]
async fn what_is_no_plugin_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.wasm");
    let error = host().load(PluginSpec::new("gone", &missing)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("plugin \"gone\": cannot read its component {}", missing.display()));

    let other = dir.path().join("other.wasm");
    std::fs::write(&other, "#!/bin/sh").unwrap();
    assert!(refused(PluginSpec::new("sh", &other)).await.contains("is not a WebAssembly component"));
    std::fs::write(&other, b"\0asm\x01\0\0\0").unwrap();
    assert!(refused(PluginSpec::new("core", &other)).await.contains("is not a WebAssembly component"));

    let mut none = header_rewrite(json!({}));
    none.instances = 0;
    assert!(refused(none).await.contains("instances = 0"));
    let mut many = header_rewrite(json!({}));
    many.instances = usize::MAX;
    assert!(refused(many).await.contains("instances must be at most 1000"));
}

#[tokio::test]
async fn unknown_imports_and_exports_are_refused() {
    let error = refused_world("package a:b; interface c { f: func(); } world w { import c; }").await;
    assert_eq!(error, "plugin \"odd\" imports a:b/c: Postern has no such interface");
    let error = refused_world("package wasi:io@0.2.9; interface poll { f: func(); } world w { import poll; }").await;
    assert!(error.starts_with("plugin \"odd\" imports wasi:io/poll@0.2.9: plugins get no WASI"), "{error}");
    let error =
        refused_world("package postern:plugin@0.2.0; interface log { f: func(); } world w { import log; }").await;
    assert!(error.contains("it was built for another version of Postern"), "{error}");
    let error =
        refused_world("package postern:plugin@0.1.0; interface log { shout: func(); } world w { import log; }").await;
    assert!(error.contains("not a component that this server can run") && error.contains("shout"), "{error}");
    let error =
        refused_world("package postern:plugin@0.1.0; interface paint { f: func(); } world w { export paint; }").await;
    assert!(error.contains("exports postern:plugin/paint@0.1.0, which this server does not know"), "{error}");
    let error = refused_world("package a:b; interface c { f: func(); } world w { export c; }").await;
    assert!(error.contains("exports no hook"), "{error}");
}

#[tokio::test]
async fn hooks_with_other_functions_are_refused() {
    let half = "package postern:plugin@0.1.0;
        interface rewrite { rewrite-all: func(); } world w { export rewrite; }";
    let error = refused_world(half).await;
    assert!(error.contains("exports postern:plugin/rewrite@0.1.0, but not as this server knows it"), "{error}");
    let wrong = "package postern:plugin@0.1.0;
        interface rewrite { rewrite: func(id: u32) -> u32; } world w { export rewrite; }";
    let error = refused_world(wrong).await;
    assert!(error.contains("plugin \"odd\" did not start") && error.contains("rewrite"), "{error}");
    // What nobody would read is refused before anything runs.
    let dir = tempfile::tempdir().unwrap();
    let right = format!(
        "package postern:plugin@0.1.0; {MAIL}
        interface rewrite {{
            use session.{{session}}; use envelope.{{envelope}}; use message.{{message}};
            rewrite: func(session: borrow<session>, envelope: borrow<envelope>, message: borrow<message>)
                -> result<_, string>;
        }}
        world w {{ export rewrite; }}"
    );
    let mut spec = PluginSpec::new("odd", component_of(dir.path(), &right));
    load(spec.clone()).await;
    spec.config = json!({ "a": 1 });
    assert!(refused(spec).await.contains("has a config, but it reads none"));
}

#[cfg(unix)]
#[tokio::test]
async fn compiled_code_is_kept_and_trusted_only_if_it_is_ours() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("code");
    let mut spec = header_rewrite(json!({ "add": [{ "name": "X", "value": "y" }] }));
    spec.cache_dir = Some(cache.clone());
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let works = async |spec: PluginSpec| {
        let mut transaction = transaction(&[]);
        set_of(vec![load(spec).await]).rewrite(&mut transaction).await.unwrap();
        assert_eq!(header(&transaction), "X: y\r\n");
    };

    works(spec.clone()).await;
    let file = files().pop().unwrap();
    let meta = |path: &Path| std::fs::metadata(path).unwrap();
    assert_eq!(meta(&cache).permissions().mode() & 0o777, 0o700);
    assert_eq!(meta(&file).permissions().mode() & 0o777, 0o600);
    let written = meta(&file).modified().unwrap();
    works(spec.clone()).await;
    assert_eq!(files().len(), 1);
    assert_eq!(meta(&file).modified().unwrap(), written, "the second load used the file");

    // Another user could have written it: compiled anew, and the file replaced.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    works(spec.clone()).await;
    assert_eq!(meta(&file).permissions().mode() & 0o777, 0o600);

    // Damaged: not code of this engine.
    std::fs::write(&file, "damaged").unwrap();
    works(spec.clone()).await;
    assert!(meta(&file).len() > 1000);

    // A cache that can't be used is no reason to refuse a plugin.
    std::fs::write(dir.path().join("file"), "").unwrap();
    spec.cache_dir = Some(dir.path().join("file"));
    works(spec).await;
}

#[tokio::test]
async fn what_a_plugin_is_can_be_asked() {
    let plugin = load(header_rewrite(json!({}))).await;
    assert_eq!((plugin.name(), plugin.author()), ("header-rewrite", "header-rewrite@0.1.0"));
    assert_eq!(plugin.hooks(), [postern_core::hook::HookPoint::Rewrite]);
}
