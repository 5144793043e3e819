//! The hooks of intake in the whole server: each fires at its point, and each verdict has its effect on the wire, in the
//! queue and in the log. The plugin is `tests/guests/intake-hooks`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, root, wait_for};

fn start(sink: &AioSink, next_hop: u16) -> Postern {
    let component = root().join("tests/guests/intake-hooks/intake-hooks.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    let config = format!("config = {{ next_hop = '127.0.0.1:{next_hop}' }}");
    let component = component.display();
    Postern::start(sink.port, &format!("[[plugin]]\nname = 'hooks'\ncomponent = '{component}'\n{config}\n"))
}

/// What `postern queue …` prints.
fn queue(server: &Postern, args: &[&str]) -> String {
    let output = server.command(&[&["queue"], args, &["-d", "."]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn said(reply: &postern_tests::Reply) -> String {
    format!("{} {}", reply.code, reply.lines.join(" "))
}

#[test]
fn verdicts_on_the_envelope_are_the_replies() {
    let sink = AioSink::start();
    let server = start(&sink, 1);
    let mut client = Client::hello(server.port).unwrap();
    let reply = client.command("MAIL FROM:<bad@b.example>", 5).unwrap();
    assert!(said(&reply).contains("553") && said(&reply).contains("5.1.8 Not this sender"), "{reply:?}");
    // A reply whose class is not the verdict's is the plugin's failure: on_error is defer.
    assert_eq!(client.command("MAIL FROM:<wrong@b.example>", 4).unwrap().code, 451);
    client.command("MAIL FROM:<a@b.example>", 2).unwrap();
    let reply = client.command("RCPT TO:<nobody@d.example>", 5).unwrap();
    assert!(said(&reply).contains("550") && said(&reply).contains("5.1.1 Nobody here"), "{reply:?}");
    let reply = client.command("RCPT TO:<later@d.example>", 4).unwrap();
    assert!(said(&reply).contains("451") && said(&reply).contains("4.7.1 Come back"), "{reply:?}");
    client.command("RCPT TO:<c+tag@d.example>", 2).unwrap();
    client.command("DATA", 3).unwrap();
    client.send(b"Subject: hello\r\n\r\nbody\r\n.\r\n").unwrap();
    client.expect(2).unwrap();
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1));
    let content = messages[0]["content"].as_str().unwrap();
    assert!(content.contains("\r\nX-Seen: 127.0.0.1 a@b.example\r\n"), "{content}");
    assert_eq!(messages[0]["rcpt_tos"][0], "c@d.example");
    let refused = server.wait_log(" NOQUEUE ", 4);
    for (line, stage) in refused.iter().zip(["MAIL", "MAIL", "RCPT", "RCPT"]) {
        assert!(line.contains(&format!("stage=\"{stage}\"")) && line.contains("plugin hooks@0.1.0"), "{line}");
    }
}

#[test]
fn verdicts_on_the_content() {
    let sink = AioSink::start();
    let server = start(&sink, 1);
    let mut client = Client::hello(server.port).unwrap();
    let mut send = |subject: &str| {
        said(&client.mail("a@b.example", &["c@d.example"], &format!("Subject: {subject}\r\n\r\nbody\r\n")).unwrap())
    };
    let reply = send("spam");
    assert!(reply.contains("554") && reply.contains("5.7.1 Looks like spam"), "{reply}");
    assert!(send("drop").contains("Message queued as"));
    let dropped = server.wait_log(" DROP ", 1);
    assert!(dropped[0].contains("nobody wants it") && dropped[0].contains("c@d.example"), "{dropped:?}");
    assert!(send("hold").contains("Message queued as"));
    let listed = queue(&server, &["list"]);
    assert!(listed.contains("held") && listed.contains("an operator decides"), "{listed}");
    assert!(sink.messages().is_empty());
    queue(&server, &["release", "--all", "--yes"]);
    server.wait_empty();
    assert_eq!(sink.messages().len(), 1);
}

#[test]
fn routes_of_single_recipients() {
    let (sink, other) = (AioSink::start(), AioSink::start());
    let server = start(&sink, other.port);
    let mut client = Client::hello(server.port).unwrap();
    let to = ["a@via.example", "b@held.example", "c@slow.example", "d@plain.example"];
    assert_eq!(client.mail("a@b.example", &to, "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);
    let at = |sink: &AioSink| {
        let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1));
        messages[0]["rcpt_tos"].to_string()
    };
    assert_eq!((at(&other), at(&sink)), ("[\"a@via.example\"]".to_owned(), "[\"d@plain.example\"]".to_owned()));
    server.wait_log(" ACCEPTED ", 2);
    let listed = queue(&server, &["list"]);
    assert!(listed.contains("b@held.example") && listed.contains("recipient 1"), "{listed}");
    assert!(listed.contains("c@slow.example") && !listed.contains("d@plain.example"), "{listed}");
}

#[test]
fn plugins_are_called_in_the_order_of_the_config() {
    let component = |name: &str| root().join(format!("tests/guests/{name}/{name}.wasm")).display().to_string();
    let plugin = |name: &str, component: &str, config: &str| {
        format!("[[plugin]]\nname = '{name}'\ncomponent = '{component}'\nconfig = {{ {config} }}\n")
    };
    let generations = component("generations");
    let noting = |name: &str| plugin(name, &generations, &format!("generation = '{name}'"));
    for (first, second) in [("a", "b"), ("b", "a")] {
        let (sink, one, other) = (AioSink::start(), AioSink::start(), AioSink::start());
        let routing =
            |name: &str, port: u16| plugin(name, &component("intake-hooks"), &format!("next_hop = '127.0.0.1:{port}'"));
        let routes = routing("one", one.port) + &routing("other", other.port);
        let server = Postern::start(sink.port, &(noting(first) + &noting(second) + &routes));
        let mut client = Client::hello(server.port).unwrap();
        let reply = client.mail("a@b.example", &["c@via.example"], "Subject: x\r\n\r\nbody\r\n").unwrap();
        assert_eq!(reply.code, 250);
        // The second choice of a next hop stands.
        let messages = wait_for("the message", || Some(other.messages()).filter(|m| m.len() == 1));
        let content = messages[0]["content"].as_str().unwrap();
        // At MAIL, RCPT, spam and rewrite; each reads what those before it noted.
        let notes = [first, second].repeat(4).join(" ");
        assert!(content.contains(&format!("\r\nX-Generations: {notes}\r\n")), "{notes} in\n{content}");
        // The first that refuses is the reply, and nobody after it is asked.
        client.command("MAIL FROM:<bad@b.example>", 5).unwrap();
        let refused = server.wait_log(" NOQUEUE ", 1);
        assert!(refused[0].contains("plugin one@"), "{refused:?}");
        assert!(one.messages().is_empty() && sink.messages().is_empty());
    }
}
