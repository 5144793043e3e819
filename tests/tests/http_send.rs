//! Submission over HTTP, with curl and Python's urllib: what is sent arrives, what is wrong is named and leaves nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{
    AioSink, Postern, Setup, check, curl, free_port, not_run, process, python, root, run, send, soak, wait_for,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

const JSON: &str = "Content-Type: application/json";
const RAW: &str = "Content-Type: message/rfc822";

/// A server whose mail stays in the queue.
fn queueing(http: &str, config: &str) -> Postern {
    let setup = Setup { http: http.into(), config: config.into(), ..Setup::default() };
    let mut server = Postern::prepare(free_port(), setup);
    server.restart();
    server
}

fn raw(server: &Postern, query: &str, args: &[&str], content: &[u8]) -> (u16, Value) {
    let args = [&["-H", RAW], args].concat();
    let (status, body) = curl(server, &format!("/send-raw{query}"), &args, Some(content));
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {body}: {error}")))
}

fn fetch(server: &Postern, id: &Value) -> String {
    let (status, content) = curl(server, &format!("/fetch/{}", id.as_str().unwrap()), &[], None);
    assert_eq!(status, 200, "{content}");
    content
}

fn simple(to: &str) -> Value {
    json!({"from": "App <app@b.example>", "to": to, "subject": "Hi", "text": "hello"})
}

#[test]
fn a_message_goes_out_as_nodemailers_users_mean_it() {
    let sink = AioSink::start();
    let mut server = Postern::prepare(sink.port, Setup::default());
    server.restart();
    let message = json!({
        "from": {"name": "Jõe", "address": "app@b.example"}, "to": ["C <c@d.example>", "e@d.example"],
        "bcc": "hidden@d.example", "subject": "Tere õhtust", "text": "tere\nõhtust", "html": "<b>tere</b><img src=\"cid:i\">",
        "attachments": [
            {"filename": "i.png", "cid": "i", "content": "aGk=", "encoding": "base64"},
            {"filename": "arve.pdf", "content": "cGRm", "encoding": "base64"},
        ],
    });
    let (status, reply) = send(&server, &message, &[]);
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["from"], "app@b.example");
    assert_eq!(reply["to"], json!(["c@d.example", "e@d.example", "hidden@d.example"]));
    let id = reply["id"].as_str().unwrap();
    assert_eq!(reply["response"], format!("250 2.0.0 Message queued as {id}"));
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| !m.is_empty()));
    let content = messages[0]["content"].as_str().unwrap();
    assert!(content.contains(&format!("with HTTP id {id}")) && !content.contains("hidden"), "{content}");
    let parts = python(
        "import email, email.policy, sys\n\
         m = email.message_from_string(sys.argv[1], policy=email.policy.default)\n\
         print(m['subject'], '|', m['from'], '|', ' '.join(p.get_content_type() for p in m.walk()))",
        &[content],
    );
    assert_eq!(
        parts.trim(),
        "Tere õhtust | Jõe <app@b.example> | multipart/mixed multipart/alternative text/plain multipart/related \
         text/html image/png application/pdf"
    );
    assert_eq!(server.wait_log("QUEUED", 1).len(), 1);
}

#[test]
fn raw_content_arrives_as_it_is() {
    let server = queueing("", "");
    let content =
        b"From: q@b.example\r\nTo: c@d.example\r\nBcc: x@y.example\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
                    Message-ID: <a@b>\r\n\r\n.dots\r\n..\r\n\xc3\xb5\r\n";
    let (status, reply) = raw(&server, "?from=a@b.example&to=c@d.example&to=e@d.example", &[], content);
    assert_eq!((status, &reply["to"]), (200, &json!(["c@d.example", "e@d.example"])), "{reply}");
    let stored = fetch(&server, &reply["id"]);
    let (_, section) = stored.split_once("\r\n\r\n").unwrap();
    assert_eq!(section, ".dots\r\n..\r\nõ\r\n");
    assert!(!stored.contains("Bcc"), "{stored}");
    // The envelope of the header, and of fields of the request.
    let (_, reply) = raw(&server, "", &[], content);
    assert_eq!((&reply["from"], &reply["to"]), (&json!("q@b.example"), &json!(["c@d.example", "x@y.example"])));
    let fields = ["-H", "X-Envelope-From;", "-H", "X-Envelope-To: a@d.example, b@d.example"];
    let (status, reply) = raw(&server, "", &fields, content);
    assert_eq!(
        (status, &reply["from"], &reply["to"]),
        (200, &json!(""), &json!(["a@d.example", "b@d.example"])),
        "{reply}"
    );
    // LF becomes CRLF; what no server would take is refused.
    let envelope = "?from=a@b.example&to=c@d.example";
    let (_, reply) = raw(&server, envelope, &[], b"Subject: x\n\na\n.\nb\n");
    assert!(fetch(&server, &reply["id"]).ends_with("\r\n\r\na\r\n.\r\nb\r\n"));
    let before = server.queue().len();
    for wrong in
        [&b"Subject: x\r\n\r\na\rb\r\n"[..], b"Subject: x\r\n\r\na\0b\r\n", b"S: x\r\n\r\na\r\n.\r\r\n", b"a\r"]
    {
        assert_eq!(raw(&server, envelope, &[], wrong).0, 400, "{wrong:?}");
    }
    let (status, problem) = raw(&server, "?from=a@b.example&to=c@d.example%0d%0aRCPT%20TO:%3Cv@x%3E", &[], content);
    assert_eq!((status, &problem["field"]), (400, &json!("to[0]")), "{problem}");
    assert_eq!(server.queue().len(), before, "nothing of what was refused is queued");
}

