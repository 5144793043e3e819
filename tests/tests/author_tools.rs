//! `postern plugin …`: each of the author's tools through the real binary, on components that `make plugins guests`
//! builds. What a new plugin in Rust is like is in `tutorial.rs`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, binary, free_port, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn postern(args: &[&str], dir: &Path) -> Output {
    Command::new(binary()).args(args).current_dir(dir).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs it, checks the exit code and gives what was printed.
fn run(args: &[&str], dir: &Path, code: i32) -> String {
    let output = postern(args, dir);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}:\n{text}");
    text
}

fn component(path: &str) -> String {
    let file = root().join(path);
    assert!(file.exists(), "{path} is missing: run `make plugins guests`");
    fs::canonicalize(file).unwrap().display().to_string()
}

fn intake_hooks() -> String {
    component("tests/guests/intake-hooks/intake-hooks.wasm")
}

fn header_rewrite() -> String {
    component("plugins/header-rewrite/header-rewrite.wasm")
}

/// A folder with a message and these cases.
fn cases(cases: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let message = "From: a@b.example\nSubject: hello\nX-Mailer: old\nX-Trigger: 1\n\nbody\n";
    fs::write(dir.path().join("m.eml"), message).unwrap();
    for (name, text) in cases {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_new_folder_is_complete_and_never_overwrites() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    run(&["plugin", "new", "one"], place, 0);
    for file in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "README.md", ".gitignore", "tests/hello.toml"] {
        assert!(place.join("one").join(file).is_file(), "{file}");
    }
    // The SDK reads the interfaces from `../wit`, and is the same as the one that this server was built beside.
    let shipped = fs::read(root().join("wit/worlds.wit")).unwrap();
    assert_eq!(fs::read(place.join("one/.sdk/wit/worlds.wit")).unwrap(), shipped);
    let sdk = fs::read(root().join("plugin-sdk/src/lib.rs")).unwrap();
    assert_eq!(fs::read(place.join("one/.sdk/plugin-sdk/src/lib.rs")).unwrap(), sdk);

    fs::write(place.join("one/src/lib.rs"), "mine").unwrap();
    holds(&run(&["plugin", "new", "one"], place, 1), &["one is there already"]);
    assert_eq!(fs::read_to_string(place.join("one/src/lib.rs")).unwrap(), "mine");
    for name in ["One", "a/b", "-a", "a-", "2a", "a_b", "std", ""] {
        let text = run(&["plugin", "new", "--", name], place, 2);
        holds(&text, &["NAME: "]);
    }
    holds(&run(&["plugin", "new", "A"], place, 2), &["1 to 64 of a-z, 0-9 and `-`, begin with a letter"]);
    assert_eq!(fs::read_dir(place).unwrap().count(), 1, "a name that is refused leaves nothing");
}

#[test]
fn other_languages_name_the_tool_that_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    for (lang, source, tool) in
        [("python", "plugin.py", "pip install componentize-py"), ("js", "plugin.js", "npm install")]
    {
        holds(&run(&["plugin", "new", lang, "--lang", lang], place, 0), &[tool]);
        let dir = place.join(lang);
        assert!(dir.join(source).is_file() && dir.join(".sdk/wit/worlds.wit").is_file());
        assert!(!dir.join(".sdk/plugin-sdk").exists(), "the SDK is for Rust");
        let build = Command::new(binary())
            .args(["plugin", "build", lang])
            .current_dir(place)
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(build.status.code(), Some(1));
        holds(&said(&build), &[tool]);
    }
    holds(&run(&["plugin", "new", "x", "--lang", "cobol"], place, 2), &["rust, python, js"]);
    holds(&run(&["plugin", "build", "."], place, 1), &["has no Cargo.toml"]);
    holds(&run(&["plugin", "test", "python"], place, 1), &["run `postern plugin build python` first"]);
}

