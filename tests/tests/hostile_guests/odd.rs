//! Components written by hand, since no toolchain makes such: they break the rules of the boundary itself. Which one is
//! broken goes by the first letter of the reverse-path, a capital.

use std::path::{Path, PathBuf};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = "
    package postern:plugin@0.1.0;
    interface session { resource session { id: func() -> string; } }
    interface envelope { resource envelope { reverse-path: func() -> string; } }
    interface message { resource message { header: func(name: string) -> option<string>; } }
    interface rewrite {
        use session.{session}; use envelope.{envelope}; use message.{message};
        rewrite: func(session: borrow<session>, envelope: borrow<envelope>, message: borrow<message>)
            -> result<_, string>;
    }
    world w { export rewrite; }
";

/// What is broken, by letter; the code; the kind of failure; and what the log says of it.
///
/// `$s`, `$e` and `$m` are the handles, 512 a place for results, 640 the text `Subject`, 700 a place for the answer.
pub const CASES: [(char, &str, &str, &str); 26] = [
    ('A', "(call $header (i32.const 12345) (i32.const 640) (i32.const 7) (i32.const 512))", "trap", "handle"),
    // A handle that was given back.
    (
        'B',
        "(call $drop-message (local.get $m))
         (call $header (local.get $m) (i32.const 640) (i32.const 7) (i32.const 512))",
        "trap",
        "handle",
    ),
    ('C', "(call $drop-message (local.get $m)) (call $drop-message (local.get $m))", "trap", "handle"),
    // Handles that are kept.
    ('D', "(return (i32.const 16))", "trap", "borrow"),
    // A handle of another kind.
    ('E', "(call $header (local.get $s) (i32.const 640) (i32.const 7) (i32.const 512))", "trap", "handle"),
    // Texts that are not where the guest says, or are none.
    (
        'F',
        "(call $header (local.get $m) (i32.const 0xfffffff0) (i32.const 32) (i32.const 512))",
        "trap",
        "out of bounds",
    ),
    (
        'G',
        "(call $header (local.get $m) (i32.const 0) (i32.const 0xffffffff) (i32.const 512))",
        "trap",
        "out of bounds",
    ),
    (
        'H',
        "(i32.store (i32.const 600) (i32.const 0xfffefdfc))
         (call $header (local.get $m) (i32.const 600) (i32.const 4) (i32.const 512))",
        "trap",
        "utf-8",
    ),
    // Places for results.
    (
        'I',
        "(call $header (local.get $m) (i32.const 640) (i32.const 7) (i32.const 0xfffffff0))",
        "trap",
        "out of bounds",
    ),
    ('J', "(call $header (local.get $m) (i32.const 640) (i32.const 7) (i32.const 513))", "trap", "align"),
    ('K', "(local.set $answer (i32.const 0x7ffffff0))", "trap", "out of bounds"),
    // Answers that are none.
    ('L', "(i32.store8 (i32.const 700) (i32.const 7)) (local.set $answer (i32.const 700))", "trap", "discriminant"),
    (
        'M',
        "(i32.store8 (i32.const 700) (i32.const 1)) (i32.store (i32.const 704) (i32.const 0xfffffff0))
         (i32.store (i32.const 708) (i32.const 100)) (local.set $answer (i32.const 700))",
        "trap",
        "out of bounds",
    ),
    (
        'N',
        "(i32.store8 (i32.const 700) (i32.const 1)) (i32.store (i32.const 600) (i32.const 0xfffefdfc))
         (i32.store (i32.const 704) (i32.const 600)) (i32.store (i32.const 708) (i32.const 4))
         (local.set $answer (i32.const 700))",
        "trap",
        "utf-8",
    ),
    (
        'O',
        "(i32.store8 (i32.const 700) (i32.const 1)) (i32.store (i32.const 708) (i32.const 0xffffffff))
         (local.set $answer (i32.const 700))",
        "trap",
        "out of bounds",
    ),
    // What the host calls to have room for a text.
    ('P', "(global.set $realloc (i32.const 1)) (call $subject (local.get $m))", "trap", "realloc"),
    ('Q', "(global.set $realloc (i32.const 2)) (call $subject (local.get $m))", "cpu", "CPU"),
    ('R', "(global.set $realloc (i32.const 3)) (call $subject (local.get $m))", "trap", "unreachable"),
    // What the host calls when it has read the answer.
    ('S', "(global.set $post (i32.const 2))", "cpu", "CPU"),
    ('T', "(global.set $post (i32.const 3))", "trap", "unreachable"),
    ('U', "(call_indirect (type $nothing) (i32.const 0))", "trap", "uninitialized"),
    ('V', "(drop (memory.grow (i32.const 1000)))", "memory", "it wanted"),
    ('W', "(loop $on (drop (table.grow $t (ref.null func) (i32.const 90000))) (br $on))", "cpu", "CPU"),
    ('X', "(loop $on (memory.fill (i32.const 4096) (i32.const 1) (i32.const 60000)) (br $on))", "cpu", "CPU"),
    ('Y', "(drop (i32.div_u (i32.const 1) (i32.const 0)))", "trap", "divide by zero"),
    ('Z', "(i32.store (i32.const 0xfffffff0) (i32.const 1))", "trap", "out of bounds"),
];

