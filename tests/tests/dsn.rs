//! Delivery status notifications end to end: what a client asks (RFC 3461), what it is told (RFC 3464), and that nothing
//! answers forever. Clients are Python's smtplib and a bare one, next hops aiosmtpd (without DSN) and Postern itself
//! (with DSN), readers Python's email package and flufl.bounce.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, free_port, python, wait_for};
use serde_json::Value;
use std::path::Path;

const CONTENT: &str = "From: Ann <ann@example.com>\r\nSubject: the original\r\nBcc: canary@hidden.example\r\n\
                       X-Sending-Zone: default\r\n\r\nbody\r\n";

/// The DSNs that a sink has taken.
fn dsns(file: &Path) -> Vec<Value> {
    if !file.exists() {
        return Vec::new();
    }
    let printed = python(include_str!("dsn/read.py"), &[file.to_str().unwrap()]);
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_dsns(sink: &AioSink, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} messages at the sink"), || (sink.messages().len() >= count).then_some(()));
    dsns(&sink.file())
}

/// A transaction with parameters; the recipients' stand behind their addresses.
fn submit(client: &mut Client, mail: &str, rcpts: &[&str], content: &str) {
    client.command(&format!("MAIL FROM:{mail}"), 2).unwrap();
    for rcpt in rcpts {
        client.command(&format!("RCPT TO:{rcpt}"), 2).unwrap();
    }
    client.command("DATA", 3).unwrap();
    client.send(format!("{content}.\r\n").as_bytes()).unwrap();
    client.expect(2).unwrap();
}

/// How many DSNs a server has queued.
fn queued(server: &Postern) -> usize {
    server.log_lines(" dsn_for=").len()
}

#[test]
fn flufl_bounce_reads_200_dsns() {
    const COUNT: usize = 200;
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let expected = python(include_str!("dsn/submit.py"), &[&server.port.to_string(), &COUNT.to_string()]);
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&expected).unwrap();
    assert_eq!(expected.len(), COUNT);
    server.wait_empty();
    let found = dsns(&sink.file());
    assert_eq!(found.len(), COUNT, "one DSN for each message");
    let (mut recipients, mut read) = (0, 0);
    for dsn in &found {
        let sender = dsn["to"][0].as_str().unwrap();
        let wanted = expected[sender].as_object().unwrap();
        assert_eq!(dsn["defects"], serde_json::json!([]), "{dsn}");
        let groups = &dsn["fields"].as_array().unwrap()[1..];
        assert_eq!(groups.len(), wanted.len(), "{dsn}");
        for (recipient, status) in wanted {
            recipients += 1;
            let has = |group: &&Value| group["final-recipient"].as_str() == Some(&format!("rfc822; {recipient}"));
            let group = groups.iter().find(has).unwrap_or_else(|| panic!("{recipient} is not in {dsn}"));
            let status = status.as_str().unwrap();
            let fits =
                status.is_empty() && group["status"].as_str().unwrap().starts_with("5.") || group["status"] == status;
            assert!(fits && group["action"] == "failed", "{group}");
            read += usize::from(dsn["permanent"].as_array().unwrap().contains(&Value::from(recipient.as_str())));
        }
        assert_eq!(dsn["permanent"].as_array().unwrap().len(), wanted.len(), "{dsn}");
        assert_eq!(dsn["temporary"], serde_json::json!([]));
    }
    assert_eq!(read, recipients, "flufl.bounce reads every recipient");
    println!("{COUNT} DSNs, {read} of {recipients} recipients read by flufl.bounce");
}

