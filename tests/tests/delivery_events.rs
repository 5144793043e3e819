//! The hook `event` in the whole server: what is told, in which order, again after a failure, a restart and a SIGKILL.
//! The plugin is `tests/guests/delivery-hooks`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, SmtpSink, root, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Mutex;

fn plugin(name: &str, config: &str) -> String {
    let component = root().join("tests/guests/delivery-hooks/delivery-hooks.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    format!("[[plugin]]\nname = '{name}'\ncomponent = '{}'\nconfig = {{ {config} }}\n", component.display())
}

fn submit(server: &Postern, to: &[&str]) {
    let mut client = Client::hello(server.port).unwrap();
    let content = "Subject: x\r\nMessage-ID: <1@b>\r\n\r\nbody\r\n";
    assert_eq!(client.mail("ann@example.com", to, content).unwrap().code, 250);
}

/// The events that the plugin logged, once there are so many.
fn events(server: &Postern, count: usize) -> Vec<Value> {
    let lines = server.wait_log("EVENT {", count);
    assert_eq!(lines.len(), count, "{lines:?}");
    let json = |line: &String| line[line.find("EVENT ").unwrap() + 6..line.rfind('}').unwrap() + 1].to_owned();
    lines.iter().map(|line| serde_json::from_str(&json(line)).unwrap()).collect()
}

fn brief(events: &[Value]) -> Vec<String> {
    let to = |event: &Value| event["to"].as_str().unwrap_or("-").split('@').next().unwrap().to_owned();
    events.iter().map(|event| format!("{} {}", event["event"].as_str().unwrap(), to(event))).collect()
}

fn operate(server: &Postern, verb: &str, filter: &str) {
    let output = server.command(&["queue", verb, filter, "--yes", "-d", "."]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_life_of_each_recipient_is_told() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &plugin("one", ""));
    submit(&server, &["bob@example.org", "perm@example.org", "temp@example.org"]);
    // The report is a message too.
    let told = events(&server, 6);
    assert_eq!(brief(&told[..4]), ["accepted -", "delivered bob", "bounced perm", "deferred temp"]);
    let is = |event: &Value, key: &str, expected: &Value| assert_eq!(&event[key], expected, "{key} of {event}");
    let (accepted, delivered, bounced, deferred) = (&told[0], &told[1], &told[2], &told[3]);
    let id = server.log_lines(" QUEUED ")[0].clone();
    assert!(id.contains(&format!("id={} ", accepted["id"].as_str().unwrap())));
    for event in &told[..4] {
        is(event, "id", &accepted["id"]);
        is(event, "from", &"ann@example.com".into());
        is(event, "zone", &"default".into());
        is(event, "session", &accepted["session"]);
        assert!(event["time"].as_u64().unwrap() > 1_790_000_000_000 && event.get("user").is_none());
    }
    is(accepted, "recipients", &3.into());
    is(accepted, "message_id", &"<1@b>".into());
    assert!(accepted["size"].as_u64().unwrap() > 100);
    is(delivered, "seq", &"001".into());
    is(delivered, "to", &"bob@example.org".into());
    is(delivered, "attempts", &1.into());
    is(delivered, "response", &"250 2.0.0 stored".into());
    is(delivered, "status", &"2.0.0".into());
    is(delivered, "next_hop", &format!("127.0.0.1[127.0.0.1]:{}", sink.port).into());
    is(delivered, "source", &"127.0.0.1".into());
    is(bounced, "status", &"5.1.1".into());
    assert!(bounced["response"].as_str().unwrap().starts_with("550 5.1.1 ") && bounced["reason"].is_string());
    is(deferred, "status", &"4.2.1".into());
    assert!(deferred["due"].as_u64().unwrap() > deferred["time"].as_u64().unwrap() + 200_000, "{deferred}");
    assert_eq!(brief(&told[4..]), ["accepted -", "delivered ann"]);
    assert!(told[4..].iter().all(|event| event["session"] == "-" && event["from"] == ""), "{told:?}");
    operate(&server, "hold", "recipient=temp@example.org");
    operate(&server, "release", "recipient=temp@example.org");
    let told = events(&server, 9);
    assert_eq!(brief(&told[6..]), ["held temp", "released temp", "deferred temp"]);
    operate(&server, "delete", "recipient=temp@example.org");
    assert_eq!(brief(&events(&server, 10)[9..]), ["deleted temp"]);
}

#[test]
fn what_is_not_taken_comes_again() {
    let sink = AioSink::start();
    let both = [plugin("one", "at_least = 4"), plugin("two", "")].concat();
    let mut server = Postern::start(sink.port, &both);
    submit(&server, &["bob@example.org"]);
    // The other is not held up.
    let of = |server: &Postern, name: &str, count| {
        let mark = format!("plugin=\"{name}\"");
        wait_for("events", || {
            let lines: Vec<_> = server.log_lines("EVENT {").into_iter().filter(|line| line.contains(&mark)).collect();
            Some(lines).filter(|lines| lines.len() >= count)
        })
    };
    assert_eq!(of(&server, "two", 2).len(), 2);
    let refused = server.wait_log("events were not taken", 1);
    assert!(refused[0].contains("events are too few") && refused[0].contains("plugin=one"), "{refused:?}");
    submit(&server, &["eve@example.org"]);
    let taken = of(&server, "one", 4);
    assert!(taken[0].contains("\"accepted\"") && taken[1].contains("\"delivered\""), "{taken:?}");
    // A restart in between, and a config that has one of them no longer.
    submit(&server, &["bob@example.org"]);
    of(&server, "two", 6);
    assert!(server.terminate().status.success());
    let toml = server.dir().join("postern.toml");
    let config = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, config.replace("at_least = 4", "at_least = 2").replace("name = 'two'", "name = 'three'"))
        .unwrap();
    server.restart();
    let taken = of(&server, "one", 6);
    assert_eq!(taken.len(), 6);
    assert!(taken[4].contains("\"accepted\"") && taken[5].contains("\"delivered\""), "{taken:?}");
    let dropped = server.wait_log("its events are dropped", 1);
    assert!(dropped[0].contains("plugin=two") && dropped[0].contains("events=0"), "{dropped:?}");
    submit(&server, &["bob@example.org"]);
    assert_eq!(of(&server, "three", 2).len(), 2);
    assert!(server.terminate().took < std::time::Duration::from_secs(3));
}

