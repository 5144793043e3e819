//! What plugins may use of the server, in the whole server and against real peers. The plugin is
//! `tests/guests/capabilities`: each X-Do field of a message is a command, each X-Done its result.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Dnsmasq, HttpPeer, Postern, Setup, check, root, wait_for};

fn plugin(keys: &str) -> String {
    let component = root().join("tests/guests/capabilities/capabilities.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    format!("[[plugin]]\nname = 'capable'\ncomponent = '{}'\n{keys}\n", component.display())
}

/// Every grant; the origins are those of these peers.
fn grants(peers: &[&HttpPeer]) -> String {
    let origins: Vec<String> = peers.iter().map(|peer| format!("'http://127.0.0.1:{}'", peer.port)).collect();
    format!(
        "grants = {{ http = [{}], kv = '4KiB', dns = true, clock = true, random = true, \
         secrets = {{ key = {{ file = 'secret' }}, other = 'text' }} }}",
        origins.join(", ")
    )
}

/// A server with the plugin, whose secret is there.
fn start(sink: &AioSink, keys: &str, config: &str) -> Postern {
    let config = format!("{config}\n{}", plugin(keys));
    let mut server = Postern::prepare(sink.port, Setup { config, ..Setup::default() });
    std::fs::write(server.dir().join("secret"), "s3cret\n").unwrap();
    server.restart();
    server
}

/// Sends a message with these commands and gives their results.
fn run(server: &Postern, sink: &AioSink, commands: &[&str], body: &str) -> Vec<String> {
    let before = sink.messages().len();
    let mut header = String::from("From: a@b.example\r\nSubject: x\r\n");
    for command in commands {
        header += &format!("X-Do: {command}\r\n");
    }
    let mut client = Client::hello(server.port).unwrap();
    let reply = client.mail("a@b.example", &["c@d.example"], &format!("{header}{body}")).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() > before));
    let content = messages.last().unwrap()["content"].as_str().unwrap().replace("\r\n ", " ");
    content.lines().filter_map(|line| line.strip_prefix("X-Done: ")).map(str::to_owned).collect()
}

#[test]
fn http_requests_reach_what_is_granted_and_nothing_else() {
    let (sink, peer, other) = (AioSink::start(), HttpPeer::start(), HttpPeer::start());
    let server = start(&sink, &(grants(&[&peer]) + "\ndeadline = '2s'\non_error = 'skip'"), "");
    let away = format!("/redirect?{}", other.url("/echo"));
    let near = format!("/redirect?{}", peer.url("/status/418"));
    let circle = format!("/redirect?{}", peer.url("/redirect?/redirect"));
    let commands = [
        format!("post {} hello", peer.url("/echo")),
        format!("get {} X-Test", peer.url("/echo")),
        format!("get {}", peer.url(&near)),
        format!("get {}", peer.url(&away)),
        format!("get {}", other.url("/echo")),
        format!("get {}", peer.url(&circle)),
        format!("get {}", peer.url("/endless")),
        format!("get {}", peer.url("/header")),
        format!("get {}", peer.url("/cut")),
        format!("get-in {} 200", peer.url("/slow")),
        format!("get-in {} 200", peer.url("/drip")),
        "get http://127.0.0.1:1/".to_owned(),
        "get file:///etc/passwd".to_owned(),
    ];
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let done = run(&server, &sink, &commands, "\r\nbody\r\n");
    let check = |at: usize, part: &str| assert!(done[at].contains(part), "{}: {}", commands[at], done[at]);
    check(0, "200 75 5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 a plugin");
    check(1, "200 yes");
    check(2, "418 6 status");
    check(3, "error denied: the grant `http` does not have");
    check(4, "error denied: ");
    check(5, "error ");
    check(6, "error too-large: ");
    check(7, "message head is too large");
    check(8, "error unavailable: ");
    check(9, "error timeout: ");
    check(10, "error timeout: ");
    check(11, "error denied: ");
    check(12, "error bad-value: ");
    let count = String::from_utf8(postern_tests::run("curl", &["-s", &other.url("/count")]).stdout).unwrap();
    assert_eq!(count, "0", "nothing may reach what is not granted");
    let served: u64 =
        String::from_utf8(postern_tests::run("curl", &["-s", &peer.url("/count")]).stdout).unwrap().parse().unwrap();
    assert!((10..30).contains(&served), "{served}");
}

#[test]
fn messages_and_parts_are_request_bodies() {
    let (sink, peer) = (AioSink::start(), HttpPeer::start());
    let server = start(&sink, &grants(&[&peer]), "");
    let body = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
                text\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                aGVsbG8=\r\n--b--\r\n";
    let part = format!("post-part {} 1", peer.url("/echo"));
    let message = format!("post-message {}", peer.url("/echo"));
    let done = run(&server, &sink, &[&part, &message], body);
    assert!(done[0].contains(" 5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 "), "{done:?}");
    let size: usize = done[1].split(' ').nth(2).unwrap().parse().unwrap();
    assert!(size > body.len() + 100 && size < body.len() + 1000, "the message as it stands: {done:?}");
}

