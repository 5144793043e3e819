//! How the server begins: whom it runs as, and sockets that it is handed (systemd-socket-activate is what hands them).

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, Setup, free_port, process::is_root, wait_for};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// `nobody`, whom every Debian has.
const NOBODY: u32 = 65_534;

/// A free port that only root may have.
fn low_port() -> u16 {
    (600..1024).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port below 1024")
}

fn status(task: &Path, key: &str) -> String {
    let text = std::fs::read_to_string(task.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The folder of the test is one that others may look into, as /var/lib is.
fn prepared(next_hop: u16, setup: Setup) -> Postern {
    let server = Postern::prepare(next_hop, setup);
    std::fs::set_permissions(server.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    server
}

#[test]
fn root_is_given_up() {
    if !is_root() {
        println!("not run: this needs root");
        return;
    }
    let sink = AioSink::start();
    let low = low_port();
    let config = format!("[run]\nuser = 'nobody'\n[listener.low]\naddress = '127.0.0.1:{low}'");
    let mut server = prepared(sink.port, Setup { config, ..Setup::default() });
    server.restart();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut threads = 0;
    for task in tasks {
        let task = task.unwrap().path();
        let id = NOBODY.to_string();
        assert_eq!(status(&task, "Uid:"), [&*id; 4].join(" "));
        assert_eq!(status(&task, "Gid:"), [&*id; 4].join(" "));
        assert_eq!(status(&task, "Groups:"), id);
        // CAP_NET_BIND_SERVICE is bit 10; a thread that was there before has not even that.
        let powers = ["CapEff:", "CapPrm:"].map(|key| u64::from_str_radix(&status(&task, key), 16).unwrap());
        assert!(powers == [1 << 10; 2] || powers == [0; 2], "{powers:?}");
        threads += usize::from(powers[0] != 0);
    }
    assert!(threads >= 2, "{threads}");
    let data = std::fs::metadata(server.data()).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (NOBODY, 0o700));
    for file in std::fs::read_dir(server.data()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().uid(), NOBODY, "{:?}", file.path());
    }
    // It serves, and starts again on what it has.
    for _ in 0..2 {
        let mut client = Client::hello(low).unwrap();
        client.mail("a@d.example", &["b@d.example"], "Subject: x\r\n\r\nx\r\n").unwrap();
        server.wait_empty();
        server.terminate();
        server.restart();
    }
    assert_eq!(sink.messages().len(), 2);
}

#[test]
fn who_can_become_whom() {
    if !is_root() {
        println!("not run: this needs root");
        return;
    }
    let started = |runner: &[&str], run: &str| {
        let runner = runner.iter().map(|word| (*word).to_owned()).collect();
        let setup = Setup { runner, config: format!("[run]\n{run}"), ..Setup::default() };
        let mut server = prepared(free_port(), setup);
        server.launch();
        server.wait_ready().err().unwrap_or_default()
    };
    let said = started(&[], "user = 'no-such-user'");
    assert!(said.contains("run.user: there is no user `no-such-user` on this machine"), "{said}");
    let said = started(&[], "user = 'nobody'\ngroup = 'no-such-group'");
    assert!(said.contains("run.group: there is no group `no-such-group` on this machine"), "{said}");
    let said = started(&[], "group = 'nogroup'");
    assert!(said.contains("run.group: it goes with run.user"), "{said}");
    let nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let said = started(&nobody, "user = 'daemon'");
    assert!(said.contains("run.user: only root can become `daemon`, and this is user 65534"), "{said}");
}

/// Started by the first connection, with its sockets named, and at addresses that the config does not have.
#[test]
fn sockets_that_are_handed_over() {
    let sink = AioSink::start();
    let (smtp, http) = (free_port(), free_port());
    let runner = [
        "/usr/bin/systemd-socket-activate",
        &format!("--listen=127.0.0.1:{smtp}"),
        &format!("--listen=127.0.0.1:{http}"),
        "--fdname=feeder:http",
    ];
    let runner = runner.iter().map(|word| (*word).to_owned()).collect();
    let mut server = prepared(sink.port, Setup { runner, ..Setup::default() });
    server.launch();
    let mut client = wait_for("the greeting", || Client::hello(smtp).ok());
    client.mail("a@d.example", &["b@d.example"], "Subject: x\r\n\r\nx\r\n").unwrap();
    server.wait_empty();
    assert_eq!(sink.messages().len(), 1);
    let listening = server.wait_log("LISTENING", 2);
    assert!(
        listening.iter().any(|line| line.contains("feeder") && line.contains(&format!(":{smtp}"))),
        "{listening:?}"
    );
    assert!(listening.iter().any(|line| line.contains("http") && line.contains(&format!(":{http}"))), "{listening:?}");
    assert!(Client::connect(server.port).is_err(), "what was handed over is in place of what the config says");
}

#[test]
fn sockets_by_address_and_such_as_nobody_asked_for() {
    let start = |names: &str, address: &dyn Fn(&Postern) -> u16| {
        let mut server = prepared(free_port(), Setup::default());
        let port = address(&server);
        let runner = ["/usr/bin/systemd-socket-activate", &format!("--listen=127.0.0.1:{port}"), names];
        server.setup.runner = runner.iter().map(|word| (*word).to_owned()).collect();
        server.launch();
        let mut client = wait_for("a connection", || Client::connect(port).ok());
        let greeting = client.line().ok().flatten();
        (server, greeting)
    };
    let (server, greeting) = start("--fdname=postern.socket", &|server| server.port);
    assert_eq!(greeting.as_deref(), Some("220 mta.example.com ESMTP Postern"), "{}", server.log());
    let (mut server, greeting) = start("--fdname=elsewhere", &|_| free_port());
    assert_eq!(greeting, None);
    let log = server.wait_ready().unwrap_err();
    assert!(log.contains("the socket `elsewhere` at 127.0.0.1:"), "{log}");
    assert!(!server.wait_end().success());
}
