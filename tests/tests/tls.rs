//! TLS and AUTH towards a smart host that we did not write: aiosmtpd, over OpenSSL.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, Setup, TlsSetup, TlsSink, wait_for};

const CONTENT: &str = "From: ann@example.com\r\nSubject: over TLS\r\n\r\nsecret body\r\n";
const PASSWORD: &str = "user = 'app', password = 'open sesame'";

/// A server whose smart host is on `port`, with these keys more.
fn server(port: u16, smart_host: &str, config: &str) -> Postern {
    let zone = format!("[zone.default.smart_host]\nhost = '127.0.0.1'\nport = {port}\n{}", lines(smart_host));
    Postern::start_zone(Setup { zone, config: config.to_owned(), ..Setup::default() })
}

/// Keys of an inline table, as lines.
fn lines(keys: &str) -> String {
    keys.replace(", ", "\n")
}

fn send(server: &Postern) {
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &["bob@d.example"], CONTENT).unwrap().code, 250);
}

/// The one message that the sink gets.
fn arrives(sink: &TlsSink) -> serde_json::Value {
    let messages = wait_for("the message", || Some(sink.messages()).filter(|messages| !messages.is_empty()));
    assert_eq!(messages.len(), 1);
    assert!(messages[0]["content"].as_str().unwrap().ends_with("\r\n\r\nsecret body\r\n"), "{}", messages[0]);
    messages[0].clone()
}

/// The reason why the message waits, as the log says it; nothing has arrived.
fn waits(server: &Postern, sink: &TlsSink) -> String {
    let lines = server.wait_log(" DEFERRED ", 1);
    assert_eq!(sink.messages(), Vec::<serde_json::Value>::new());
    assert_eq!(server.queue().len(), 1);
    lines[0].clone()
}

#[test]
fn starttls_and_both_mechanisms() {
    for (tls, mechanism) in [("opportunistic", "PLAIN"), ("require", "LOGIN"), ("verify", "PLAIN")] {
        let sink = TlsSink::start(TlsSetup { name: "127.0.0.1", mechanisms: &[mechanism] });
        let roots = format!("[tls]\nroots = '{}'", sink.ca().display());
        let server = server(sink.port, &format!("tls = '{tls}', {PASSWORD}"), &roots);
        send(&server);
        let message = arrives(&sink);
        assert_eq!((message["tls"].as_bool(), message["login"].as_str()), (Some(true), Some("app")), "{message}");
        assert_eq!(sink.logins(), [format!("{mechanism} tls=True")]);
        server.wait_empty();
        assert!(!server.log().contains("sesame"), "the password is in the log");
    }
}

#[test]
fn a_wrong_password_waits_for_the_operator() {
    let sink = TlsSink::start(TlsSetup { name: "127.0.0.1", mechanisms: &["PLAIN"] });
    let server = server(sink.port, "tls = 'require', user = 'app', password = 'close sesame'", "");
    send(&server);
    let line = waits(&server, &sink);
    assert!(line.contains("535 5.7.8"), "{line}");
    assert!(!server.log().contains("sesame"), "the password is in the log");
}

#[test]
fn a_password_from_a_file_in_clear_where_tls_is_off() {
    let sink = TlsSink::start(TlsSetup { name: "", mechanisms: &["LOGIN", "PLAIN"] });
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "open sesame\n").unwrap();
    let password = format!("user = 'app', password = {{ file = '{}' }}", secret.path().display());
    let off = server(sink.port, &format!("tls = 'off', {password}"), "");
    send(&off);
    assert_eq!(arrives(&sink)["login"], "app");
    assert_eq!(sink.logins(), ["PLAIN tls=False"]);
}

/// No TLS is offered: the password is not sent, whatever the mode but `off`.
#[test]
fn no_password_in_clear_because_tls_is_not_offered() {
    for tls in ["opportunistic", "require", "verify"] {
        let sink = TlsSink::start(TlsSetup { name: "", mechanisms: &["PLAIN"] });
        let server = server(sink.port, &format!("tls = '{tls}', {PASSWORD}"), "");
        send(&server);
        let line = waits(&server, &sink);
        assert!(line.contains("TLS"), "{line}");
        assert!(sink.logins().is_empty(), "{:?}", sink.logins());
    }
}

/// A certificate of an unknown CA, or for another name, will do where none has to be valid; under `verify` the mail
/// waits. The zone's mode holds where the smart host has none.
#[test]
fn certificates_count_under_verify_alone() {
    for (name, trusted, verified) in
        [("127.0.0.1", true, true), ("127.0.0.1", false, false), ("other.example", true, false)]
    {
        for tls in ["opportunistic", "require", "verify"] {
            let sink = TlsSink::start(TlsSetup { name, mechanisms: &[] });
            let roots = if trusted { format!("[tls]\nroots = '{}'", sink.ca().display()) } else { String::new() };
            let zone = format!("tls = '{tls}'\nsmart_host = {{ host = '127.0.0.1', port = {} }}", sink.port);
            let server = Postern::start_zone(Setup { zone, config: roots, ..Setup::default() });
            send(&server);
            if verified || tls != "verify" {
                assert_eq!(arrives(&sink)["tls"], true, "{name} {tls}");
            } else {
                let line = waits(&server, &sink);
                assert!(line.contains("no certificate that is valid"), "{line}");
            }
        }
    }
}

/// Without STARTTLS the mail goes in clear or not at all.
#[test]
fn in_clear_or_not_at_all() {
    let sink = AioSink::start();
    for tls in ["require", "verify"] {
        let server = server(sink.port, &format!("tls = '{tls}'"), "");
        send(&server);
        let line = &server.wait_log(" DEFERRED ", 1)[0];
        assert!(line.contains("does not offer TLS"), "{line}");
        assert!(sink.messages().is_empty());
    }
    let server = server(sink.port, "tls = 'opportunistic'", "");
    send(&server);
    wait_for("the message", || (sink.messages().len() == 1).then_some(()));
    server.wait_empty();
}
