//! The hook `http` in the whole server: what the plugin sees, each answer and each failure on the wire, who may call it,
//! and that nothing that it does holds others up. The plugin is `tests/guests/http-hook`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, HttpPeer, Postern, Setup, curl, free_port, root, send};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// The component asks for it, whether it is used or not.
const GRANT: &str = "grants = { http = ['http://127.0.0.1:1'] }";
const ON: &str = "cpu = '200ms'\ndeadline = '2s'\nbreaker = { failures = 0 }";

fn plugin(name: &str, keys: &str) -> String {
    let component = root().join("tests/guests/http-hook/http-hook.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    format!("[[plugin]]\nname = '{name}'\ncomponent = '{}'\n{keys}\n", component.canonicalize().unwrap().display())
}

/// A server with the plugin `web`, with these keys; it may ask this peer.
fn start_with(peer: &HttpPeer, keys: &str) -> Postern {
    start(&format!("grants = {{ http = ['http://127.0.0.1:{}'] }}\n{keys}", peer.port))
}

fn start(keys: &str) -> Postern {
    let grants = if keys.contains("grants = ") { "" } else { GRANT };
    let config = plugin("web", &format!("{grants}\n{keys}"));
    let setup = Setup { config, ..Setup::default() };
    let mut server = Postern::prepare(free_port(), setup);
    server.restart();
    server
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_the_plugin_sees() {
    let server = start(ON);
    let args = ["-X", "PUT", "-H", "X-Custom: one", "-H", "x-custom: two", "-H", "Content-Type: text/plain"];
    let secret = ["-u", "app:s3cret", "-H", "Cookie: s3cret=1", "-H", "Proxy-Authorization: s3cret"];
    let body = "x".repeat(2500);
    let path = "/plugin/web/a%2Fb//c/?q=1&r=%20";
    let (status, text) = curl(&server, path, &[&args[..], &secret].concat(), Some(body.as_bytes()));
    let expected = json!({
        "method": "PUT", "path": "/a%2Fb//c/", "query": "q=1&r=%20", "custom": "one", "kind": "text/plain",
        "secrets": [], "peer": "127.0.0.1", "user": null, "body": body, "pieces": 3,
    });
    assert_eq!((status, json(&text)), (200, expected));
    // Compressed content is the plugin's affair; a body in chunks is read to its end.
    let chunked = ["-X", "POST", "-H", "Transfer-Encoding: chunked", "-H", "Content-Encoding: gzip"];
    let (status, text) = curl(&server, "/plugin/web/x", &chunked, Some(b"no gzip"));
    assert_eq!((status, &json(&text)["body"]), (200, &json!("no gzip")));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let (_, text) = curl(&server, "/plugin/web/m", &["-X", method], None);
        assert_eq!((&json(&text)["method"], &json(&text)["query"]), (&json!(method), &Value::Null));
    }
    let (status, header) = curl(&server, "/plugin/web/teapot", &["-I"], None);
    assert!(status == 418 && header.to_lowercase().contains("content-length: 15"), "{header}");
    assert_eq!(curl(&server, "/plugin/web/m", &["-X", "TRACE"], None).0, 405);
}

#[test]
fn each_answer() {
    let server = start(ON);
    assert_eq!(curl(&server, "/plugin/web/", &[], None), (200, String::new()));
    for status in [200_u16, 204, 301, 404, 418, 500, 503, 599] {
        assert_eq!(curl(&server, &format!("/plugin/web/status?value={status}"), &[], None).0, status);
    }
    for status in [0, 100, 199, 600, 999] {
        let (said, body) = curl(&server, &format!("/plugin/web/status?value={status}"), &[], None);
        assert_eq!((said, &json(&body)["status"]), (500, &json!(500)), "{status}");
    }
    let (status, text) = curl(&server, "/plugin/web/teapot", &["-i"], None);
    let text = text.to_lowercase();
    assert_eq!(status, 418);
    for field in
        ["set-cookie: a=1", "set-cookie: b=2", "content-security-policy: sandbox", "nosniff", "short and stout"]
    {
        assert!(text.contains(field), "{field}: {text}");
    }
    assert_eq!(curl(&server, "/plugin/web/write?value=1048576", &[], None).1.len(), 1 << 20);
    assert_eq!(curl(&server, "/plugin/web/write?value=1048577", &[], None).0, 500);
    // What comes after a line end would be a header of its own, or an answer of its own.
    for (name, value, word) in [
        ("X-A", "a%0D%0ASet-Cookie:%20evil=1", "bad-value"),
        ("X-A", "a%0Ab", "bad-value"),
        ("X-A", "a%0Db", "bad-value"),
        ("X-A", "a%00", "bad-value"),
        ("X-A%0D%0AX-B", "1", "bad-name"),
        ("X%20A", "1", "bad-name"),
        ("", "1", "bad-name"),
        ("Content-Length", "5", "bad-name"),
        ("transfer-encoding", "chunked", "bad-name"),
        ("Connection", "close", "bad-name"),
    ] {
        let path = format!("/plugin/web/header?name={name}&value={value}");
        let (status, text) = curl(&server, &path, &["-i"], None);
        let said = json(text.split("\r\n\r\n").nth(1).unwrap());
        assert!(status == 200 && said.as_str().unwrap().starts_with(word), "{path}: {text}");
        assert!(!text.contains("evil=1\r\n") && !text.to_lowercase().contains("set-cookie"), "{text}");
    }
    let (_, text) = curl(&server, "/plugin/web/header?name=X-A&value=1%092", &["-i"], None);
    assert!(text.to_lowercase().contains("x-a: 1\t2\r\n"), "{text}");
}

#[test]
fn each_failure() {
    let peer = HttpPeer::start();
    let server = start_with(&peer, ON);
    let slow = format!("/wait?value=http://127.0.0.1:{}/slow", peer.port);
    for (path, status) in
        [("/error", 500), ("/half", 500), ("/trap", 502), ("/loop", 502), ("/memory", 502), (&slow[..], 504)]
    {
        let begun = Instant::now();
        let (said, text) = curl(&server, &format!("/plugin/web{path}"), &["-i"], None);
        assert_eq!(said, status, "{path}: {text}");
        assert!(text.contains("application/problem+json") && !text.contains("half"), "{text}");
        assert!(!text.contains("secret") && !text.contains("as told"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{path}: {:?}", begun.elapsed());
        assert_eq!(curl(&server, "/plugin/web/version", &[], None), (200, "1".into()), "after {path}");
    }
    let log = server.log();
    for told in ["the secret cause", "kind=\"trap\"", "kind=\"cpu\"", "kind=\"memory\"", "kind=\"deadline\""] {
        assert!(log.contains(told), "{told}: {log}");
    }
    // A failure is no mail: `on_error` has no say.
    for on_error in ["skip", "reject"] {
        let server = start(&format!("{ON}\non_error = '{on_error}'"));
        assert_eq!(curl(&server, "/plugin/web/error", &[], None).0, 500, "{on_error}");
    }
}

/// Plugins that wait, spin and rest take nothing from mail and from the rest of the API.
#[test]
fn nobody_is_held_up() {
    let peer = HttpPeer::start();
    let server =
        start_with(&peer, "cpu = '10s'\ndeadline = '10s'\ninstances = 2\nbreaker = { failures = 3, rest = '1h' }");
    let slow = format!("/plugin/web/wait?value=http://127.0.0.1:{}/slow", peer.port);
    std::thread::scope(|scope| {
        for path in [&slow[..], "/plugin/web/loop", &slow] {
            scope.spawn(|| curl(&server, path, &[], None));
        }
        std::thread::sleep(Duration::from_millis(500));
        for _ in 0..5 {
            let begun = Instant::now();
            let message = json!({"from": "a@b.example", "to": "c@d.example", "text": "t"});
            assert_eq!(send(&server, &message, &[]).0, 200);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    });
    for _ in 0..3 {
        let _ = curl(&server, "/plugin/web/error", &[], None);
    }
    let (status, text) = curl(&server, "/plugin/web/version", &["-i"], None);
    assert!(status == 503 && text.to_lowercase().contains("retry-after:"), "{text}");
    assert_eq!(curl(&server, "/metrics", &[], None).0, 200);
}

#[test]
fn bodies_are_bounded() {
    let server = start(&format!("{ON}\nmemory = '32MiB'"));
    let limit = 4 << 20;
    let (status, _) = curl(&server, "/plugin/web/", &["-X", "POST"], Some(&vec![b'x'; limit]));
    assert_eq!(status, 200);
    for args in [&["-X", "POST"][..], &["-X", "POST", "-H", "Transfer-Encoding: chunked"]] {
        assert_eq!(curl(&server, "/plugin/web/", args, Some(&vec![b'x'; limit + 1])).0, 413, "{args:?}");
    }
}

#[test]
fn who_may_call() {
    let token = |text: &str| Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let user = |name: &str, scope: &str| {
        format!("[[http.user]]\nname = '{name}'\ntoken = '{}'\nscopes = ['{scope}']\n", token(name))
    };
    let shadow = plugin("shadow", &format!("{GRANT}\n{ON}\nshadow = true"));
    let narrow = plugin("narrow", &format!("{GRANT}\n{ON}\nwhen = {{ user = ['other'] }}"));
    let rewriter = root().join("tests/guests/auth-hook/auth-hook.wasm").canonicalize().unwrap();
    let rewriter = format!("[[plugin]]\nname = 'mail'\ncomponent = '{}'\n", rewriter.display());
    let users = ["submit", "impersonate", "read", "admin", "plugin"].map(|scope| user(scope, scope)).concat();
    let server = start(&format!("{GRANT}\n{ON}\n{users}\n{shadow}\n{narrow}\n{rewriter}{}", user("other", "plugin")));
    let get = |path: &str, user: &str| {
        let header = format!("Authorization: Bearer {user}");
        curl(&server, path, &["-H", &header], None)
    };
    assert_eq!(curl(&server, "/plugin/web/", &[], None).0, 401);
    for user in ["submit", "impersonate", "read", "admin"] {
        assert_eq!(get("/plugin/web/", user).0, 403, "{user}");
    }
    let (status, text) = get("/plugin/web/x", "plugin");
    assert_eq!((status, &json(&text)["user"]), (200, &json!("plugin")));
    for none in ["/plugin/none/", "/plugin/mail/", "/plugin/shadow/", "/plugin/narrow/", "/plugin/web%2f/", "/plugin/"]
    {
        assert_eq!(get(none, "plugin").0, 404, "{none}");
    }
    assert_eq!(get("/plugin/narrow/", "other").0, 200);
    assert!(server.log().contains(" SHADOW "));
}

#[test]
fn a_reload_swaps_it() {
    let sink = AioSink::start();
    let version = |text: &str| plugin("web", &format!("{GRANT}\n{ON}\nconfig = {{ version = '{text}' }}"));
    let server = Postern::start(sink.port, &version("one"));
    let rewrite = |plugins: &str| {
        let file = server.dir().join("postern.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let base = text.split("[[plugin]]").next().unwrap();
        std::fs::write(&file, format!("{base}{plugins}")).unwrap();
        assert!(server.command(&["reload", "-c", "postern.toml"]).status.success());
    };
    let get = |name: &str| curl(&server, &format!("/plugin/{name}/version"), &[], None);
    assert_eq!(get("web"), (200, "one".into()));
    rewrite(&version("two"));
    assert_eq!(get("web"), (200, "two".into()));
    rewrite(&version("three").replace("'web'", "'other'"));
    assert_eq!((get("web").0, get("other")), (404, (200, "three".into())));
    rewrite("");
    assert_eq!(get("other").0, 404);
}