#[test]
fn success_is_told_by_the_last_server_that_can() {
    let sink = AioSink::start();
    let last = Postern::start(sink.port, "");
    let first = Postern::start(last.port, "");
    let mut client = Client::hello(first.port).unwrap();
    let rcpts = [
        "<good@d.example> NOTIFY=SUCCESS ORCPT=rfc822;Old+2BName@d.example",
        "<silent@d.example> NOTIFY=NEVER",
        "<plain@d.example>",
    ];
    submit(&mut client, "<ann@example.com> RET=FULL ENVID=QQ+20314159", &rcpts, CONTENT);
    let found = wait_dsns(&sink, 2);
    first.wait_empty();
    last.wait_empty();
    // The first hands to a server that offers DSN; the last to one that does not.
    assert_eq!((queued(&first), queued(&last), found.len()), (0, 1, 1));
    let dsn = &found[0];
    assert_eq!(dsn["to"], serde_json::json!(["ann@example.com"]));
    assert_eq!(dsn["subject"], "Delivery Status Notification (Relayed)");
    assert_eq!(dsn["types"][2], "text/rfc822-headers");
    let fields = dsn["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert_eq!(fields[0]["original-envelope-id"], "QQ 314159");
    let group = &fields[1];
    assert_eq!((&group["action"], &group["status"]), (&Value::from("relayed"), &Value::from("2.0.0")));
    assert_eq!(group["original-recipient"], "rfc822; Old+Name@d.example");
    assert_eq!(group["final-recipient"], "rfc822; good@d.example");
    assert_eq!(dsn["permanent"], serde_json::json!([]), "no bounce");
}

#[test]
fn failures_are_told_as_asked() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    let silent = ["<perm1@d.example> NOTIFY=NEVER", "<perm2@d.example> NOTIFY=SUCCESS,DELAY"];
    submit(&mut client, "<ann@example.com>", &silent, CONTENT);
    server.wait_log(" REJECTED ", 2);
    server.wait_empty();
    assert!(sink.messages().is_empty() && queued(&server) == 0);

    // Failed and handed on in one report, and the whole message with it.
    let mixed = ["<perm3@d.example> NOTIFY=FAILURE", "<perm4@d.example>", "<good@d.example> NOTIFY=SUCCESS"];
    submit(&mut client, "<bob@example.com> RET=FULL", &mixed, CONTENT);
    let found = wait_dsns(&sink, 2);
    assert_eq!(found.len(), 1);
    let actions: Vec<_> = found[0]["fields"].as_array().unwrap()[1..].iter().map(|g| g["action"].clone()).collect();
    assert_eq!(actions, ["failed", "failed", "relayed"]);
    assert_eq!(found[0]["permanent"], serde_json::json!(["perm3@d.example", "perm4@d.example"]));
    assert_eq!(found[0]["types"][2], "message/rfc822");
    let original = found[0]["original"].as_str().unwrap();
    assert!(original.contains("Subject: the original") && original.contains("\nbody"), "{original}");
    assert!(!original.contains("canary") && !original.contains("X-Sending-Zone"), "{original}");

    let large = format!("{CONTENT}{}", "0123456789\r\n".repeat(5000));
    submit(&mut client, "<cid@example.com> RET=FULL", &["<perm5@d.example>"], &large);
    let found = wait_dsns(&sink, 3);
    let dsn = found.iter().find(|dsn| dsn["to"][0] == "cid@example.com").unwrap();
    assert_eq!(dsn["types"][2], "text/rfc822-headers");
    assert!(dsn["text"].as_str().unwrap().contains("as it is too large to be returned"), "{dsn}");
    assert!(!dsn["original"].as_str().unwrap().contains("0123456789"));
    server.wait_empty();
}

#[test]
fn a_delay_is_told_once_and_not_again_after_a_restart() {
    let sink = AioSink::start();
    let config = "[queue]\nretry = ['1s']\ndelay_notice = '1s'\n[dsn]\nname = 'All'";
    let zone = "dsn = { name = 'Postmaster', address = 'pm@zone.example' }";
    let mut server = Postern::start_with(sink.port, "", zone, config);
    let mut client = Client::hello(server.port).unwrap();
    let rcpts = ["<temp1@d.example>", "<temp2@d.example> NOTIFY=FAILURE", "<temp3@d.example> NOTIFY=DELAY"];
    submit(&mut client, "<ann@example.com> ENVID=x", &rcpts, CONTENT);
    submit(&mut client, "<>", &["<temp4@d.example>"], CONTENT);
    submit(
        &mut client,
        "<robot@example.com>",
        &["<temp5@d.example> NOTIFY=DELAY"],
        &format!("Auto-Submitted: auto-generated\r\n{CONTENT}"),
    );
    // In one report or, as each recipient has its own next attempt, in two.
    let told = |found: &[Value]| -> Vec<Value> {
        let mut told: Vec<_> = found.iter().flat_map(|dsn| dsn["temporary"].as_array().unwrap().clone()).collect();
        told.sort_by_key(Value::to_string);
        told
    };
    let found = wait_for("both notices", || Some(dsns(&sink.file())).filter(|found| told(found).len() >= 2));
    assert_eq!(told(&found), ["temp1@d.example", "temp3@d.example"]);
    for dsn in &found {
        assert_eq!(dsn["subject"], "Delivery Status Notification (Delay)");
        assert_eq!(dsn["sender"], "Postmaster <pm@zone.example>");
        assert_eq!(dsn["permanent"], serde_json::json!([]));
        let group = &dsn["fields"][1];
        assert_eq!((&group["action"], &group["status"]), (&Value::from("delayed"), &Value::from("4.2.1")));
        let until = group["will-retry-until"].as_str().unwrap();
        assert!(dsn["text"].as_str().unwrap().contains(&format!("It will be tried until {until}.")), "{dsn}");
    }
    assert!(server.terminate().status.success());
    server.restart();
    // Attempts of all of them, after the restart.
    let before = server.log_lines(" DEFERRED ").len();
    server.wait_log(" DEFERRED ", before + 10);
    assert_eq!((queued(&server), sink.messages().len()), (found.len(), found.len()));
}

