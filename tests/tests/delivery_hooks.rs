//! The hooks of delivery in the whole server: each verdict has its effect on the wire, in the queue and in the log. The
//! plugin is `tests/guests/delivery-hooks`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, HashSink, Postern, Setup, Tap, TlsSetup, TlsSink, root, wait_for};
use serde_json::Value;

/// The table of a plugin with this tag, more of its config and more keys.
fn plugin(tag: &str, config: &str, keys: &str) -> String {
    let component = root().join("tests/guests/delivery-hooks/delivery-hooks.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    let component = component.display();
    format!("[[plugin]]\nname = '{tag}'\ncomponent = '{component}'\nconfig = {{ tag = '{tag}', {config} }}\n{keys}\n")
}

fn elsewhere(port: u16) -> String {
    format!("elsewhere = '127.0.0.1:{port}'")
}

fn submit(server: &Postern, to: &str, subject: &str) {
    let content = format!("Subject: {subject}\r\n\r\nbody\r\n");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &[to], &content).unwrap().code, 250);
}

/// Waits until so many messages have come, and gives the last one.
fn arrives(sink: &AioSink, count: usize) -> Value {
    wait_for("a message", || Some(sink.messages()).filter(|all| all.len() >= count))[count - 1].clone()
}

fn text<'v>(message: &'v Value, key: &str) -> &'v str {
    message[key].as_str().unwrap()
}

const TWO: &str = "[pool.default]\naddresses = [{ ip = '127.0.0.2', helo = 'two.example.com' }, \
                   { ip = '127.0.0.3', helo = 'three.example.com' }]\n";

#[test]
fn the_source_is_chosen_and_connections_are_kept_apart() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &format!("{TWO}{}", plugin("one", "", "")));
    // Of these, the pool alone gives some to each address.
    for n in 1..=8_usize {
        submit(&server, &format!("user{}@example.org", n.div_ceil(2)), if n % 2 == 0 { "from-3" } else { "plain" });
        arrives(&sink, n);
    }
    let messages = sink.messages();
    let (plain, chosen): (Vec<&Value>, Vec<&Value>) =
        messages.iter().partition(|message| text(message, "content").contains("Subject: plain"));
    assert!(plain.iter().any(|message| text(message, "peer") == "127.0.0.2"), "{plain:?}");
    for message in chosen {
        assert_eq!((text(message, "peer"), text(message, "helo")), ("127.0.0.3", "three.example.com"));
        assert!(text(message, "content").contains(" from 127.0.0.3,127.0.0.2"), "{message}");
    }
    submit(&server, "user1@example.org", "from-9");
    assert!(text(&arrives(&sink, 9), "content").contains("X-Refused: not-found"), "it is not one of the pool's");
}

#[test]
fn header_fields_stand_above_the_message_and_count() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &plugin("one", "", ""));
    submit(&server, "bob@example.org", "long");
    let message = arrives(&sink, 1);
    let content = text(&message, "content");
    let top = format!("X-Before: one 0 of 1 to 127.0.0.1:{} opportunistic", sink.port);
    assert!(content.starts_with(&top), "{content}");
    let (above, rest) = content.split_at(content.find("Received: ").unwrap());
    assert!(above.contains("\r\nX-Long: word word ") && above.len() > 10_000);
    assert!(rest.ends_with("\r\n\r\nbody\r\n"), "{rest}");
    let changed = server.wait_log(" CHANGED ", 1);
    assert!(changed[0].contains("plugin=\"one@") && changed[0].contains("add X-Long; add X-Before"), "{changed:?}");
}

#[test]
fn what_is_put_on_top_counts_in_the_size_that_is_announced() {
    let sink = HashSink::start(0);
    let tap = Tap::start(sink.port);
    let server = Postern::start(tap.port, &plugin("one", "", ""));
    submit(&server, "bob@example.org", "long");
    server.wait_log(" ACCEPTED ", 1);
    let sent = String::from_utf8(tap.sent()[0].clone()).unwrap();
    let (commands, content) = sent.split_once("DATA\r\n").unwrap();
    let content = &content[..content.find("\r\n.\r\n").unwrap() + 2];
    assert!(content.len() > 10_000 && content.starts_with("X-Before: "));
    assert!(commands.contains(&format!("MAIL FROM:<ann@example.com> SIZE={}", content.len())), "{commands}");
}