/// A component whose hook does the cases, and whose module holds `more`.
pub fn component(more: &str) -> Vec<u8> {
    let case = |(letter, code, ..): &(char, &str, &str, &str)| {
        format!("(if (i32.eq (local.get $case) (i32.const {})) (then {code}))\n", u32::from(*letter))
    };
    let cases: String = CASES.iter().map(case).collect();
    let module = format!(
        r#"(module
            (type $nothing (func))
            (import "postern:plugin/session@0.1.0" "[resource-drop]session" (func $drop-session (param i32)))
            (import "postern:plugin/envelope@0.1.0" "[resource-drop]envelope" (func $drop-envelope (param i32)))
            (import "postern:plugin/message@0.1.0" "[resource-drop]message" (func $drop-message (param i32)))
            (import "postern:plugin/envelope@0.1.0" "[method]envelope.reverse-path" (func $path (param i32 i32)))
            (import "postern:plugin/message@0.1.0" "[method]message.header"
                (func $header (param i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (table $t 1 funcref)
            (data (i32.const 640) "Subject")
            (global $realloc (mut i32) (i32.const 0))
            (global $post (mut i32) (i32.const 0))
            {more}
            (func $misbehave (param $how i32)
                (if (i32.eq (local.get $how) (i32.const 2)) (then (loop $on (br $on))))
                (if (i32.eq (local.get $how) (i32.const 3)) (then unreachable)))
            (func $subject (param $m i32)
                (call $header (local.get $m) (i32.const 640) (i32.const 7) (i32.const 512)))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (call $misbehave (global.get $realloc))
                (select (i32.const 0xfffffff0) (i32.const 1024) (global.get $realloc)))
            (func (export "cabi_post_postern:plugin/rewrite@0.1.0#rewrite") (param i32)
                (call $misbehave (global.get $post)))
            (func (export "postern:plugin/rewrite@0.1.0#rewrite")
                (param $s i32) (param $e i32) (param $m i32) (result i32) (local $case i32) (local $answer i32)
                (local.set $answer (i32.const 16))
                (call $path (local.get $e) (i32.const 512))
                (local.set $case (i32.load8_u (i32.load (i32.const 512))))
                {cases}
                (call $drop-session (local.get $s))
                (call $drop-envelope (local.get $e))
                (call $drop-message (local.get $m))
                (local.get $answer)))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// Writes a component into a folder.
pub fn write(dir: &Path, name: &str, component: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, component).unwrap();
    path
}