#[test]
fn gzip_is_taken_and_sizes_are_bounded() {
    let server = queueing("max_size = '1MiB'\nmax_body = '1MiB'", "");
    let gzip = |text: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("body");
        std::fs::write(&file, text).unwrap();
        let _ = run("gzip", &["-9", file.to_str().unwrap()]);
        std::fs::read(dir.path().join("body.gz")).unwrap()
    };
    let encoding = ["-H", JSON, "-H", "Content-Encoding: gzip"];
    let body = gzip(simple("c@d.example").to_string().as_bytes());
    assert_eq!(curl(&server, "/send", &encoding, Some(&body)).0, 200);
    let mut big = simple("c@d.example");
    big["text"] = "x".repeat(20 << 20).into();
    let bomb = gzip(big.to_string().as_bytes());
    assert!(bomb.len() < 64 << 10);
    assert_eq!(curl(&server, "/send", &encoding, Some(&bomb)).0, 413);
    assert_eq!(send(&server, &big, &[]).0, 413);
    assert_eq!(curl(&server, "/send", &encoding, Some(b"no gzip")).0, 400);
    let content = [b"Subject: x\r\n\r\n".to_vec(), b"line of text\r\n".repeat(100_000)].concat();
    let envelope = "?from=a@b.example&to=c@d.example";
    assert_eq!(raw(&server, envelope, &[], &content).0, 413);
    let encoding = ["-H", "Content-Encoding: gzip"];
    assert_eq!(raw(&server, envelope, &encoding, &gzip(&content)).0, 413);
    assert_eq!(raw(&server, envelope, &encoding, &gzip(&content[..50_000])).0, 200);
    assert_eq!(raw(&server, envelope, &["-H", "Content-Encoding: br"], &content).0, 415);
    assert_eq!(curl(&server, "/send", &[], Some(b"a=b")).0, 415, "a form of a browser");
    assert_eq!(curl(&server, "/send", &["-H", JSON], Some("[".repeat(100_000).as_bytes())).0, 400);
    assert_eq!(server.queue().len(), 2);
}

#[test]
fn what_is_wrong_is_named_and_leaves_nothing() {
    let server = queueing("max_recipients = 3", "");
    let check = |change: Value, field: &str| {
        let mut message = simple("c@d.example");
        message.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, problem) = send(&server, &message, &[]);
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{change}: {problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(field), "{problem}");
    };
    check(json!({"attachments": [{"content": "a"}, {"path": "/etc/passwd"}]}), "attachments[1].path");
    check(json!({"attachments": [{"href": "http://127.0.0.1/"}]}), "attachments[0].href");
    check(json!({"subject": "x\r\nBcc: v@x.example"}), "subject");
    check(json!({"headers": {"X-A": "a\nb"}}), "headers.X-A");
    check(json!({"to": "c@d.example\r\nRCPT TO:<v@x.example>"}), "to");
    check(json!({"envelope": {"from": "a@b.example\r\n", "to": "c@d.example"}}), "envelope.from");
    check(json!({"to": "not an address"}), "to");
    check(json!({"to": ["1@d.example", "2@d.example", "3@d.example", "4@d.example"]}), "to");
    check(json!({"sbject": "x"}), "sbject");
    let (status, body) = curl(&server, "/send", &["-H", JSON, "-i"], Some(b"{"));
    assert!(status == 400 && body.contains("application/problem+json"), "{body}");
    assert_eq!(curl(&server, "/nothing", &[], None).0, 404);
    assert_eq!(curl(&server, "/send", &["-X", "DELETE"], None).0, 405);
    assert_eq!(curl(&server, "/fetch/..%2f..%2fetc%2fpasswd", &[], None).0, 400);
    assert!(server.queue().is_empty());
}

