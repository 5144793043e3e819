//! SIGTERM: the server stops in time, under load too, and nothing that it acknowledged is lost or sent twice.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, wait_for};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

#[test]
fn stops_under_load_without_loss_or_duplicates() {
    let sink = SmtpSink::start(&[]);
    let mut server = Postern::start(sink.port, "");
    let (port, acknowledged) = (server.port, Mutex::new(HashSet::new()));
    // A session that only waits must not hold the server up.
    let mut idle = Client::hello(port).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let acknowledged = &acknowledged;
            scope.spawn(move || -> std::io::Result<()> {
                let mut client = Client::hello(port)?;
                for number in 0.. {
                    let id = format!("{thread}-{number}");
                    if client.mail("a@b.example", &["c@d.example"], &format!("X-Id: {id}\r\n\r\nbody\r\n"))?.code == 250
                    {
                        acknowledged.lock().unwrap().insert(id);
                    }
                }
                Ok(())
            });
        }
        wait_for("load", || (acknowledged.lock().unwrap().len() > 200).then_some(()));
        let exit = server.terminate();
        assert!(exit.status.success(), "{exit:?}");
        assert!(exit.took < Duration::from_secs(10), "the promise is 10 s: {exit:?}");
    });
    assert_eq!(idle.reply().unwrap().code, 421);
    server.restart();
    server.wait_empty();
    let arrived = sink.count_by("X-Id");
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.iter().all(|id| arrived.contains_key(id)), "an acknowledged message is lost");
    assert!(arrived.values().all(|times| *times == 1), "a message was sent twice");
}

#[test]
fn stops_in_time_when_the_next_hop_hangs() {
    // Takes connections and never greets.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Postern::start(hanging.local_addr().unwrap().port(), "");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\nbody\r\n").unwrap().code, 250);
    let _attempt = hanging.accept().unwrap();
    // A transaction that never ends.
    client.open("a@b.example", &["c@d.example"]).unwrap();
    let exit = server.terminate();
    assert!(exit.status.success() && exit.took < Duration::from_secs(10), "{exit:?}");
    server.restart();
    assert_eq!(server.queue().len(), 1);
}

#[test]
fn stops_in_time_when_a_control_client_hangs() {
    use std::io::Write;
    let sink = SmtpSink::start(&[]);
    let mut server = Postern::start(sink.port, "");
    let mut control = std::os::unix::net::UnixStream::connect(server.data().join("control.sock")).unwrap();
    control.write_all(b"GET /api/v1/rec").unwrap();
    let exit = server.terminate();
    assert!(exit.status.success() && exit.took < Duration::from_secs(10), "{exit:?}");
}