#[test]
fn inspect_tells_hooks_imports_and_grants() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = run(&["plugin", "inspect", &intake_hooks()], place, 0);
    holds(&text, &["name      intake-hooks 0.1.0", "hooks     connect", "route", "config    is read", "none needed"]);
    let clock = component("tests/guests/wants-clock/wants-clock.wasm");
    let text = run(&["plugin", "inspect", &clock, "--json"], place, 0);
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(view["grants"], "grants = { clock = true }");
    assert_eq!(view["hooks"][0]["name"], "rewrite");
    let import = view["imports"].as_array().unwrap().iter().find(|import| import["grant"] == "clock").unwrap();
    assert_eq!(import["name"], "postern:plugin/clock@0.1.0");
    let sum = postern_tests::run("sha256sum", &[&clock]).stdout;
    assert_eq!(view["sha256"].as_str().unwrap().as_bytes(), &sum[..64]);
    assert_eq!(view["size"].as_u64(), Some(fs::metadata(&clock).unwrap().len()));
    assert_eq!(view["problems"], serde_json::json!([]));
    // What no server loads can be looked at.
    let text = run(&["plugin", "inspect", &component("tests/guests/every-hook/every-hook.wasm")], place, 0);
    holds(&text, &["sign  (this server does not call it yet)", "problem   it exports the hook sign"]);

    fs::write(place.join("text"), "no wasm").unwrap();
    holds(&run(&["plugin", "inspect", "text"], place, 1), &["text: not a WebAssembly component"]);
    fs::write(place.join("module"), b"\0asm\x01\0\0\0").unwrap();
    holds(&run(&["plugin", "inspect", "module"], place, 1), &["module: a core module, not a component"]);
    let mut cut = fs::read(&clock).unwrap();
    cut.truncate(cut.len() / 2);
    fs::write(place.join("cut"), cut).unwrap();
    holds(&run(&["plugin", "inspect", "cut"], place, 1), &["cut: not a component that can be read"]);
    holds(&run(&["plugin", "inspect", "none"], place, 1), &["can't read none"]);
}

/// Every hook that intake calls, each with something to say.
const ALL_HOOKS: &str = r#"
message = "m.eml"
[plugin]
config = { next_hop = "192.0.2.25:26" }
[session]
peer = "192.0.2.7:1000"
[envelope]
from = "a@b.example"
to = ["nobody@x.example", "later@x.example", "a+tag@via.example", "b@held.example", "c@slow.example", "d@x.example"]
[expect]
rcpt = ["550 5.1.1 Nobody here", "451 4.7.1 Come back", "pass", "pass", "pass", "pass"]
added = ["X-Seen: 192.0.2.7 a@b.example"]
to = ["a@via.example", "b@held.example", "c@slow.example", "d@x.example"]
attributes = { peer = "192.0.2.7", sender = "*@b.example" }
[expect.routes]
"a@via.example" = { next_hop = "192.0.2.25:26" }
"b@held.example" = { hold = "recipient 1" }
"c@slow.example" = { delay = "1h" }
"#;

const CONFIG: &str = "[plugin]\nconfig = { next_hop = '192.0.2.25:26' }\n";

#[test]
fn cases_pass_where_all_is_as_expected() {
    let dir = cases(&[
        ("a.toml", ALL_HOOKS),
        ("b.toml", &format!("{CONFIG}[envelope]\nfrom = 'bad@b.example'\n[expect]\nmail = '553 5.1.8 *'\n")),
        // A verdict that is not allowed is a failure.
        (
            "c.toml",
            &format!(
                "hooks = ['mail']\n{CONFIG}[envelope]\nfrom = 'wrong@b.example'\n[expect]\nmail = 'failed: verdict*'"
            ),
        ),
        (
            "d.toml",
            &format!("message = 'hold.eml'\nhooks = ['spam']\n{CONFIG}[expect]\nspam = 'hold: an operator decides'\n"),
        ),
        ("e.toml", &format!("message = 'drop.eml'\n{CONFIG}[expect]\nspam = 'discard: nobody wants it'\n")),
        ("hold.eml", "Subject: hold\n\nx\n"),
        ("drop.eml", "Subject: drop\n\nx\n"),
        ("f.toml", &format!("message = 'm.eml'\nhooks = ['rewrite']\n{CONFIG}[expect]\ncontent = 'whole.eml'\n")),
        ("whole.eml", "From: a@b.example\nSubject: hello\nX-Mailer: old\nX-Trigger: 1\nX-Seen: *\n\nbody\n"),
    ]);
    let text = run(&["plugin", "test", &intake_hooks(), "."], dir.path(), 0);
    let names = ["a", "b", "c", "d", "e", "f"].map(|name| format!("ok   ./{name}.toml\n")).concat();
    holds(&text, &["intake-hooks@0.1.0 sha256 ", &names, "6 cases, 0 failed"]);
}

