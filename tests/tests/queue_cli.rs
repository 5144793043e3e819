//! `postern queue …` against a server whose next hop is not there, so that mail waits.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, binary, free_port, python, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

/// A server whose mail waits: nobody listens at its next hop.
fn stuck() -> Postern {
    Postern::start(free_port(), "")
}

/// Submits a message and gives its queue id.
fn submit(server: &Postern, from: &str, to: &[&str], content: &str) -> String {
    let reply = Client::hello(server.port).unwrap().mail(from, to, content).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let words = reply.lines[0].split(|c: char| !c.is_ascii_hexdigit());
    words.into_iter().find(|word| word.len() == 18).unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

/// Runs `postern queue …` in the server's folder.
fn queue(server: &Postern, args: &[&str]) -> Output {
    server.command(&[&["queue"], args, &["-d", "."]].concat())
}

/// What a command that succeeds prints.
fn printed(server: &Postern, args: &[&str]) -> String {
    let output = queue(server, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code of a command that fails, and what it says.
fn refused(server: &Postern, args: &[&str]) -> (i32, String) {
    let output = queue(server, args);
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// How many recipients an action reaches.
fn count(server: &Postern, args: &[&str]) -> u64 {
    let text = printed(server, &[args, &["--json"]].concat());
    serde_json::from_str::<Value>(&text).unwrap()["count"].as_u64().unwrap()
}

/// Recipients in the queue that fit, as id, seq and state.
fn listed(server: &Postern, filter: &str) -> Vec<(String, String, String)> {
    let text = printed(server, &["list", filter, "--json"]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap().to_owned();
        (field("id"), field("seq"), field("state"))
    };
    text.lines().map(row).collect()
}

#[test]
fn a_message_is_shown_and_fetched_octet_for_octet() {
    let server = stuck();
    let line = "eight-bit jõe, a tab\t, and a dot at the start of the next line\r\n";
    let body = format!("{line}..\r\n").repeat(40_000);
    let sent = format!("From: Ann <ann@example.com>\r\nSubject: the subject\r\nX-Escape: \u{1b}[1m\r\n\r\n{body}");
    let id = submit(&server, "ann@example.com", &["bob@example.org", "carl@example.net"], &sent);
    server.wait_log(" DEFERRED ", 2);

    let text = printed(&server, &["show", &id]);
    for part in [
        &*id,
        "<ann@example.com>",
        "<bob@example.org>",
        "2 accepted, 2 in the queue",
        "Subject: the subject",
        "can't be reached",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "nothing foreign reaches the terminal");
    let json: Value = serde_json::from_str(&printed(&server, &["show", &format!("{id}.002"), "--json"])).unwrap();
    assert_eq!((&json["id"], &json["sender"]), (&id.as_str().into(), &"ann@example.com".into()));
    let recipients = json["recipients"].as_array().unwrap();
    assert_eq!((recipients.len(), &recipients[0]["recipient"]), (1, &"carl@example.net".into()));
    assert_eq!(recipients[0]["attempts"], 1);
    assert!(json["header"].as_str().unwrap().starts_with("Received: "));

    let fetched = queue(&server, &["fetch", &id]);
    assert!(fetched.status.success());
    assert_eq!(fetched.stdout.len() as u64, json["size"].as_u64().unwrap());
    let stored = format!("{line}.\r\n").repeat(40_000);
    assert!(fetched.stdout.ends_with(format!("\r\n\r\n{stored}").as_bytes()), "the body as it came");
    assert!(fetched.stdout.starts_with(json["header"].as_str().unwrap().as_bytes()));

    // A reader that has had enough.
    for args in [&["queue", "fetch", &id, "-d", "."][..], &["queue", "show", &id, "-d", "."], &["check", "--keys"]] {
        let mut child = Command::new(binary())
            .args(args)
            .current_dir(server.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn lists_and_actions_take_the_same_filter() {
    let server = stuck();
    let one = submit(&server, "ann@example.com", &["bob@example.org", "carl@example.net"], "\r\n1\r\n");
    let two = submit(&server, "", &["Bob@Example.ORG"], "\r\n2\r\n");
    server.wait_log(" DEFERRED ", 1);
    assert_eq!(listed(&server, "").len(), 3);
    let ids = |filter: &str| listed(&server, filter).into_iter().map(|row| (row.0, row.1)).collect::<Vec<_>>();
    let at = |id: &String, seq: &str| (id.clone(), seq.to_owned());
    assert_eq!(ids("domain=example.org"), [at(&one, "001"), at(&two, "001")]);
    assert_eq!(ids("sender=<>"), [at(&two, "001")]);
    assert_eq!(ids(&format!("{one} recipient=carl@example.net")), [at(&one, "002")]);
    assert_eq!(ids("zone=default sender=\"ann@example.com\" domain=EXAMPLE.net"), [at(&one, "002")]);
    assert!(printed(&server, &["list", "zone=none"]).contains("0 recipients"));
    // Several words are one filter.
    assert!(printed(&server, &["list", "domain=example.org", "sender=<>"]).contains("1 recipient in"));

    assert_eq!(count(&server, &["hold", "domain=example.org", "--dry-run"]), 2);
    assert!(listed(&server, "state=held").is_empty(), "only counted");
    assert_eq!(printed(&server, &["hold", "domain=example.org"]), "hold 2 recipients\n");
    assert_eq!(listed(&server, "state=held").len(), 2);
    assert_eq!(count(&server, &["hold", "domain=example.org"]), 0);
    assert_eq!(count(&server, &["release", &format!("{two}.001")]), 1);
    assert_eq!(ids("state=held"), [at(&one, "001")]);
    let attempts = server.log_lines(" DEFERRED ").len();
    assert_eq!(count(&server, &["retry", "--all"]), 2, "held ones stay");
    server.wait_log(" DEFERRED ", attempts + 1);
    assert_eq!(count(&server, &["delete", &one]), 2, "the held one too");
    assert_eq!(ids(""), [at(&two, "001")]);
    assert_eq!(count(&server, &["delete", "--all"]), 1);
    assert!(listed(&server, "").is_empty());

    // Each deletion is told once, with reason, and nobody gets a DSN.
    let dropped = server.wait_log(" DROP ", 3);
    assert_eq!(dropped.len(), 3, "{dropped:?}");
    assert!(dropped.iter().all(|line| line.contains("reason=\"deleted by an operator\"")), "{dropped:?}");
    assert!(
        dropped.iter().any(|line| line.contains(&format!("id={one}.002")) && line.contains("to=\"carl@example.net\""))
    );
    assert_eq!(server.log_lines("dsn_for").len(), 0);
}

#[test]
fn mistakes_are_told_by_exit_code_and_words() {
    let mut server = stuck();
    let id = submit(&server, "ann@example.com", &["bob@example.org"], "\r\n1\r\n");
    let nobody = "000000000000000001";
    let check = |args: &[&str], code: i32, part: &str| {
        let (found, said) = refused(&server, args);
        assert!(found == code && said.contains(part), "{args:?}: {found} {said}");
    };
    check(&["show", nobody], 1, "there is no message 000000000000000001");
    check(&["show", &format!("{id}.002")], 1, "there is no message");
    check(&["fetch", nobody], 1, "there is no message 000000000000000001");
    check(&["delete", nobody], 1, "nothing to delete: 000000000000000001");
    check(&["release", &id], 1, "nothing to release");
    check(&["show", "nonsense"], 2, "18 hex digits");
    check(&["delete"], 2, "FILTER is missing");
    check(&["retry", ""], 2, "FILTER is missing");
    check(&["hold", "--all", "zone=default"], 2, "cannot be used with");
    check(&["list", "zone=default or zone=bulk"], 2, "at character 14: `or` is not known yet");
    check(&["delete", "age>1h"], 2, "the operator `>` is not known yet");
    check(&["delete", "zon=a"], 2, "there is no key `zon`");
    assert_eq!(server.queue().len(), 1, "nothing was done");
    server.terminate();
    let (code, said) = refused(&server, &["list"]);
    assert!(code == 1 && said.contains("no server answers"), "{said}");
}

#[test]
fn the_api_names_the_field_that_is_wrong() {
    let server = stuck();
    let id = submit(&server, "ann@example.com", &["bob@example.org"], "\r\n1\r\n");
    // curl is not everywhere; Python has sockets.
    let asked = |request: &str| {
        let program = "
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
verb, path, *body = sys.argv[2].split(' ', 2)
body = body[0] if body else ''
peer.sendall(f'{verb} {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}'.encode())
answer = b''
while piece := peer.recv(65536):
    answer += piece
print(answer.decode())";
        let socket = server.data().join("control.sock");
        python(program, &[socket.to_str().unwrap(), request])
    };
    let check = |request: &str, parts: &[&str]| {
        let answer = asked(request);
        for part in parts {
            assert!(answer.contains(part), "{request}: {part:?} is not in\n{answer}");
        }
    };
    let problem = "content-type: application/problem+json";
    check("GET /api/v1/recipients?filter=zon%3Da", &["HTTP/1.1 400", problem, "\"field\":\"filter\"", "no key `zon`"]);
    check("GET /api/v1/recipients?after=5", &["400", "\"field\":\"after\""]);
    check("GET /api/v1/recipients?limit=many", &["400", "\"field\":\"limit\""]);
    check("GET /api/v1/recipients?fliter=x", &["400", problem, "fliter"]);
    check("GET /api/v1/messages/5", &["400", "\"field\":\"id\""]);
    check("GET /api/v1/messages/000000000000000001", &["404", problem, "there is no message"]);
    check("GET /api/v1/messages/000000000000000001/content", &["404", problem]);
    check("GET /api/v1/nothing", &["404", problem]);
    check("GET /api/v1/delete", &["405", problem]);
    check("POST /api/v1/delete {\"filter\":\"\"}", &["400", "\"field\":\"filter\"", "would fit all"]);
    check("POST /api/v1/delete {\"filter\":\"zone=a\",\"dryrun\":true}", &["400", "\"field\":\"dryrun\""]);
    check("POST /api/v1/delete", &["400", problem]);
    check("POST /api/v1/delete {\"filter\":\"\",\"all\":true,\"dry_run\":true}", &["200", "{\"count\":1}"]);
    check(&format!("POST /api/v1/hold {{\"filter\":\"{id}\"}}"), &["200", "{\"count\":1}"]);
    check(&format!("GET /api/v1/messages/{id}/content"), &["200", "content-type: message/rfc822", "content-length: "]);
    assert_eq!(listed(&server, "state=held").len(), 1);
}

#[test]
fn on_a_terminal_it_asks() {
    let server = stuck();
    submit(&server, "ann@example.com", &["bob@example.org", "carl@example.net"], "\r\n1\r\n");
    let typed = |answer: &str, args: &str| {
        let program = "
import os, pty, sys
os.chdir(sys.argv[1])
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:3] + sys.argv[4].split())
said = b''
asked = False
while True:
    try:
        piece = os.read(terminal, 1024)
    except OSError:
        break
    if not piece:
        break
    said += piece
    if b'[y/N]' in said and not asked:
        asked = True
        os.write(terminal, sys.argv[3].encode() + b'\\n')
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), asked, said.decode())";
        let binary = binary().canonicalize().unwrap();
        python(program, &[server.dir().to_str().unwrap(), binary.to_str().unwrap(), answer, args])
    };
    let said = typed("n", "queue delete -d . --all");
    assert!(
        said.starts_with("1 True") && said.contains("delete 2 recipients?") && said.contains("nothing was done"),
        "{said}"
    );
    assert_eq!(server.queue().len(), 2);
    let said = typed("", "queue delete -d . --all --dry-run");
    assert!(said.starts_with("0 False") && said.contains("would delete 2 recipients"), "{said}");
    let said = typed("y", "queue delete -d . recipient=bob@example.org");
    assert!(said.starts_with("0 True") && said.contains("delete 1 recipient"), "{said}");
    let said = typed("", "queue delete -d . --all --yes");
    assert!(said.starts_with("0 False"), "{said}");
    assert!(server.queue().is_empty());
}

/// A next hop that accepts connections and says nothing: attempts stay in flight.
fn silent() -> (TcpListener, u16) {
    let port = free_port();
    (TcpListener::bind(("127.0.0.1", port)).unwrap(), port)
}

#[test]
fn a_deletion_during_an_attempt_is_told_when_the_attempt_ends() {
    let (listener, port) = silent();
    let server = Postern::start(port, "");
    let id = submit(&server, "ann@example.com", &["bob@example.org"], "\r\n1\r\n");
    let (peer, _) = listener.accept().unwrap();
    wait_for("the attempt", || (listed(&server, "state=attempt").len() == 1).then_some(()));
    assert_eq!(count(&server, &["delete", &id]), 1);
    assert!(server.log_lines(" DROP ").is_empty(), "the attempt may still deliver it");
    assert_eq!(refused(&server, &["delete", &id]).0, 1, "it is deleted already");
    drop((peer, listener));
    assert_eq!(server.wait_log(" DROP ", 1).len(), 1);
    server.wait_empty();
    assert_eq!(server.log_lines("dsn_for").len(), 0);
}

#[test]
fn a_deletion_during_an_attempt_survives_a_kill_and_is_told_after_it() {
    let (listener, port) = silent();
    let mut server = Postern::start(port, "");
    let id = submit(&server, "ann@example.com", &["bob@example.org"], "\r\n1\r\n");
    let peer = listener.accept().unwrap();
    wait_for("the attempt", || (listed(&server, "state=attempt").len() == 1).then_some(()));
    assert_eq!(count(&server, &["delete", &id]), 1);
    server.kill();
    drop(peer);
    server.restart();
    assert!(server.queue().is_empty());
    let dropped = server.wait_log(" DROP ", 1);
    assert!(dropped.len() == 1 && dropped[0].contains(&format!("id={id}.001")), "{dropped:?}");
    assert!(server.terminate().status.success());
    server.restart();
    assert_eq!(server.log_lines(" DROP ").len(), 1, "told once");
}

#[test]
fn a_deletion_that_was_answered_survives_a_kill() {
    let mut server = stuck();
    for _ in 0..5 {
        let id = submit(&server, "ann@example.com", &["bob@example.org", "carl@example.net"], "\r\n1\r\n");
        assert_eq!(count(&server, &["delete", &format!("{id}.001")]), 1);
        server.kill();
        server.restart();
        assert_eq!(listed(&server, &id), [(id.clone(), "002".to_owned(), "pending".to_owned())]);
        server.wait_log(&format!(" DROP id={id}.001"), 1);
    }
}

#[test]
fn after_a_kill_during_a_deletion_each_recipient_is_there_or_in_the_log() {
    let mut server = stuck();
    let to: Vec<String> = (0..1000).map(|n| format!("r{n}@example.org")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut left = 0;
    for round in 0..4 {
        // More than are deleted in one step.
        let mut all = BTreeSet::new();
        while left + all.len() < 5000 {
            let id = submit(&server, "ann@example.com", &to, "\r\n1\r\n");
            all.extend((1..=1000).map(|seq| format!("{id}.{seq:03x}")));
        }
        all.extend(
            server
                .queue()
                .iter()
                .map(|row| format!("{}.{}", row["id"].as_str().unwrap(), row["seq"].as_str().unwrap())),
        );
        count(&server, &["hold", "--all"]);
        assert_eq!(listed(&server, "state=held").len(), all.len());
        let before = server.log_lines(" DROP ").len();
        let mut delete = Command::new(binary())
            .args(["queue", "delete", "--all", "-d", "."])
            .current_dir(server.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // At once, or when the log has told of some.
        let wanted = [0, 1, 100, 4096][round];
        wait_for("deletions", || {
            (server.log_lines(" DROP ").len() >= before + wanted || delete.try_wait().unwrap().is_some()).then_some(())
        });
        server.kill();
        let _ = delete.wait();
        server.restart();
        let there: BTreeSet<String> = server
            .queue()
            .iter()
            .map(|row| format!("{}.{}", row["id"].as_str().unwrap(), row["seq"].as_str().unwrap()))
            .collect();
        let mut told = BTreeMap::<String, usize>::new();
        for line in server.log_lines(" DROP ") {
            let id = line.split(" id=").nth(1).unwrap().split(' ').next().unwrap();
            *told.entry(id.to_owned()).or_default() += 1;
        }
        let missing: Vec<_> = all.iter().filter(|id| !there.contains(*id) && !told.contains_key(*id)).collect();
        assert!(missing.is_empty(), "round {round}: {} are neither there nor in the log", missing.len());
        let both: Vec<_> = there.iter().filter(|id| told.contains_key(*id)).collect();
        assert!(both.is_empty(), "round {round}: {} are in the queue and their end is in the log", both.len());
        left = there.len();
    }
}