#[test]
fn an_attempt_goes_elsewhere_and_the_next_one_does_not() {
    let (sink, other) = (AioSink::start(), AioSink::start());
    let server = Postern::start(sink.port, &plugin("one", &elsewhere(other.port), ""));
    for n in 1..=3 {
        submit(&server, "bob@example.org", "plain");
        arrives(&sink, n);
        submit(&server, "bob@example.org", "elsewhere");
        arrives(&other, n);
    }
    assert_eq!((sink.messages().len(), other.messages().len()), (3, 3));
    assert!(text(&arrives(&other, 1), "content").contains(&format!(" to 127.0.0.1:{} ", other.port)));
    let accepted = server.wait_log(" ACCEPTED ", 6);
    let mx = format!("mx=\"127.0.0.1[127.0.0.1]:{}\"", other.port);
    assert_eq!(accepted.iter().filter(|line| line.contains(&mx)).count(), 3, "{accepted:?}");
}

#[test]
fn a_next_hop_that_a_plugin_chose_gets_no_password_and_does_not_let_the_queue_rest() {
    let (sink, other) = (
        TlsSink::start(TlsSetup { name: "127.0.0.1", mechanisms: &["PLAIN"] }),
        TlsSink::start(TlsSetup { name: "127.0.0.1", mechanisms: &["PLAIN"] }),
    );
    let zone = format!(
        "smart_host = {{ host = '127.0.0.1', port = {}, tls = 'require', user = 'app', password = 'open sesame' }}",
        sink.port
    );
    let config = plugin("one", &elsewhere(other.port), "");
    let server = Postern::start_zone(Setup { zone, config, ..Setup::default() });
    submit(&server, "bob@example.org", "elsewhere");
    let deferred = server.wait_log(" DEFERRED ", 1);
    assert!(deferred[0].contains("530"), "it wants AUTH: {deferred:?}");
    assert_eq!(other.logins(), Vec::<String>::new());
    // With credentials, TLS gets no weaker; without them, it is the plugin's choice.
    submit(&server, "bob@example.org", "clear");
    let messages = wait_for("a message", || Some(sink.messages()).filter(|all| !all.is_empty()));
    assert_eq!((messages[0]["tls"].as_bool(), text(&messages[0], "login")), (Some(true), "app"));
    assert!(text(&messages[0], "content").contains("X-Refused: bad-value"), "{messages:?}");
    submit(&server, "bob@example.org", "elsewhere clear");
    let deferred = server.wait_log(" DEFERRED ", 2);
    assert!(deferred[1].contains("Must issue a STARTTLS command first"), "{deferred:?}");
    submit(&server, "bob@example.org", "plain");
    wait_for("another message", || (sink.messages().len() == 2).then_some(()));
}

#[test]
fn tls_is_asked_for_or_not() {
    let sink = TlsSink::start(TlsSetup { name: "127.0.0.1", mechanisms: &[] });
    let server = Postern::start(sink.port, &plugin("one", "", ""));
    // The sink takes mail over TLS alone, so a connection that is used again would show.
    for n in 1..=3 {
        submit(&server, "bob@example.org", "plain");
        wait_for("a message", || (sink.messages().len() == n).then_some(()));
        submit(&server, "bob@example.org", "clear");
        let deferred = server.wait_log(" DEFERRED ", n);
        assert!(deferred[n - 1].contains("Must issue a STARTTLS command first"), "{deferred:?}");
    }
    let plain = AioSink::start();
    let server = Postern::start(plain.port, &plugin("one", "", ""));
    submit(&server, "bob@example.org", "plain");
    arrives(&plain, 1);
    submit(&server, "bob@example.org", "secure");
    let deferred = server.wait_log(" DEFERRED ", 1);
    assert!(deferred[0].contains("does not offer TLS, which is required"), "{deferred:?}");
    submit(&server, "bob@example.org", "plain");
    arrives(&plain, 2);
}

