//! Shipped plugins in the whole server: what their own tests, on the SDK's mock host, can't show. (`rspamd` has a file of
//! its own.)

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, AuthPeer, Client, HttpPeer, Postern, python, root, wait_for};

/// A server with this plugin.
fn start(next_hop: u16, name: &str, grants: &str, config: &str) -> Postern {
    let component = root().join(format!("plugins/{name}/{name}.wasm"));
    assert!(component.exists(), "it is missing: run `make plugins`");
    let component = component.display();
    let plugin = format!(
        "[[plugin]]\nname = '{name}'\ncomponent = '{component}'\ngrants = {grants}\n[plugin.config]\n{config}\n"
    );
    Postern::start(next_hop, &plugin)
}

#[test]
fn srs_sends_bounces_back_to_the_sender() {
    let sink = AioSink::start();
    let grants = "{ clock = true, secrets = { secret = 's3cret' } }";
    let server = start(sink.port, "srs", grants, "rewrite_domain = 'bounces.test'\nexclude_domains = ['own.test']");
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
    let mut server = start(sink.port, "rate-guard", "{ kv = true }", config);
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

#[test]
fn footers_are_put_under_texts() {
    let sink = AioSink::start();
    let config = "text = 'Example Ltd'\nhtml = '<p>Example <b>Ltd</b></p>'\nnot_with = 'X-No-Footer'";
    let server = start(sink.port, "html-footer", "{}", config);
    let content = "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nJ=F5e\r\n\
        --b\r\nContent-Type: text/html; charset=us-ascii\r\n\r\n<body>Joe</body>\r\n--b--\r\n";
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], content).unwrap().code, 250);
    assert_eq!(
        client.mail("a@b.example", &["c@d.example"], &format!("X-No-Footer: 1\r\n{content}")).unwrap().code,
        250
    );
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|messages| messages.len() == 2));
    let contents = messages.iter().map(|message| message["content"].as_str().unwrap());
    let (without, with): (Vec<&str>, Vec<&str>) = contents.partition(|content| content.contains("X-No-Footer"));
    assert!(without[0].ends_with(content.split_once("\r\n\r\n").unwrap().1), "{}", without[0]);
    let with = with[0];
    for part in ["J=C3=B5e\r\n\r\nExample Ltd\r\n", "<body>Joe\r\n<p>Example <b>Ltd</b></p>\r\n</body>"] {
        assert!(with.contains(part), "{part:?} in\n{with}");
    }
    assert_eq!(with.matches("Example").count(), 2);
}

#[test]
fn a_message_that_comes_back_is_refused() {
    let sink = AioSink::start();
    let server = start(sink.port, "delivery-loop", "{ secrets = { secret = 's3cret' } }", "");
    let mut client = Client::hello(server.port).unwrap();
    let to = ["c@d.example", "e@d.example"];
    assert_eq!(client.mail("a@b.example", &to, "Subject: hi\r\n\r\nbody\r\n").unwrap().code, 250);
    let messages = wait_for("the message", || Some(sink.messages()).filter(|messages| !messages.is_empty()));
    let content = messages[0]["content"].as_str().unwrap();
    assert!(content.starts_with("X-Zone-Loop: "), "{content}");
    let reply = client.mail("other@b.example", &[messages[0]["rcpt_tos"][0].as_str().unwrap()], content).unwrap();
    assert_eq!(reply.code, 554, "{reply:?}");
    assert!(reply.lines.join(" ").contains("5.4.6 A mail loop was detected"), "{reply:?}");
    assert_eq!(client.mail("a@b.example", &["else@d.example"], content).unwrap().code, 250);
}

#[test]
fn bounces_are_posted_until_the_service_takes_them() {
    let web = HttpPeer::start();
    web.answer(&[("", 503, "")]);
    let sink = AioSink::start();
    let grants = format!("{{ http = ['{}'], kv = true, secrets = {{}} }}", web.url(""));
    let mut server = start(sink.port, "http-bounce", &grants, &format!("url = '{}'", web.url("/asked")));
    let mut client = Client::hello(server.port).unwrap();
    let content = "Subject: hi\r\nX-FBL: campaign 7\r\n\r\nbody\r\n";
    assert_eq!(client.mail("a@b.example", &["perm@d.example"], content).unwrap().code, 250);
    wait_for("two tries", || (web.asked().len() >= 2).then_some(()));
    // The report is in the server's store: it goes on after any end.
    server.kill();
    server.restart();
    web.answer(&[("", 200, "")]);
    let tries = web.asked().len();
    let requests = wait_for("one more", || Some(web.asked()).filter(|requests| requests.len() > tries));
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
    for part in [
        "to=perm%40d.example",
        "seq=001",
        "returnPath=a%40b.example",
        "fbl=campaign+7",
        "event=bounced",
        "status=5.1.1",
    ] {
        assert!(requests[0].split('&').any(|pair| pair == part), "{part} in {}", requests[0]);
    }
}