#[test]
fn a_client_that_is_cut_off_leaves_nothing() {
    let server = queueing("", "");
    for (path, kind) in [("/send", "application/json"), ("/send-raw?from=a@b.example&to=c@d.example", "message/rfc822")]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", server.http_port)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\nSubject: x\r\n\r\nhalf"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    // One that comes after them is served, so they were seen to their end.
    assert_eq!(send(&server, &simple("c@d.example"), &[]).0, 200);
    assert_eq!(server.queue().len(), 1);
}

#[test]
fn a_key_sends_once_also_over_a_crash() {
    let mut server = queueing("", "");
    let key = ["-H", "Idempotency-Key: order-17"];
    let message = simple("c@d.example");
    let (status, first) = send(&server, &message, &key);
    assert_eq!(status, 200, "{first}");
    assert_eq!(send(&server, &message, &key).1, first);
    let (status, problem) = send(&server, &simple("e@d.example"), &key);
    assert_eq!((status, &problem["field"]), (422, &json!("Idempotency-Key")), "{problem}");
    server.kill();
    server.restart();
    assert_eq!(send(&server, &message, &key).1, first, "the row is as durable as the message");
    assert_eq!(server.queue().len(), 1);
    // The same for raw content.
    let (query, key) = ("?from=a@b.example&to=c@d.example", ["-H", "Idempotency-Key: raw-1"]);
    let (_, first) = raw(&server, query, &key, b"Subject: x\n\nbody\n");
    assert_eq!(raw(&server, query, &key, b"Subject: x\n\nbody\n").1, first);
    assert_eq!(raw(&server, query, &key, b"Subject: x\n\nother\n").0, 422);
    assert_eq!(raw(&server, "?from=a@b.example&to=e@d.example", &key, b"Subject: x\n\nbody\n").0, 422);
    assert_eq!(server.queue().len(), 2);
    // Many at once with one key are one message.
    let ids = std::thread::scope(|scope| {
        let one = || scope.spawn(|| send(&server, &message, &["-H", "Idempotency-Key: at-once"]).1["id"].clone());
        let all: Vec<_> = (0..8).map(|_| one()).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(server.queue().len(), 3);
}

#[test]
fn killed_under_load_each_key_has_one_message() {
    let mut server = queueing("", "");
    let bodies: Vec<Value> = (0..200).map(|n| simple(&format!("u{n}@d.example"))).collect();
    let key = |n: usize| format!("Idempotency-Key: k{n}");
    let pid = server.pid();
    std::thread::scope(|scope| {
        for half in bodies.chunks(100).zip(0..) {
            let (server, key) = (&server, &key);
            scope.spawn(move || {
                for (n, body) in half.0.iter().enumerate() {
                    // From the kill on there is no answer.
                    let (at, url) = (half.1 * 100 + n, format!("http://127.0.0.1:{}/send", server.http_port));
                    let _ = Command::new("curl")
                        .args(["-s", "-o", "/dev/null", "-H", JSON, "-H", &key(at), "-d", &body.to_string(), &url])
                        .status();
                }
            });
        }
        std::thread::sleep(Duration::from_millis(700));
        let _ = run("kill", &["-9", &pid.to_string()]);
    });
    server.kill();
    server.restart();
    let before = server.queue().len();
    let ids: Vec<String> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| send(&server, body, &["-H", &key(n)]).1["id"].as_str().unwrap().to_owned())
        .collect();
    let rows = server.queue();
    assert!(before > 0 && before < bodies.len(), "the kill came in between: {before}");
    assert_eq!(rows.len(), bodies.len(), "one message for each key");
    for (id, body) in ids.iter().zip(&bodies) {
        assert!(rows.iter().any(|row| row["id"] == **id && row["recipient"] == body["to"]), "{id}");
    }
}

#[test]
fn ten_thousand_recipients_in_one_request() {
    const COUNT: usize = 10_000;
    let mut server = queueing("", "");
    let bulk = |numbers: std::ops::Range<usize>| {
        let recipients: Vec<Value> = numbers
            .map(|n| json!({"to": format!("u{n}@d.example"), "substitutions": {"name": format!("<{n}>")}, "metadata": {"n": n}}))
            .collect();
        json!({
            "from": "a@b.example", "subject": "Hi {{name}}", "text": "{{name}}", "html": "<b>{{name}}</b>",
            "headers": {"X-N": "{{name}}"}, "recipients": recipients,
        })
    };
    // What the store keeps of so much mail (its index, its cache) is the mail's, however it comes: first as much by
    // hundreds.
    for hundred in 0..COUNT / 100 {
        assert_eq!(send(&server, &bulk(hundred * 100..(hundred + 1) * 100), &[]).0, 200);
    }
    let idle = process::resident_kib(server.pid());
    let bulk = bulk(0..COUNT);
    let key = ["-H", "Idempotency-Key: bulk"];
    let (status, report) = send(&server, &bulk, &key);
    assert_eq!((status, &report["accepted"], &report["refused"]), (200, &json!(COUNT), &json!(0)));
    let grown = process::peak_kib(server.pid()).saturating_sub(idle);
    println!("10,000 recipients in one request: {grown} KiB more at the peak");
    assert!(grown < 32 << 10, "{grown} KiB");
    let queued = process::resident_kib(server.pid());
    assert_eq!(send(&server, &bulk, &key).1, report);
    let again = process::peak_kib(server.pid()).saturating_sub(queued);
    println!("the same again, of which nothing is queued: {again} KiB more at the peak");
    assert!(again < 16 << 10, "{again} KiB");
    assert_eq!(server.queue().len(), 2 * COUNT);
    let row = &report["results"][4321];
    assert_eq!((&row["index"], &row["to"]), (&json!(4321), &json!(["u4321@d.example"])));
    let content = fetch(&server, &row["id"]);
    for part in ["Subject: Hi <4321>", "To: u4321@d.example", "X-N: <4321>", "<b>&lt;4321&gt;</b>"] {
        assert!(content.contains(part), "{part:?} is not in\n{content}");
    }
    assert!(!content.contains("u4320@"));
    server.kill();
    server.restart();
    let (_, again) = send(&server, &bulk, &key);
    assert_eq!(again, report, "repeated after a crash it is the same");
    assert_eq!(server.queue().len(), 2 * COUNT);
}

#[test]
fn in_bulk_each_message_has_its_result() {
    let server = queueing("", "");
    let bulk = json!({
        "from": "a@b.example", "subject": "{{x}}", "text": "t",
        "recipients": [{"to": "c@d.example", "substitutions": {"x": "1"}}, {"to": "e@d.example"},
                       {"to": "f@d.example", "substitutions": {"x": "a\r\nBcc: v@x"}}],
    });
    let (status, report) = send(&server, &bulk, &[]);
    assert_eq!((status, &report["accepted"], &report["refused"]), (207, &json!(1), &json!(2)), "{report}");
    assert_eq!(report["results"][1]["problem"]["field"], "recipients[1].substitutions");
    assert_eq!(report["results"][2]["problem"]["field"], "recipients[2].substitutions");
    let (status, report) = send(&server, &json!([simple("1@d.example"), simple("2@d.example")]), &[]);
    assert_eq!((status, &report["accepted"]), (200, &json!(2)), "{report}");
    let before = server.queue().len();
    let (status, problem) = send(&server, &json!([simple("1@d.example"), simple("nobody")]), &[]);
    assert_eq!((status, &problem["field"]), (400, &json!("[1].to")), "{problem}");
    let wrong = json!({"from": "a@b.example", "recipients": [{"to": "c@d.example"}, {"to": "x"}]});
    let (status, problem) = send(&server, &wrong, &[]);
    assert_eq!((status, &problem["field"]), (400, &json!("recipients[1].to")), "{problem}");
    assert_eq!(server.queue().len(), before, "nothing before all of it was read");
}

#[test]
fn credentials_and_scopes() {
    let hash = {
        let mut child = Command::new(postern_tests::binary())
            .args(["user", "hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let start = text.find("$argon2").unwrap();
        text[start..].split(['"', '\'', '\n']).next().unwrap().to_owned()
    };
    let token: String = Sha256::digest(b"t0ken").iter().map(|b| format!("{b:02x}")).collect();
    let config = format!(
        "[[http.user]]\nname = 'app'\npassword = '{hash}'\nscopes = ['submit']\n\
         [[http.user]]\nname = 'front'\ntoken = '{token}'\nscopes = ['submit', 'impersonate', 'read', 'admin']\n\
         [user.smtp]\npassword = '{hash}'\n"
    );
    let server = queueing("", &config);
    let message = simple("c@d.example");
    let (status, answer) = curl(&server, "/send", &["-i", "-H", JSON], Some(message.to_string().as_bytes()));
    assert!(status == 401 && answer.to_lowercase().contains("www-authenticate: basic"), "{answer}");
    for (args, expected) in [
        (&["-u", "app:correct horse"][..], 200),
        (&["-u", "smtp:correct horse"], 200),
        (&["-u", "app:wrong"], 401),
        (&["-u", "nobody:correct horse"], 401),
        (&["-H", "Authorization: Bearer t0ken"], 200),
        (&["-H", "Authorization: Bearer t0kem"], 401),
        (&["-H", "Authorization: Bearer t0ken", "-H", "Origin: http://evil.example"], 403),
        (&["-u", "app:correct horse", "-H", "X-Authenticated-User: boss"], 403),
        (&["-u", "app:correct horse", "-H", "X-Originating-IP: 192.0.2.7"], 403),
    ] {
        let (status, answer) = send(&server, &message, args);
        assert_eq!(status, expected, "{args:?}: {answer}");
    }
    let bearer = ["-H", "Authorization: Bearer t0ken"];
    let named = [&bearer[..], &["-H", "X-Authenticated-User: boss", "-H", "X-Originating-IP: 192.0.2.7"]].concat();
    let (status, reply) = send(&server, &message, &named);
    assert_eq!(status, 200, "{reply}");
    let path = format!("/message/{}", reply["id"].as_str().unwrap());
    let (status, shown) = curl(&server, &path, &bearer, None);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, &shown["meta"]["user"], &shown["meta"]["origin"]), (200, &json!("boss"), &json!("192.0.2.7")));
    for path in [&path[..], "/metrics", "/queue/default", "/api/v1/recipients"] {
        assert_eq!(curl(&server, path, &["-u", "app:correct horse"], None).0, 403, "{path}");
        assert_eq!(curl(&server, path, &[], None).0, 401, "{path}");
    }
    assert_eq!(curl(&server, "/api/v1/delete", &["-u", "app:correct horse", "-H", JSON], Some(b"{}")).0, 403);
    assert!(!server.log().contains("correct horse") && !server.log().contains("t0ken"));
}

#[test]
fn without_credentials_this_machine_alone() {
    let server = queueing("", "");
    let message = simple("c@d.example");
    assert_eq!(send(&server, &message, &["-u", "stray:password"]).0, 200);
    assert_eq!(send(&server, &message, &["-H", "X-Originating-IP: 192.0.2.7"]).0, 200);
    for header in ["Host: evil.example", "Origin: http://evil.example", "Origin: null"] {
        assert_eq!(send(&server, &message, &["-H", header]).0, 403, "{header}");
    }
    assert_eq!(server.queue().len(), 2);
    let (right, said) = check("[http]\naddress = '0.0.0.0:8080'\n");
    assert!(!right && said.contains("http.address: ") && said.contains("[[http.user]]"), "{said}");
}

#[test]
fn the_queue_can_be_read_as_zonemtas() {
    let server = queueing("", "");
    let (_, reply) = send(&server, &json!({"from": "a@b.example", "to": "1@x.example, 2@y.example", "text": "t"}), &[]);
    let id = reply["id"].as_str().unwrap();
    let get = |path: &str| {
        let (status, body) = curl(&server, path, &[], None);
        (status, serde_json::from_str::<Value>(&body).unwrap_or(Value::Null))
    };
    // The next hop is not there: both may be on the way from queued to deferred.
    let total = |value: &Value| value["queued"].as_u64().unwrap() + value["deferred"].as_u64().unwrap();
    let (_, queue) = get("/queue/default");
    assert_eq!((total(&queue), queue["domains"].as_array().unwrap().len()), (2, 2), "{queue}");
    let rows = |value: &Value| value["active"]["rows"].as_u64().unwrap() + value["deferred"]["rows"].as_u64().unwrap();
    assert_eq!(rows(&get("/counter/zone/default").1), 2);
    assert_eq!(rows(&get("/counter/zone").1["default"]), 2);
    let listed = |kind: &str| get(&format!("/queued/{kind}/default")).1["list"].as_array().unwrap().len();
    wait_for("each in one of the lists", || (listed("queued") + listed("deferred") == 2).then_some(()));
    assert_eq!(get("/queued/other/default").0, 404);
    let (_, message) = get(&format!("/message/{id}"));
    assert_eq!(message["messages"].as_array().unwrap().len(), 2, "{message}");
    assert_eq!(message["meta"]["from"], "a@b.example");
    assert_eq!(get("/message/000000000000000001").0, 404);
    assert_eq!(curl(&server, "/metrics", &[], None).0, 200);
}

#[test]
fn the_description_is_of_what_is_served() {
    let server = queueing("", "");
    let (_, text) = curl(&server, "/api/v1/openapi.json", &[], None);
    let document: Value = serde_json::from_str(&text).unwrap();
    let written = root().join("server/postern/src/http/openapi.json");
    let written: Value = serde_json::from_slice(&std::fs::read(written).unwrap()).unwrap();
    let operations = |document: &Value| -> Vec<String> {
        let paths = document["paths"].as_object().unwrap();
        let of = |(path, methods): (&String, &Value)| {
            methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    };
    // What is served comes from the routes: neither has anything that the other lacks.
    assert_eq!(operations(&document), operations(&written));
    assert!(!text.contains("x-undocumented"));
    for operation in operations(&document) {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace(['{', '}'], "");
        let (status, _) = curl(&server, &path, &["-X", &method.to_uppercase()], None);
        assert!(status != 405 && status < 500, "{operation}: {status}");
    }
}

#[test]
fn a_quarter_of_a_gigabyte_streams() {
    let server = queueing("max_size = '1GiB'", "");
    let envelope = "?from=a@b.example&to=c@d.example";
    assert_eq!(raw(&server, envelope, &[], b"Subject: x\r\n\r\nsmall\r\n").0, 200);
    let idle = process::resident_kib(server.pid());
    let program = "\
import sys, http.client, hashlib
c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
line = b'%075d\\n'
sent = hashlib.sha256()
def content():
    yield b'Subject: large\\n\\n'
    for n in range(256):
        block = b''.join(line % (n * 13800 + i) for i in range(13800))
        sent.update(block.replace(b'\\n', b'\\r\\n'))
        yield block
c.request('POST', '/send-raw?from=a@b.example&to=c@d.example', content(), {'Content-Type': 'message/rfc822'}, encode_chunked=True)
r = c.getresponse()
import json
id = json.load(r)['id']
c.request('GET', '/fetch/' + id)
r = c.getresponse()
got, head = hashlib.sha256(), b''
while b'\\r\\n\\r\\n' not in head:
    head += r.read(1024)
got.update(head.split(b'\\r\\n\\r\\n', 1)[1])
while piece := r.read(1 << 20):
    got.update(piece)
print(got.hexdigest() == sent.hexdigest())
";
    assert_eq!(python(program, &[&server.http_port.to_string()]).trim(), "True");
    let grown = process::peak_kib(server.pid()).saturating_sub(idle);
    println!("256 MiB by /send-raw: {grown} KiB more at the peak");
    assert!(grown < 32 << 10, "{grown} KiB");
}

#[test]
fn messages_are_those_that_nodemailer_makes() {
    let nodemailer = root().join("target/nodemailer");
    if !nodemailer.join("node_modules/nodemailer").exists() {
        return not_run("messages against Nodemailer's", "it was not installed; `make test-deps` says why");
    }
    let server = queueing("", "");
    let port = server.http_port.to_string();
    let count = if soak() { "3000" } else { "300" };
    let program = include_str!("../src/http_corpus.py");
    let report = python(program, &[&port, nodemailer.to_str().unwrap(), "1", count]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let share = report["share"].as_f64().unwrap();
    println!(
        "{} messages, {} fields: {share:.4} equal; {}",
        report["messages"], report["fields"], report["differences"]
    );
    assert!(share >= 0.99, "{}", report["examples"]);
    // Those that docs/http.md explains.
    let known = [
        "part filename",
        "part parameter charset",
        "part encoding",
        "header to",
        "header cc",
        "header from",
        "header sender",
        "header reply-to",
    ];
    let different = report["differences"].as_object().unwrap();
    assert!(different.keys().all(|kind| known.contains(&&kind[..])), "{}", report["examples"]);
}