#[test]
fn decisions_instead_of_an_attempt() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &plugin("one", "", ""));
    submit(&server, "bob@example.org", "defer");
    let deferred = server.wait_log(" DEFERRED ", 1);
    let said = "reason=\"one says not today (plugin one@0.1.0, hook delivery-before)\"";
    assert!(deferred[0].contains(said) && deferred[0].contains("attempts=1"), "{deferred:?}");
    let queue = server.queue();
    assert_eq!((queue.len(), &queue[0]["attempts"]), (1, &1.into()), "{queue:?}");
    assert!(sink.messages().is_empty());
    submit(&server, "bob@example.org", "bounce");
    let rejected = server.wait_log(" REJECTED ", 1);
    assert!(rejected[0].contains("status=5.7.9") && rejected[0].contains("554 5.7.9 Not this one"), "{rejected:?}");
    assert!(rejected[0].contains("plugin one@0.1.0") && rejected[0].contains("dsn=true"), "{rejected:?}");
    let dsn = arrives(&sink, 1);
    assert_eq!(dsn["rcpt_tos"][0], "ann@example.com");
    let content = text(&dsn, "content");
    assert!(content.contains("Diagnostic-Code: smtp; 554 5.7.9 Not this one\r\n"), "{content}");
    assert!(content.contains("Status: 5.7.9\r\n") && !content.contains("Remote-MTA"), "{content}");
}

#[test]
fn a_plugin_that_fails_never_bounces_mail() {
    for (on_error, goes) in [("defer", false), ("reject", false), ("skip", true)] {
        let sink = AioSink::start();
        let first = plugin("one", "", &format!("on_error = '{on_error}'"));
        let server = Postern::start(sink.port, &format!("{first}{}", plugin("two", "", "on_error = 'skip'")));
        for (n, subject) in ["refuse", "trap", "wrong"].into_iter().enumerate() {
            submit(&server, "bob@example.org", subject);
            if goes {
                let message = arrives(&sink, n + 1);
                assert!(!text(&message, "content").contains("X-Before"), "a failed call leaves no edits: {message}");
            } else {
                let deferred = server.wait_log(" DEFERRED ", n + 1);
                assert!(deferred[n].contains("local error in processing (plugin one@0.1.0"), "{deferred:?}");
            }
        }
        submit(&server, "bob@example.org", "plain");
        arrives(&sink, if goes { 4 } else { 1 });
        assert!(server.log_lines(" REJECTED ").is_empty());
    }
}

#[test]
fn the_second_plugin_sees_what_the_first_did() {
    let (sink, other) = (AioSink::start(), AioSink::start());
    let both = [plugin("first", &elsewhere(other.port), ""), plugin("second", &elsewhere(other.port), "")].concat();
    let server = Postern::start(sink.port, &both);
    submit(&server, "bob@example.org", "elsewhere");
    let message = arrives(&other, 1);
    let content = text(&message, "content");
    let fields: Vec<&str> = content.split("X-Before: ").skip(1).map(|field| field.split(' ').next().unwrap()).collect();
    assert_eq!(fields, ["second", "first"], "the last one stands on top");
    // What says first that it does not begin, ends the asking.
    submit(&server, "bob@example.org", "defer");
    assert!(server.wait_log(" DEFERRED ", 1)[0].contains("first says not today"));
}

