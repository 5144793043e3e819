//! The plugin `rspamd` in the whole server, with a real Rspamd: each of its actions on the wire and in the message.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, Reply, Rspamd, free_port, root, wait_for};

fn plugin(url: &str, keys: &str, config: &str) -> String {
    let component = root().join("plugins/rspamd/rspamd.wasm");
    assert!(component.exists(), "it is missing: run `make plugins`");
    format!(
        "[[plugin]]\nname = 'rspamd'\ncomponent = '{}'\ndeadline = '30s'\n\
         grants = {{ http = ['{url}'], secrets = {{}} }}\n{keys}\n\
         [plugin.config]\nurl = '{url}'\nmta_name = 'mx.test'\n{config}\n",
        component.display()
    )
}

/// What the server says to a message with this body.
fn send(server: &Postern, body: &str) -> Reply {
    let content = format!(
        "From: Ann <ann@a.example>\r\nSubject: hi\r\nX-Remove-Me: 1\r\nX-Zone-Spam-Status: No\r\n\r\n{body}\r\n"
    );
    Client::hello(server.port).unwrap().mail("ann@a.example", &["bob@b.example", "cy@c.example"], &content).unwrap()
}

fn said(reply: &Reply) -> String {
    format!("{} {}", reply.code, reply.lines.join(" "))
}

/// The message that arrives when one with this body is sent: its header block, unfolded.
fn header_of(server: &Postern, sink: &AioSink, body: &str) -> String {
    let before = sink.messages().len();
    let reply = send(server, body);
    assert_eq!(reply.code, 250, "{reply:?}");
    let messages = wait_for("the message", || Some(sink.messages()).filter(|messages| messages.len() > before));
    let content = messages.last().unwrap()["content"].as_str().unwrap().to_owned();
    let (header, rest) = content.split_once("\r\n\r\n").unwrap();
    assert_eq!(rest, format!("{body}\r\n"));
    header.replace("\r\n ", " ").replace("\r\n\t", " ")
}

#[test]
fn each_action_has_its_effect() {
    let (rspamd, sink) = (Rspamd::start(), AioSink::start());
    let server = Postern::start(sink.port, &plugin(&rspamd.url(), "", ""));
    for (body, expected) in [
        ("marker-reject", "550 5.7.1 This message was classified as SPAM and may not be delivered"),
        ("marker-text", "550 5.7.1 The marker was found"),
        ("marker-soft", "451 4.7.1 Try again later"),
        ("marker-greylist", "451 4.7.1 Try again later"),
    ] {
        assert_eq!(said(&send(&server, body)), expected, "{body}");
    }
    assert_eq!(sink.messages().len(), 0);
    for (body, lines) in [
        (
            "nothing",
            [
                "X-Zone-Spam-Resolution: no action",
                "X-Zone-Spam-Status: No, score=0.00, required=15.00, tests=[]",
                "Subject: hi",
            ],
        ),
        (
            "marker-header",
            [
                "X-Zone-Spam-Resolution: add header",
                "X-Zone-Spam-Status: Yes, score=7.00, required=15.00, tests=[POSTERN_HEADER=7.00]",
                "X-Spam-Level: *******",
            ],
        ),
        (
            "marker-subject",
            [
                "X-Zone-Spam-Resolution: rewrite subject",
                "X-Zone-Spam-Status: Yes, score=11.00, required=15.00, tests=[POSTERN_SUBJECT=11.00]",
                "Subject: *** SPAM *** hi",
            ],
        ),
    ] {
        let header = header_of(&server, &sink, body);
        for line in lines.into_iter().chain(["Authentication-Results: mx.test; none"]) {
            assert_eq!(header.lines().filter(|other| *other == line).count(), 1, "{line:?} in\n{header}");
        }
        assert!(!header.contains("X-Remove-Me") && header.matches("X-Zone-Spam-Status").count() == 1, "{header}");
    }
    server.wait_log("action=\"add header\" treatment=accept symbols=[POSTERN_HEADER=7.00]", 1);
}

#[test]
fn rspamd_knows_the_envelope_and_gets_the_whole_message() {
    let (rspamd, sink) = (Rspamd::start(), AioSink::start());
    let config = plugin(&rspamd.url(), "", "actions = { reject = 'hold' }\nmax_size = '60MiB'");
    let server = Postern::start_with(sink.port, "max_size = '60MiB'", "", &config);
    // The marker is behind 50 MiB, more than thrice of what the plugin may have in memory.
    let line = format!("{}\r\n", "x".repeat(1022));
    let reply = send(&server, &(line.repeat(50 << 10) + "marker-reject"));
    assert_eq!(reply.code, 250, "{reply:?}");
    let queue = server.queue();
    assert_eq!(queue.len(), 2, "{queue:?}");
    let id = queue[0]["id"].as_str().unwrap();
    let log = wait_for("Rspamd's log", || Some(rspamd.log()).filter(|log| log.contains("[POSTERN_REJECT(")));
    let line = log.lines().find(|line| line.contains("[POSTERN_REJECT(")).unwrap();
    for part in [
        format!("qid: <{id}>"),
        "ip: 127.0.0.1".to_owned(),
        "from: <ann@a.example>".to_owned(),
        "rcpts: <bob@b.example,cy@c.example>".to_owned(),
    ] {
        assert!(line.contains(&part), "{part:?} in {line}");
    }
    assert_eq!(sink.messages().len(), 0);
    let socket = server.data().join("control.sock");
    let view =
        postern_tests::run("curl", &["-s", "--unix-socket", socket.to_str().unwrap(), "http://p/api/v1/plugins"]);
    let view: serde_json::Value = serde_json::from_slice(&view.stdout).unwrap();
    let peak = view["plugins"][0]["memory_peak"].as_u64().unwrap();
    assert!(peak < 4 << 20, "the content does not enter the plugin: {peak} octets");
}

#[test]
fn without_rspamd_on_error_decides() {
    let sink = AioSink::start();
    let url = format!("http://127.0.0.1:{}", free_port());
    let server = Postern::start(sink.port, &plugin(&url, "", ""));
    assert_eq!(send(&server, "marker-reject").code, 451);
    let server = Postern::start(sink.port, &plugin(&url, "on_error = 'skip'", ""));
    let header = header_of(&server, &sink, "marker-reject");
    // A failed call leaves nothing, not even what it took away.
    assert!(header.contains("X-Zone-Spam-Status: No") && !header.contains("X-Zone-Spam-Resolution"), "{header}");
}