#[test]
fn a_delay_is_told_though_nobody_attempts_the_mail() {
    const COUNT: usize = 120;
    let port = free_port();
    let mut server = Postern::start(port, "[queue]\nretry = ['1s']\ndelay_notice = '1s'");
    let mut client = Client::hello(server.port).unwrap();
    for n in 0..COUNT {
        submit(&mut client, &format!("<s{n}@example.com>"), &["<good@d.example>"], CONTENT);
    }
    // While the next hop rests most of them are never attempted.
    server.wait_log(" dsn_for=", COUNT);
    assert!(server.terminate().status.success());
    let sink = AioSink::start_on(port);
    server.restart();
    server.wait_empty();
    // Nothing is told twice, and notices are not told of.
    let found = dsns(&sink.file());
    assert_eq!((found.len(), queued(&server), sink.messages().len()), (COUNT, COUNT, 2 * COUNT));
    for dsn in &found {
        let group = &dsn["fields"][1];
        assert!(group["action"] == "delayed" && group["status"].as_str().unwrap().starts_with("4.4."), "{group}");
    }
}

#[test]
fn two_servers_that_hand_to_each_other_stop() {
    let (a, b) = (free_port(), free_port());
    let listener = |port: u16| format!("max_hops = 8\n[listener.second]\naddress = '127.0.0.1:{port}'\nmax_hops = 8");
    let first = Postern::start_with(b, &listener(a), "", "");
    let second = Postern::start_with(a, &listener(b), "", "");
    let mut client = Client::hello(first.port).unwrap();
    submit(&mut client, "<ann@example.com>", &["<bob@d.example> NOTIFY=SUCCESS,FAILURE,DELAY"], CONTENT);
    submit(&mut client, "<>", &["<bob@d.example>"], CONTENT);
    // The message of each goes to and fro until it has too many Received fields, the one DSN as well.
    wait_for("the end of the loops", || {
        let rejected = |server: &Postern| server.log_lines(" REJECTED ").len();
        (rejected(&first) + rejected(&second) == 3).then_some(())
    });
    first.wait_empty();
    second.wait_empty();
    assert_eq!(queued(&first) + queued(&second), 1);
}

#[test]
fn a_dsn_is_never_answered_by_another() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "[dsn]\naddress = 'bounce@mta.example.com'");
    let mut client = Client::hello(server.port).unwrap();
    // To an address that refuses it.
    submit(&mut client, "<perm-sender@d.example>", &["<perm@d.example>"], CONTENT);
    server.wait_log(" REJECTED ", 2);
    server.wait_empty();
    assert_eq!(queued(&server), 1);
    // To who sends DSNs, and to a robot.
    for sender in ["<bounce@mta.example.com>", "<MAILER-DAEMON@other.example>", "<>"] {
        submit(&mut client, sender, &["<perm@d.example>"], CONTENT);
    }
    let robot = format!("Auto-Submitted: auto-replied\r\n{CONTENT}");
    submit(&mut client, "<ann@example.com>", &["<perm@d.example> NOTIFY=FAILURE,SUCCESS"], &robot);
    server.wait_log(" REJECTED ", 6);
    server.wait_empty();
    assert_eq!((queued(&server), sink.messages().len()), (1, 0));
}

#[test]
fn international_senders_get_the_form_of_rfc_6533() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    let content = CONTENT.replace("the original", "p\u{f5}hjus");
    let rcpt = "<perm-j\u{f5}e@d.example> ORCPT=utf-8;v\\x{E4}lja@d.example";
    submit(&mut client, "<\u{f5}ie@example.com> SMTPUTF8 BODY=8BITMIME", &[rcpt], &content);
    submit(&mut client, "<ann@example.com> SMTPUTF8", &[rcpt], &content);
    let found = wait_dsns(&sink, 2);
    for (sender, is_ascii) in [("\u{f5}ie@example.com", false), ("ann@example.com", true)] {
        let dsn = found.iter().find(|dsn| dsn["to"][0] == sender).unwrap_or_else(|| panic!("{found:?}"));
        assert_eq!(dsn["types"][1], "message/global-delivery-status");
        assert_eq!(dsn["types"][2], "message/global-headers");
        assert_eq!(dsn["fields"][1]["final-recipient"], "utf-8; perm-j\u{f5}e@d.example", "{dsn}");
        assert_eq!(dsn["fields"][1]["original-recipient"], "utf-8; v\u{e4}lja@d.example");
        assert_eq!(dsn["ascii"], is_ascii);
        assert_eq!(dsn["options"].as_array().unwrap().iter().any(|option| option == "SMTPUTF8"), !is_ascii);
    }
    server.wait_empty();
}

#[test]
fn a_dsn_does_not_go_by_the_zone_of_another_domain() {
    let (partner, others) = (AioSink::start(), AioSink::start());
    let zone = format!(
        "[zone.partner]\nrecipient_domains = ['partner.example']\nsmart_host = {{ host = '127.0.0.1', port = {} }}",
        partner.port
    );
    let server = Postern::start(others.port, &zone);
    let mut client = Client::hello(server.port).unwrap();
    submit(&mut client, "<ann@example.com>", &["<perm@partner.example>"], CONTENT);
    wait_dsns(&others, 1);
    server.wait_empty();
    assert!(partner.messages().is_empty());
}
