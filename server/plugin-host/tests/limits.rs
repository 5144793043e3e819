//! What one component may hold of the pool that all plugins share, and give to the host in one call. The components are
//! written by hand: no toolchain makes such.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_core::hook::Hooks as _;
use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = "
    package postern:plugin@0.1.0;
    interface session { resource session { id: func() -> string; } }
    interface envelope { resource envelope { zone: func() -> option<string>; } }
    interface message { resource message { header: func(name: string) -> option<string>; } }
    interface rewrite {
        use session.{session}; use envelope.{envelope}; use message.{message};
        rewrite: func(session: borrow<session>, envelope: borrow<envelope>, message: borrow<message>)
            -> result<_, string>;
    }
    world w { export rewrite; }
";

/// A plugin whose module holds `more`, and whose hook gives its handles back, runs `call`, and succeeds.
fn plugin(dir: &Path, more: &str, call: &str) -> PluginSpec {
    let module = format!(
        r#"(module
            (import "postern:plugin/session@0.1.0" "[resource-drop]session" (func $drop-session (param i32)))
            (import "postern:plugin/envelope@0.1.0" "[resource-drop]envelope" (func $drop-envelope (param i32)))
            (import "postern:plugin/message@0.1.0" "[resource-drop]message" (func $drop-message (param i32)))
            (import "postern:plugin/message@0.1.0" "[method]message.header"
                (func $header (param i32 i32 i32 i32)))
            (memory (export "memory") 1)
            {more}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "postern:plugin/rewrite@0.1.0#rewrite") (param i32 i32 i32) (result i32)
                {call}
                (call $drop-session (local.get 0))
                (call $drop-envelope (local.get 1))
                (call $drop-message (local.get 2))
                (i32.const 16)))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    of_bytes(dir, &component)
}

fn of_bytes(dir: &Path, component: &[u8]) -> PluginSpec {
    let path = dir.join("guest.wasm");
    std::fs::write(&path, component).unwrap();
    let mut spec = PluginSpec::new("odd", path);
    spec.deadline = std::time::Duration::from_secs(30);
    spec
}

#[tokio::test]
async fn a_component_cannot_take_the_instances_of_others() {
    let dir = tempfile::tempdir().unwrap();
    // As many as this pool has in all for an honest plugin and this one.
    let host = PluginHost::new(&EngineOptions { instances: 2 }).unwrap();
    let honest = set_of(vec![host.load(header_rewrite(json!({}))).await.unwrap()]);
    let many = |count: usize, module: &str, instance: &str| {
        let component = format!("(component (core module $m {module}) {})", instance.repeat(count));
        of_bytes(dir.path(), &wat::parse_str(component).unwrap())
    };
    let instance = "(core instance (instantiate $m))";
    for (count, module, said) in [
        (65, "", "65 core module instances, which exceeds the configured maximum of 64"),
        (3, "(memory 1)", "3 Wasm linear memories, which exceeds the configured maximum of 2"),
        (9, "(table 1 funcref)", "9 tables, which exceeds the configured maximum of 8"),
    ] {
        let error = host.load(many(count, module, instance)).await.unwrap_err().to_string();
        assert!(error.starts_with("plugin \"odd\": not a component that this server can run: "), "{error}");
        assert!(error.contains(said), "{error}");
    }
    // The most that a component may hold leaves the others theirs.
    let most = plugin(dir.path(), &format!("(memory 1) {}", "(table 1 funcref)".repeat(7)), "");
    let most = set_of(vec![host.load(most).await.unwrap()]);
    for set in [&most, &honest] {
        set.rewrite(&mut transaction(&[])).await.unwrap();
    }
}

#[tokio::test]
async fn two_memories_are_bounded_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut two = plugin(dir.path(), "(memory $m 1)", "(drop (memory.grow $m (i32.const 10)))");
    // Twelve pages, and a little for the table through which it reaches its imports.
    two.memory = (12 << 16) + 100;
    set_of(vec![load(two.clone()).await]).rewrite(&mut transaction(&[])).await.unwrap();
    two.memory -= 100;
    let refusal = set_of(vec![load(two).await]).rewrite(&mut transaction(&[])).await.unwrap_err();
    assert!(refusal.detail.contains("memory: it wanted 7864"), "{}", refusal.detail);
}

#[tokio::test]
async fn tables_count_as_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = plugin(dir.path(), &"(table 90000 funcref)".repeat(7), "");
    load(spec.clone()).await;
    spec.memory = 4 << 20;
    let error = refused(spec).await;
    assert!(error.contains("did not start: it wanted") && error.contains("may have 4194304"), "{error}");
}

#[tokio::test]
async fn a_huge_argument_is_refused_before_it_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let call = |length: usize| {
        // The name of a header field: all of the first `length` octets of memory.
        format!(
            "(drop (memory.grow (i32.const 96)))
             (call $header (local.get 2) (i32.const 0) (i32.const {length}) (i32.const 512))"
        )
    };
    set_of(vec![load(plugin(dir.path(), "", &call(3 << 20))).await]).rewrite(&mut transaction(&[])).await.unwrap();
    let set = set_of(vec![load(plugin(dir.path(), "", &call(5 << 20))).await]);
    let refusal = set.rewrite(&mut transaction(&[])).await.unwrap_err();
    assert!(refusal.detail.contains("too much data is being copied"), "{}", refusal.detail);
}
