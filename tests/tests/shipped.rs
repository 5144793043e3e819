//! Shipped plugins in the whole server: what their own tests, on the SDK's mock host, can't show. (`rspamd` has a file of
//! its own.)

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, root, wait_for};

/// A server with this plugin.
fn start(sink: &AioSink, name: &str, grants: &str, config: &str) -> Postern {
    let component = root().join(format!("plugins/{name}/{name}.wasm"));
    assert!(component.exists(), "it is missing: run `make plugins`");
    let component = component.display();
    let plugin = format!(
        "[[plugin]]\nname = '{name}'\ncomponent = '{component}'\ngrants = {grants}\n[plugin.config]\n{config}\n"
    );
    Postern::start(sink.port, &plugin)
}

#[test]
fn srs_sends_bounces_back_to_the_sender() {
    let sink = AioSink::start();
    let grants = "{ clock = true, secrets = { secret = 's3cret' } }";
    let server = start(&sink, "srs", grants, "rewrite_domain = 'bounces.test'\nexclude_domains = ['own.test']");
    let mut client = Client::hello(server.port).unwrap();
    let content = "Subject: hi\r\n\r\nbody\r\n";
    for sender in ["ann@a.example", "ann@own.test"] {
        assert_eq!(client.mail(sender, &["bob@b.example"], content).unwrap().code, 250);
    }
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|messages| messages.len() == 2));
    let senders: Vec<&str> = messages.iter().map(|message| message["mail_from"].as_str().unwrap()).collect();
    let rewritten = *senders.iter().find(|sender| sender.starts_with("SRS0=")).unwrap();
    assert!(rewritten.ends_with("=a.example=ann@bounces.test") && senders.contains(&"ann@own.test"), "{senders:?}");

    assert_eq!(client.mail("", &[rewritten], content).unwrap().code, 250);
    let messages = wait_for("the bounce", || Some(sink.messages()).filter(|messages| messages.len() == 3));
    assert_eq!(messages[2]["rcpt_tos"][0], "ann@a.example");
    client.command("MAIL FROM:<>", 2).unwrap();
    let reply = client.command("RCPT TO:<SRS0=AAAA=AA=a.example=eve@bounces.test>", 5).unwrap();
    assert!(reply.lines.join(" ").contains("5.1.1 This is not an SRS address of this server"), "{reply:?}");
}

#[test]
fn rate_guard_counts_over_sessions_and_restarts() {
    let sink = AioSink::start();
    let config = "limits = [{ key = 'peer', limit = 3, window = '1d' }]";
    let mut server = start(&sink, "rate-guard", "{ kv = true }", config);
    let rcpt = |server: &Postern, class: u16| {
        let mut client = Client::hello(server.port).unwrap();
        client.command("MAIL FROM:<a@b.example>", 2).unwrap();
        client.command("RCPT TO:<c@d.example>", class).unwrap().lines.join(" ")
    };
    rcpt(&server, 2);
    rcpt(&server, 2);
    // Counters are written when the server stops.
    server.terminate();
    server.restart();
    rcpt(&server, 2);
    for _ in 0..2 {
        assert!(rcpt(&server, 4).contains("4.7.1 Rate limit exceeded"));
    }
}