#[test]
fn a_case_that_fails_shows_the_difference() {
    let config = "[plugin]\nconfig = { remove = ['X-Mailer'], replace = { Subject = 'bye' }, add = [{ name = 'X-A', value = '1' }] }\n";
    let message = "message = 'm.eml'\n";
    let right = "[expect]\nremoved = ['X-Mailer: old']\nchanged = ['Subject: bye']\nadded = ['X-A: 1']\n";
    let dir = cases(&[
        ("1.toml", &format!("{message}{config}{right}")),
        ("2.toml", &format!("{message}{config}")),
        ("3.toml", &format!("{message}{config}{right}zone = 'bulk'\n")),
        ("4.toml", &format!("{message}{config}{}", right.replace("X-A: 1", "X-A: 2"))),
        ("5.toml", &format!("{message}{config}[expect]\ncontent = 'm.eml'\n")),
    ]);
    let text = run(&["plugin", "test", &header_rewrite(), "."], dir.path(), 1);
    holds(
        &text,
        &[
            "ok   ./1.toml\nFAIL ./2.toml\n       rewrite: ok\n     + header removed: X-Mailer: old\n",
            "FAIL ./3.toml",
            "     - zone: bulk\n",
            "     - header added: X-A: 2\n     + header added: X-A: 1\n",
            "     - X-Mailer: old\n",
            "     + X-A: 1\n",
            "5 cases, 4 failed",
            "postern: 4 cases failed",
        ],
    );
    // The same files, one by one.
    run(&["plugin", "test", &header_rewrite(), "1.toml"], dir.path(), 0);
}

#[test]
fn mistakes_in_cases_are_named() {
    let dir = cases(&[]);
    let check = |case: &str, parts: &[&str]| {
        fs::write(dir.path().join("case.toml"), case).unwrap();
        holds(&run(&["plugin", "test", &header_rewrite(), "case.toml"], dir.path(), 1), parts);
    };
    check("hook = []", &["case.toml", "line 1", "unknown field `hook`"]);
    check("hooks = ['rewrit']", &["case.toml: hooks: there is no hook `rewrit`; did you mean `rewrite`?"]);
    check("hooks = ['spam']", &["the plugin does not export `spam`, only rewrite"]);
    check("message = 'none.eml'", &["case.toml: message: can't read", "none.eml"]);
    check("[envelope]\nto = ['a@b.example', 'nobody']", &["envelope.to[1] `nobody`"]);
    check("[session]\npeer = 'here'", &["case.toml", "line 2", "socket address"]);
    check("[plugin]\ngrants = { clokc = true }", &["there is no grant `clokc`: did you mean `clock`?"]);
    check("[plugin]\ncpuu = '1s'", &["case.toml: plugin", "unknown field `cpuu`"]);
    check("[plugin]\nname = 'x'", &["the key `name` has no place in a fixture"]);
    check("[plugin]\nconfig = { ad = [] }", &["refuses its config", "unknown field `ad`"]);
    check("[expect]\nrewrite = 3", &["case.toml", "a verdict is a text"]);
    let none = tempfile::tempdir().unwrap();
    let place = none.path().to_str().unwrap();
    holds(&run(&["plugin", "test", &header_rewrite(), place], none.path(), 1), &["there is no fixture in"]);
}

#[test]
fn failures_of_a_plugin_are_told_by_kind() {
    let hostile = component("tests/guests/hostile/hostile.wasm");
    for (what, kind) in [("trap", "trap"), ("loop", "cpu"), ("memory", "memory"), ("error", "refused")] {
        let case = format!("message = 'm.eml'\n[plugin]\nconfig = {{ do = '{what}' }}\nmemory = '4MiB'\n");
        let dir = cases(&[("a.toml", &format!("{case}[expect]\nrewrite = 'failed: {kind}: *'\n")), ("b.toml", &case)]);
        let text = run(&["plugin", "test", &hostile, "."], dir.path(), 1);
        let line = format!("     - rewrite: ok\n     + rewrite: failed: {kind}: ");
        holds(&text, &["ok   ./a.toml\nFAIL ./b.toml\n", &line]);
    }
}