#[test]
fn state_lasts_and_has_a_quota() {
    let sink = AioSink::start();
    let peer = HttpPeer::start();
    let mut server = start(&sink, &grants(&[&peer]), "");
    let commands = [
        "kv-set a one",
        "kv-get a",
        "kv-set-new a two",
        "kv-set-new b three",
        "kv-count n 5",
        "kv-count n -2",
        "kv-keys a",
        "kv-set-large big 5000",
        "kv-delete b",
        "kv-get b",
        "kv-get n",
        "kv-set soon x 1",
        "kv-get missing",
    ];
    let done = run(&server, &sink, &commands, "\r\nbody\r\n");
    assert_eq!(done[..7], ["set", "one", "false", "true", "5", "3", "a"], "{done:?}");
    assert!(done[7].starts_with("error too-large: "), "{done:?}");
    assert_eq!(done[8..10], ["deleted", "none"]);
    assert!(done[10].starts_with("error bad-value: "), "{done:?}");
    assert_eq!(done[12], "none");
    // A counter is on disk within a second or so, and at once when the server stops; values are when they are set.
    assert!(server.terminate().status.success());
    server.restart();
    let again = run(&server, &sink, &["kv-get a", "kv-counter n", "kv-get soon", "kv-set a four"], "\r\nbody\r\n");
    assert_eq!(again, ["one", "3", "none", "set"]);
    server.kill();
    server.restart();
    assert_eq!(run(&server, &sink, &["kv-get a"], "\r\nbody\r\n"), ["four"]);
}

#[test]
fn dns_secrets_clock_random_config_and_metrics() {
    let (sink, peer) = (AioSink::start(), HttpPeer::start());
    let dns = Dnsmasq::start(&["--mx-host=d.test,mx.d.test,10", "--txt-record=d.test,v=spf1 -all"]);
    let servers = format!("[dns]\nservers = ['127.0.0.1:{}']", dns.port);
    let keys = grants(&[&peer]) + "\nconfig = { a = { b = [1, 2] } }";
    let server = start(&sink, &keys, &servers);
    let commands = [
        "dns d.test MX",
        "dns d.test TXT",
        "dns none.test A",
        "dns d.test SOA",
        "secret key",
        "secret other",
        "secret no",
        "random",
        "clock",
        "config /a/b/1",
        "config /x",
        "metric seen.mail 2",
        "metric seen.mail 1",
    ];
    let done = run(&server, &sink, &commands, "\r\nbody\r\n");
    assert_eq!(done[..3], ["10 mx.d.test", "v=spf1 -all", ""], "{done:?}");
    assert!(done[3].starts_with("error bad-value: "), "{done:?}");
    assert_eq!(done[4..11], ["s3cret", "text", "none", "16 true", "true true", "2", "none"]);
    let socket = server.data().join("control.sock");
    let figures =
        postern_tests::run("curl", &["-s", "--unix-socket", socket.to_str().unwrap(), "http://postern/metrics"]);
    let figures = String::from_utf8(figures.stdout).unwrap();
    for line in [
        "postern_plugin_custom_seen_mail{plugin=\"capable\"} 3",
        "postern_plugin_call_seconds_count{plugin=\"capable\",hook=\"rewrite\"} 1",
        "postern_plugin_errors_total{plugin=\"capable\",hook=\"rewrite\",kind=\"trap\"} 0",
    ] {
        assert!(figures.lines().any(|written| written == line), "{line} in\n{figures}");
    }
    let printed = server.command(&["check", "-c", "postern.toml"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("(secret)") && !printed.contains("text'") && !printed.contains("s3cret"), "{printed}");
}

#[test]
fn what_is_not_granted_is_named_with_the_line_to_add() {
    let zone = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";
    let said = |keys: &str| {
        let (right, text) = check(&format!("{zone}{}", plugin(keys)));
        assert!(!right, "{text}");
        text
    };
    let text = said("grants = { kv = true, dns = true, clock = true, random = true, secrets = { a = 'b' } }");
    assert!(text.contains("postern:plugin/http-client@0.1.0") && text.contains("http = [\"https://"), "{text}");
    assert!(said("grants = { http = ['https://a.example/path'] }").contains("has a path"));
    assert!(said("grants = { kv = 'much' }").contains("the grant `kv` is true, false or a size"));
    assert!(said("grants = { htp = [] }").contains("did you mean `http`?"));
    assert!(said("grants = { secrets = { a = { file = '/no/such' } } }").contains("grants.secrets.a: /no/such"));
}
