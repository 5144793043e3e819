//! The hook `auth` in the whole server: each verdict and each failure on the wire, tokens, and what the user then is for
//! other plugins. The plugin is `tests/guests/auth-hook`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, python, root, wait_for};

fn start(sink: &AioSink, keys: &str) -> Postern {
    let component = root().join("tests/guests/auth-hook/auth-hook.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    let component = component.display();
    let config = format!("[[plugin]]\nname = 'auth'\ncomponent = '{component}'\n{keys}\n");
    Postern::start_with(sink.port, "auth = 'required'\nauth_failures = 100", "", &config)
}

/// One line of AUTH, in a session of its own: the reply.
fn auth(server: &Postern, mechanism: &str, response: &str) -> String {
    let mut client = Client::hello(server.port).unwrap();
    said(&mut client, &format!("AUTH {mechanism} {response}"))
}

fn said(client: &mut Client, line: &str) -> String {
    client.send(format!("{line}\r\n").as_bytes()).unwrap();
    let reply = client.reply().unwrap();
    format!("{} {}", reply.code, reply.lines.join(" "))
}

/// In base64, as the tests' own client needs it.
fn base64(text: &str) -> String {
    let program = "import base64, sys; print(base64.b64encode(eval(sys.argv[1]).encode()).decode(), end='')";
    python(program, &[&format!("{text:?}").replace("\\0", "\\x00").replace("\\u{1}", "\\x01")])
}

fn plain(user: &str, password: &str) -> String {
    base64(&format!("\0{user}\0{password}"))
}

#[test]
fn each_verdict_and_each_failure() {
    let sink = AioSink::start();
    let server = start(&sink, "");
    for (user, expected) in [
        ("good", "235 2.7.0 "),
        ("bad", "535 5.7.8 Not here"),
        ("weak", "534 5.7.9 Too weak"),
        ("unknown", "535 5.7.8 Authentication failed"),
        ("wrong-class", "454 4.7.0 "),
        ("error", "454 4.7.0 "),
        ("trap", "454 4.7.0 "),
        ("nameless", "454 4.7.0 "),
    ] {
        let reply = auth(&server, "PLAIN", &plain(user, "right"));
        assert!(reply.starts_with(expected), "{user}: {reply}");
    }
    let log = server.log();
    assert!(log.contains("the directory is gone") && !log.contains("right"), "{log}");
}

/// Whatever goes wrong ends closed, whatever `on_error` says.
#[test]
fn a_failure_is_never_skipped() {
    let sink = AioSink::start();
    for on_error in ["skip", "reject", "defer"] {
        let server = start(&sink, &format!("on_error = '{on_error}'"));
        let reply = auth(&server, "PLAIN", &plain("error", "x"));
        assert!(reply.starts_with("454 4.7.0 "), "{on_error}: {reply}");
    }
}

#[test]
fn a_shadow_lets_nobody_in() {
    let sink = AioSink::start();
    let server = start(&sink, "shadow = true");
    let reply = auth(&server, "PLAIN", &plain("good", "right"));
    assert!(reply.starts_with("535 "), "{reply}");
    server.wait_log(" SHADOW ", 1);
}

#[test]
fn tokens() {
    let sink = AioSink::start();
    let server = start(&sink, "");
    let mut client = Client::connect(server.port).unwrap();
    client.expect(2).unwrap();
    let hello = client.command("EHLO client.example", 2).unwrap();
    assert!(hello.lines.iter().any(|line| line == "AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"), "{hello:?}");
    let refused = base64("user=app\u{1}auth=Bearer stolen\u{1}\u{1}");
    assert!(said(&mut client, &format!("AUTH XOAUTH2 {refused}")).starts_with("334 eyJ"));
    assert!(said(&mut client, "").starts_with("535 5.7.8 No such token"));
    let bearer = base64("n,a=app,\u{1}host=h\u{1}auth=Bearer token-of-app\u{1}\u{1}");
    assert!(said(&mut client, &format!("AUTH OAUTHBEARER {bearer}")).starts_with("235 "));
    let xoauth2 = base64("user=app\u{1}auth=Bearer token-of-app\u{1}\u{1}");
    assert!(auth(&server, "XOAUTH2", &xoauth2).starts_with("235 "));
}

/// The user and the notes of the hook are the messages'; `when.user` narrows other plugins to him.
#[test]
fn what_the_user_is_for() {
    let sink = AioSink::start();
    let component = root().join("tests/guests/auth-hook/auth-hook.wasm").display().to_string();
    let narrowed =
        format!("[[plugin]]\nname = 'narrowed'\ncomponent = '{component}'\nwhen = {{ user = ['account-good'] }}");
    let server = start(&sink, &narrowed);
    for (response, user) in [(plain("good", "right"), "account-good"), (base64("boss\0deputy\0x"), "boss")] {
        let mut client = Client::hello(server.port).unwrap();
        assert!(said(&mut client, &format!("AUTH PLAIN {response}")).starts_with("235 "));
        let content = format!("Subject: {user}\r\n\r\nbody\r\n");
        assert_eq!(client.mail("a@b.example", &["c@d.example"], &content).unwrap().code, 250);
    }
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|all| all.len() == 2));
    for message in messages {
        let content = message["content"].as_str().unwrap();
        let user = if content.contains("Subject: boss") { "boss" } else { "account-good" };
        let field = format!("X-User: {user} by PLAIN with ESMTPA\r\n");
        let calls = if user == "boss" { 1 } else { 2 };
        assert_eq!(content.matches(&field).count(), calls, "{content}");
        assert!(content.contains(&format!("(Authenticated sender: {user}) with ESMTPA id")), "{content}");
    }
    assert_eq!(server.log_lines(" AUTHENTICATED ").len(), 2);
}