/// Sends until the server is gone; notes who was answered 250.
fn send(port: u16, name: &str, accepted: &Mutex<BTreeSet<String>>) -> std::io::Result<()> {
    let mut client = Client::hello(port)?;
    for number in 0.. {
        let sender = format!("{name}n{number}");
        let content = format!("X-Id: {sender}\r\nSubject: plain\r\n\r\nbody\r\n");
        if client.mail(&format!("{sender}@example.com"), &["bob@example.org"], &content)?.code == 250 {
            accepted.lock().unwrap().insert(sender);
        }
    }
    Ok(())
}

/// While the plugin takes nothing, the server is killed again and again; at last it takes all.
#[test]
fn no_event_is_lost_when_the_server_is_killed() {
    let cycles = if std::env::var_os("POSTERN_SOAK").is_some() { 40 } else { 6 };
    let sink = SmtpSink::start(&[]);
    let refuses = plugin("one", "brief = true, at_least = 1000");
    let mut server = Postern::start_with(sink.port, "", "connections = 4", &refuses);
    let accepted = Mutex::new(BTreeSet::new());
    for cycle in 0..cycles {
        let port = server.port;
        let enough = accepted.lock().unwrap().len() + 20 + (cycle * 37) % 100;
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (name, accepted) = (format!("{cycle}c{client}"), &accepted);
                scope.spawn(move || send(port, &name, accepted).unwrap_err());
            }
            wait_for("enough messages", || (accepted.lock().unwrap().len() >= enough).then_some(()));
            server.kill();
        });
        server.restart();
    }
    server.wait_empty();
    assert!(server.log_lines("TAKEN").is_empty());
    assert!(server.terminate().status.success());
    let toml = server.dir().join("postern.toml");
    let config = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, config.replace("at_least = 1000", "at_least = 1")).unwrap();
    server.restart();
    let accepted = accepted.into_inner().unwrap();
    let arrived: BTreeSet<String> = sink.count_by("X-Id").into_keys().collect();
    let told = wait_for("all events", || {
        let lines = server.log_lines("TAKEN ");
        let told: Vec<String> = lines
            .iter()
            .flat_map(|line| line[line.find("TAKEN ").unwrap() + 6..].split(' ').take_while(|word| *word != "."))
            .map(str::to_owned)
            .collect();
        (told.iter().filter(|event| event.starts_with('d')).count() >= arrived.len()).then_some(told)
    });
    let has = |kind: char, names: &BTreeSet<String>| {
        let events: BTreeSet<&str> = told.iter().filter_map(|event| event.strip_prefix(kind)).collect();
        names.iter().filter(|name| !events.contains(name.as_str())).cloned().collect::<Vec<_>>()
    };
    assert_eq!((has('a', &accepted), has('d', &arrived)), (vec![], vec![]));
    // Each accepted once, each delivered once, in this order: what the store says, it says once.
    let unique: BTreeSet<&String> = told.iter().collect();
    assert_eq!(unique.len(), told.len());
    for event in told.iter().filter_map(|event| event.strip_prefix('d')) {
        let at = |kind: char| told.iter().position(|other| *other == format!("{kind}{event}"));
        assert!(at('a') < at('d'), "{event}");
    }
}