#[test]
fn a_service_says_who_may_send_and_how() {
    let web = HttpPeer::start();
    let alias = r#"{"rewriteFrom": "Real <real@b.example>", "sendingZone": "bulk", "attributes": {"plan": "free"}}"#;
    web.answer(&[
        ("from=bad%40b.example", 200, r#"{"error": "Account is closed", "code": 553}"#),
        ("from=later%40b.example", 200, r#"{"error": "Over quota", "code": 452}"#),
        ("from=broken%40b.example", 200, "<html>"),
        ("from=alias%40b.example", 200, alias),
        ("", 200, "{}"),
    ]);
    let (sink, bulk) = (AioSink::start(), AioSink::start());
    let grants = format!("{{ http = ['{}'], clock = true, secrets = {{}} }}", web.url(""));
    let zone = format!("[zone.bulk]\nsmart_host = {{ host = '127.0.0.1', port = {} }}", bulk.port);
    let config = format!("url = '{}'\n{zone}", web.url("/asked"));
    let server = start(sink.port, "http-config", &grants, &config);
    let mut client = Client::hello(server.port).unwrap();
    let mut refused = |from: &str, class: u16| {
        let reply = client.command(&format!("MAIL FROM:<{from}>"), class).unwrap();
        format!("{} {}", reply.code, reply.lines.join(" "))
    };
    let bad = refused("bad@b.example", 5);
    assert!(bad.starts_with("553") && bad.contains("Account is closed"), "{bad}");
    let later = refused("later@b.example", 4);
    assert!(later.starts_with("452") && later.contains("Over quota"), "{later}");
    assert!(refused("broken@b.example", 4).starts_with("451"));
    let content = "From: Alias <alias@b.example>\r\nSubject: hi\r\n\r\nbody\r\n";
    assert_eq!(client.mail("alias@b.example", &["c@d.example"], content).unwrap().code, 250);
    let messages = wait_for("the message", || Some(bulk.messages()).filter(|messages| !messages.is_empty()));
    assert_eq!(messages[0]["mail_from"], "real@b.example");
    let content = messages[0]["content"].as_str().unwrap();
    assert!(content.contains("\r\nFrom: \"Alias\" <real@b.example>\r\n"), "{content}");
    let asked = web.asked();
    assert!(asked[0].contains("origin=127.0.0.1") && asked[0].contains("transtype=ESMTP"), "{asked:?}");
    assert!(sink.messages().is_empty());
}

/// A server that asks for authentication, with this plugin and these keys more.
fn start_auth(next_hop: u16, plugins: &[(&str, &str, &str)], more: &str) -> Postern {
    let plugin = |(name, grants, config): &(&str, &str, &str)| {
        let component = root().join(format!("plugins/{name}/{name}.wasm"));
        assert!(component.exists(), "it is missing: run `make plugins`");
        let component = component.display();
        format!(
            "[[plugin]]\nname = '{name}'\ncomponent = '{component}'\ngrants = {grants}\n[plugin.config]\n{config}\n"
        )
    };
    let config: String = plugins.iter().map(plugin).collect();
    Postern::start_with(next_hop, "auth = 'required'", "", &(config + more))
}

#[test]
fn a_service_says_who_may_log_in() {
    let web = AuthPeer::start();
    let sink = AioSink::start();
    let grants = format!("{{ http = ['http://127.0.0.1:{}'] }}", web.port);
    let url = format!("url = 'http://127.0.0.1:{}/test-auth'", web.port);
    let senders = "senders = { app = ['a.example'] }\nattribute = 'senders'";
    let server = start_auth(sink.port, &[("http-auth", &grants, &url), ("sender-login", "{}", senders)], "");
    let out = python(
        "import smtplib, sys
def session(user, password):
    client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]))
    try:
        client.login(user, password)
        return client
    except smtplib.SMTPException as error:
        code = getattr(error, 'smtp_code', None)
        print(user, code, error.smtp_error.decode())
for user, password in [('app', 'wrong'), ('down', 'x')]:
    assert session(user, password) is None
client = session('app', 'right')
for sender in ['me@a.example', 'me@listed.example', 'me@other.example']:
    try:
        client.sendmail(sender, ['c@d.example'], f'From: {sender}\\r\\nSubject: {sender}\\r\\n\\r\\nbody\\r\\n')
    except smtplib.SMTPSenderRefused as error:
        print(sender, error.smtp_code, error.smtp_error.decode())
try:
    client.sendmail('me@a.example', ['c@d.example'], 'From: boss@other.example\\r\\n\\r\\nbody\\r\\n')
except smtplib.SMTPDataError as error:
    print('From', error.smtp_code, error.smtp_error.decode())",
        &[&server.port.to_string()],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "app 535 5.7.8 Authentication failed",
            "down 454 4.7.0 Temporary authentication failure",
            "me@other.example 553 5.7.1 This sender address is not yours",
            "From 550 5.7.1 The address in From is not yours",
        ]
    );
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|messages| messages.len() == 2));
    assert!(messages.iter().all(|message| message["content"].as_str().unwrap().contains("with ESMTPA id")));
    assert!(web.asked().contains("GET /test-auth?transport=SMTP Basic YXBwOnJpZ2h0"), "{}", web.asked());
    assert!(!server.log().contains("right"));
}