#[test]
fn replay_tells_what_two_versions_do_differently() {
    let hooks = format!("message = 'm.eml'\nhooks = ['rewrite']\n{CONFIG}");
    let dir = cases(&[("a.toml", &hooks)]);
    let place = dir.path();
    // Another hash with the same behaviour: a custom section at the end.
    let mut other = fs::read(intake_hooks()).unwrap();
    other.extend_from_slice(b"\0\x05\x04note");
    fs::write(place.join("other.wasm"), other).unwrap();
    let text = run(&["plugin", "replay", &intake_hooks(), "other.wasm", "."], place, 0);
    holds(&text, &["same ./a.toml\n1 transaction, 0 differ\n"]);

    fs::write(
        place.join("a.toml"),
        "message = 'm.eml'\n[plugin]\nconfig = { add = [{ name = 'X-A', value = '1' }] }\n",
    )
    .unwrap();
    fs::write(place.join("b.toml"), "message = 'm.eml'\n").unwrap();
    let hostile = component("tests/guests/hostile/hostile.wasm");
    let text = run(&["plugin", "replay", &header_rewrite(), &hostile, "."], place, 1);
    holds(
        &text,
        &["- header-rewrite@", "+ hostile@", "DIFF ./a.toml\n     - rewrite: ok\n", "     - | X-A: 1\n", "not run: "],
    );
    holds(&text, &["2 transactions, 2 differ", "postern: 2 transactions differ"]);
    // Where a field stands is a difference too.
    let add = |position: &str| {
        format!(
            "message = 'm.eml'\n[plugin]\nconfig = {{ add = [{{ name = 'X-A', value = '1', position = '{position}' }}] }}\n"
        )
    };
    fs::write(place.join("a.toml"), add("top")).unwrap();
    let text = run(&["plugin", "replay", &header_rewrite(), &header_rewrite(), "a.toml"], place, 0);
    holds(&text, &["same a.toml"]);
}

#[test]
fn bench_measures_each_hook_on_kept_and_fresh_instances() {
    let dir = cases(&[("a.toml", ALL_HOOKS), ("bad.toml", "message = 'm.eml'\n[plugin]\nconfig = { do = 'trap' }\n")]);
    let text = run(&["plugin", "bench", &intake_hooks(), "a.toml", "--calls", "100", "--json"], dir.path(), 0);
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = rows.as_array().unwrap();
    // connect, mail, six recipients, spam, rewrite, route.
    assert_eq!(rows.len(), 2 * 11, "{text}");
    for row in rows {
        let figure = |key: &str| row[key].as_f64().unwrap();
        assert!(figure("p50") > 0.0 && figure("p50") <= figure("p99"), "{row}");
        assert_eq!(figure("calls"), if row["instance"] == "kept" { 100.0 } else { 10.0 }, "{row}");
    }
    let hostile = component("tests/guests/hostile/hostile.wasm");
    let text = run(&["plugin", "bench", &hostile, "bad.toml", "--calls", "10"], dir.path(), 1);
    holds(&text, &["rewrite fails on bad.toml"]);
}

#[test]
fn a_queued_message_becomes_a_case() {
    // Nobody listens there: the message stays.
    let server = Postern::start(free_port(), "");
    let mut client = Client::hello(server.port).unwrap();
    let content = "From: a@b.example\r\nTo: c@d.example\r\nSubject: captured\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
                   Message-ID: <1@b>\r\n\r\nbody\r\n";
    let reply = client.mail("a@b.example", &["c@d.example", "e@f.example"], content).unwrap();
    assert_eq!(reply.code, 250);
    let id = server.queue()[0]["id"].as_str().unwrap().to_owned();
    let capture = ["plugin", "capture", &id, "--to", "cases", "-c", "postern.toml"];
    let text = run(&capture, server.dir(), 0);
    assert_eq!(text, format!("cases/{id}.toml\n"));
    let cases: PathBuf = server.dir().join("cases");
    assert_eq!(fs::read_to_string(cases.join(format!("{id}.eml"))).unwrap(), content, "without our Received");
    holds(&run(&capture, server.dir(), 1), &["is there already; nothing was changed"]);
    let missing = ["plugin", "capture", "000000000000000000", "--to", "other", "-c", "postern.toml"];
    holds(&run(&missing, server.dir(), 1), &["there is no message 000000000000000000"]);

    let case = fs::read_to_string(cases.join(format!("{id}.toml"))).unwrap();
    holds(
        &case,
        &["from = \"a@b.example\"", "to = [\"c@d.example\", \"e@f.example\"]", "listener = \"feeder\"", "peer"],
    );
    let text = run(&["plugin", "replay", &header_rewrite(), &header_rewrite(), "cases"], server.dir(), 0);
    holds(&text, &["1 transaction, 0 differ"]);
    run(&["plugin", "test", &header_rewrite(), "cases"], server.dir(), 0);
}