#[test]
fn failures_are_judged() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &plugin("one", "", ""));
    // Refused for good, and tried again.
    submit(&server, "perm-mercy@example.org", "plain");
    let deferred = server.wait_log(" DEFERRED ", 1);
    assert!(deferred[0].contains("status=4.1.1") && deferred[0].contains("550 5.1.1"), "{deferred:?}");
    assert!(server.log_lines("FAILED ")[0].contains("FAILED perm-mercy@example.org 001 bounce 5.1.1 recipient 1 550"));
    assert!(server.wait_log(" CHANGED ", 2)[1].contains("what=\"perm-mercy@example.org: defer\""));
    assert_eq!(server.queue().len(), 1);
    // Refused for now, and returned.
    submit(&server, "temp-strict@example.org", "plain");
    let rejected = server.wait_log(" REJECTED ", 1);
    assert!(rejected[0].contains("status=5.2.1") && rejected[0].contains("expired=false"), "{rejected:?}");
    let dsn = arrives(&sink, 1);
    assert!(text(&dsn, "content").contains("Status: 5.2.1\r\n"), "{dsn}");
    // Its sender is not told.
    submit(&server, "perm-quiet@example.org", "plain");
    assert!(server.wait_log(" REJECTED ", 2)[1].contains("dsn=false"));
    // A call that fails leaves nothing.
    submit(&server, "perm-quiet-broken@example.org", "plain");
    assert!(server.wait_log(" REJECTED ", 3)[2].contains("dsn=true"));
    assert_eq!(arrives(&sink, 2)["rcpt_tos"][0], "ann@example.com");
    // Two recipients of one message, each for itself.
    let mut client = Client::hello(server.port).unwrap();
    let to = ["perm-quiet@example.org", "perm@example.org", "temp@example.org"];
    assert_eq!(client.mail("ann@example.com", &to, "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);
    let rejected = server.wait_log(" REJECTED ", 5);
    let dsn = |to: &str| rejected[3..].iter().find(|line| line.contains(&format!("to=\"{to}\""))).unwrap();
    assert!(dsn(to[0]).contains("dsn=false") && dsn(to[1]).contains("dsn=true"), "{rejected:?}");
    let told = arrives(&sink, 3);
    let told = text(&told, "content");
    assert!(told.contains("Final-Recipient: rfc822; perm@example.org") && !told.contains("; perm-quiet@"), "{told}");
    assert_eq!(server.queue().len(), 2);
}

#[test]
fn what_is_too_old_is_not_deferred_for_ever() {
    let sink = AioSink::start();
    let config = format!("[queue]\nmax_age = '3s'\nretry = ['1s']\n{}", plugin("one", "", ""));
    let server = Postern::start(sink.port, &config);
    submit(&server, "temp-mercy@example.org", "plain");
    submit(&server, "perm-mercy@example.org", "plain");
    let rejected = server.wait_log(" REJECTED ", 2);
    let of = |to: &str| rejected.iter().find(|line| line.contains(to)).unwrap();
    assert!(of("temp-mercy").contains("expired=true") && of("perm-mercy").contains("expired=false"), "{rejected:?}");
    let refused = server.log_lines("NOT DEFERRED ");
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|line| line.contains("not-now")), "{refused:?}");
    assert!(server.log_lines("FAILED temp-mercy@example.org 001 expire 4.2.1").len() == 1);
    server.wait_empty();
}

#[test]
fn what_is_delivered_does_not_wait_for_plugins() {
    let sink = AioSink::start();
    let slow = plugin("one", "", "cpu = '50s'\ndeadline = '55s'");
    let mut server = Postern::start(sink.port, &slow);
    let mut client = Client::hello(server.port).unwrap();
    let to = ["bob@example.org", "perm-slow@example.org"];
    assert_eq!(client.mail("", &to, "Subject: plain\r\n\r\nbody\r\n").unwrap().code, 250);
    // The plugin is asked about the one that failed; the other is out of the queue meanwhile.
    let left = wait_for("one recipient", || Some(server.queue()).filter(|rows| rows.len() == 1));
    assert_eq!((&left[0]["recipient"], &left[0]["state"]), (&"perm-slow@example.org".into(), &"attempt".into()));
    server.kill();
    let toml = server.dir().join("postern.toml");
    let config = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, config.split("[[plugin]]").next().unwrap()).unwrap();
    server.restart();
    server.wait_empty();
    assert_eq!(sink.messages().len(), 1, "nothing was delivered twice");
}
