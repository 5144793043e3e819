//! Who is at the HTTP address, and how much it may do: TLS with curl and Python, logins by the config and by plugins,
//! guessing, limits by address and by user.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{APP, PASSWORD, write_certificate};
use postern_tests::{AioSink, Client, Postern, Setup, curl, curl_url, free_port, python, root, send, wait_for};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const JSON: [&str; 2] = ["-H", "Content-Type: application/json"];

fn simple() -> Value {
    json!({"from": "app@b.example", "to": "c@d.example", "subject": "s", "text": "t"})
}

fn start(next_hop: u16, listener: &str, http: &str, config: &str) -> Postern {
    let setup = Setup { listener: listener.into(), http: http.into(), config: config.into(), ..Setup::default() };
    let mut server = Postern::prepare(next_hop, setup);
    write_certificate(server.dir(), "own", &["localhost", "127.0.0.1"]);
    write_certificate(server.dir(), "other", &["other.example", "*.wild.example"]);
    server.restart();
    server
}

#[test]
fn https_with_curl_and_python() {
    let sink = AioSink::start();
    let tls = "tls = 'implicit'\ncertificate = 'own.pem'\nkey = 'own.key'\n\
               certificates = [{ certificate = 'other.pem', key = 'other.key' }]";
    let server = start(sink.port, "", tls, &format!("[user.app]\n{}", *APP));
    let port = server.http_port;
    let ca = |name: &str| server.dir().join(name).to_str().unwrap().to_owned();
    let user = format!("app:{PASSWORD}");
    let over = |host: &str, ca: &str, more: &[&str]| {
        let connect = format!("{host}:{port}:127.0.0.1:{port}");
        let args = [&["--cacert", ca, "--connect-to", &connect, "-u", &user][..], &JSON, more].concat();
        curl_url(&format!("https://{host}:{port}/send"), &args, Some(simple().to_string().as_bytes()))
    };
    assert_eq!(over("localhost", &ca("own.pem"), &[]).0, 200);
    assert_eq!(over("127.0.0.1", &ca("own.pem"), &["--tlsv1.2", "--tls-max", "1.2"]).0, 200);
    // By the name that is asked for.
    for host in ["other.example", "any.wild.example"] {
        assert_eq!(over(host, &ca("other.pem"), &[]).0, 200, "{host}");
    }
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|all| all.len() == 4));
    for message in messages {
        let content = message["content"].as_str().unwrap();
        assert!(
            content.contains("(using TLSv1.") && content.contains("(Authenticated sender: app) with HTTP id "),
            "{content}"
        );
    }
    // Python: ALPN, keep-alive, and what is refused in the handshake.
    let program = "
import http.client, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(['h2', 'http/1.1'])
client = http.client.HTTPSConnection('localhost', port, context=context)
for _ in range(3):
    client.request('GET', '/metrics')
    answer = client.getresponse()
    answer.read()
    print(answer.status, client.sock.selected_alpn_protocol())
smtp = ssl.create_default_context(cafile=ca)
smtp.set_alpn_protocols(['smtp'])
old = ssl.create_default_context(cafile=ca)
old.maximum_version = ssl.TLSVersion.TLSv1_1
other = ssl.create_default_context()
for context in [smtp, old, other]:
    try:
        client = http.client.HTTPSConnection('localhost', port, context=context)
        client.request('GET', '/metrics')
        print(client.getresponse().status)
    except ssl.SSLError as error:
        print('refused')
";
    let said = python(program, &[&port.to_string(), &ca("own.pem")]);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["401 http/1.1"; 3].into_iter().chain(["refused"; 3]).collect::<Vec<_>>()
    );
    // Clear text on the port is not answered.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"), "{answer:?}");
    // Another certificate in the place of the first.
    write_certificate(server.dir(), "own", &["localhost", "renewed.example"]);
    server.wait_log("certificates were read anew", 1);
    assert_eq!(over("renewed.example", &ca("own.pem"), &[]).0, 200);
}

/// Whoever guesses over one way in can't begin anew over another.
#[test]
fn guesses_count_together() {
    let listener = "auth = 'required'\nauth_failures = 3";
    let users = format!("[user.app]\n{}\n[user.known]\n{}", *APP, *APP);
    let server = start(free_port(), listener, "auth_failures = 3", &users);
    let from = |source: &str, user: &str, password: &str| {
        send(&server, &simple(), &["--interface", source, "-u", &format!("{user}:{password}")])
    };
    assert_eq!(from("127.0.0.2", "known", PASSWORD).0, 200);
    assert_eq!(from("127.0.0.3", "app", "wrong").0, 401);
    assert_eq!(from("127.0.0.3", "app", "wrong").0, 401);
    let smtp = "
import smtplib, sys, base64
client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), source_address=(sys.argv[2], 0))
client.ehlo()
print(client.docmd('AUTH', 'PLAIN ' + base64.b64encode(('\\0%s\\0%s' % (sys.argv[3], sys.argv[4])).encode()).decode())[0])
";
    let over_smtp = |source: &str, user: &str, password: &str| {
        python(smtp, &[&server.port.to_string(), source, user, password]).trim().to_owned()
    };
    assert_eq!(over_smtp("127.0.0.3", "other", "wrong"), "535");
    // The address is out, with whatever name and password, over both.
    let (status, problem) = from("127.0.0.3", "known", PASSWORD);
    assert_eq!((status, &problem["retry_after"], &problem["smtp_code"]), (429, &json!(600), &json!(421)), "{problem}");
    assert_eq!(over_smtp("127.0.0.3", "known", "x"), "421");
    // Of others it is not; a name is out once it was guessed at three times, but not where it logged in before.
    assert_eq!(from("127.0.0.4", "app", PASSWORD).0, 200);
    for source in ["127.0.0.5", "127.0.0.6", "127.0.0.7"] {
        assert_eq!(from(source, "known", "wrong").0, 401, "{source}");
    }
    assert_eq!(from("127.0.0.8", "known", PASSWORD).0, 429);
    assert_eq!(from("127.0.0.2", "known", PASSWORD).0, 200);
    // Tokens have no name by which others could be turned away; the address counts.
    let token =
        |source: &str| send(&server, &simple(), &["--interface", source, "-H", "Authorization: Bearer guess"]).0;
    assert_eq!([token("127.0.0.9"), token("127.0.0.9"), token("127.0.0.9"), token("127.0.0.9")], [401, 401, 401, 429]);
    assert_eq!(token("127.0.0.10"), 401);
    let header = curl(&server, "/metrics", &["-i", "--interface", "127.0.0.9", "-u", "a:b"], None).1.to_lowercase();
    assert!(header.contains("retry-after: 600\r\n"), "{header}");
    let log = server.log();
    assert!(log.contains("HTTP-BASIC as "), "{log}");
    assert!(!log.contains("sesame") && !log.contains("guess\"") && !log.contains("wrong"), "{log}");
}

#[test]
fn plugins_say_whose_other_credentials_are() {
    let sink = AioSink::start();
    let component = root().join("tests/guests/auth-hook/auth-hook.wasm").canonicalize().unwrap();
    let plugin = format!("[[plugin]]\nname = 'auth'\ncomponent = '{}'\n", component.display());
    let config = format!("[user.app]\n{}\n{plugin}", *APP);
    let server = start(sink.port, "", "auth_failures = 100", &config);
    let with = |user: &str| send(&server, &simple(), &["-u", user]);
    for (user, status, detail) in [
        ("good:right", 200, ""),
        ("good:wrong", 401, "Authentication failed"),
        ("bad:x", 401, "Not here"),
        ("error:x", 503, ""),
        ("trap:x", 503, ""),
        ("app:wrong", 401, "Authentication failed"),
    ] {
        let (said, problem) = with(user);
        assert_eq!(said, status, "{user}: {problem}");
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(text.contains(detail) && !text.contains("directory"), "{user}: {problem}");
    }
    let bearer = |token: &str| send(&server, &simple(), &["-H", &format!("Authorization: Bearer {token}")]).0;
    assert_eq!((bearer("token-of-shop"), bearer("stolen")), (200, 401));
    // They may submit, and nothing else.
    assert_eq!(curl(&server, "/metrics", &["-u", "good:right"], None).0, 403);
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|all| all.len() == 2));
    for (message, field) in messages.iter().zip(["account-good by HTTP-BASIC", "shop by HTTP-BEARER"]) {
        let content = message["content"].as_str().unwrap();
        assert!(content.contains(&format!("X-User: {field} with HTTP\r\n")), "{field}: {content}");
    }
    // Without any user in the config: everybody must be known to a plugin if the operator says so.
    let server = start(sink.port, "", "auth_required = true", &plugin);
    assert_eq!(send(&server, &simple(), &[]).0, 401);
    assert_eq!(send(&server, &simple(), &["-u", "good:right"]).0, 200);
    let open = start(sink.port, "", "", &plugin);
    assert_eq!(send(&open, &simple(), &["-u", "bad:x"]).0, 200, "a stray Authorization on a machine's own address");
}

#[test]
fn limits_by_address_and_by_user() {
    let users = format!("[user.app]\n{}\n[user.other]\n{}", *APP, *APP);
    let limits = "per_address = { messages = '4/h' }\nper_user = { messages = '3/h', recipients = '5/h' }";
    let server = start(free_port(), "", limits, &users);
    let from = |source: &str, user: &str, message: &Value| {
        send(&server, message, &["--interface", source, "-u", &format!("{user}:{PASSWORD}")])
    };
    assert_eq!(from("127.0.0.2", "app", &simple()).0, 200);
    let many = |number: usize| {
        let to: Vec<String> = (0..number).map(|n| format!("r{n}@d.example")).collect();
        json!({"from": "app@b.example", "to": to, "text": "t"})
    };
    // All of a message's recipients or none; more than there ever may be are not worth another try.
    assert_eq!(from("127.0.0.2", "app", &many(4)).0, 200);
    let (status, problem) = from("127.0.0.3", "other", &many(6));
    assert_eq!((status, &problem["retry_after"]), (422, &Value::Null), "{problem}");
    let (status, problem) = from("127.0.0.4", "app", &simple());
    assert_eq!((status, &problem["smtp_code"]), (429, &json!(450)), "{problem}");
    let wait = problem["retry_after"].as_u64().unwrap();
    assert!((600..=720).contains(&wait), "{problem}");
    // Of an address, whoever the user is; in bulk each message by itself.
    let bulk =
        json!({"from": "app@b.example", "text": "t", "recipients": ["1@d.example", "2@d.example", "3@d.example"]});
    let (status, report) = from("127.0.0.2", "other", &bulk);
    assert_eq!((status, &report["accepted"]), (207, &json!(2)), "{report}");
    let problem = &report["results"][2]["problem"];
    assert_eq!((&problem["status"], problem["retry_after"].is_u64()), (&json!(429), true), "{problem}");
    let (status, answer) = curl(
        &server,
        "/send-raw?from=a@b.example&to=c@d.example",
        &["-i", "--interface", "127.0.0.2", "-u", &format!("other:{PASSWORD}"), "-H", "Content-Type: message/rfc822"],
        Some(b"Subject: s\r\n\r\nb\r\n"),
    );
    assert!(status == 429 && answer.to_lowercase().contains("retry-after:"), "{answer}");
    assert_eq!(server.queue().len(), 7, "1 + 4 recipients of app, 2 of other");
    assert!(server.log().contains("per_user.recipients") && server.log().contains("per_address.messages"));
    // Reading is not sending.
    assert_eq!(curl(&server, "/nothing", &["--interface", "127.0.0.2", "-u", &format!("app:{PASSWORD}")], None).0, 404);
}

#[test]
fn connections_of_an_address() {
    let server = start(free_port(), "", "per_address = { sessions = 2, connections = '5/h' }", "");
    let open = || TcpStream::connect(("127.0.0.1", server.http_port)).unwrap();
    let ask = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /counter/zone HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    let (mut one, mut two) = (open(), open());
    assert_eq!((ask(&mut one), ask(&mut two)), ("200".into(), "200".into()));
    let mut three = open();
    assert_eq!(ask(&mut three), "429", "two are open");
    let mut rest = Vec::new();
    assert!(three.read_to_end(&mut rest).is_ok(), "a refused connection is closed");
    drop((one, two));
    let again = || curl(&server, "/counter/zone", &[], None).0;
    wait_for("a place", || (again() == 200).then_some(()));
    let mut said = Vec::new();
    wait_for("the end of the rate", || {
        said.push(again());
        (said.last() == Some(&429)).then_some(())
    });
    let (status, problem) = curl(&server, "/counter/zone", &[], None);
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert!(status == 429 && problem["retry_after"].as_u64().unwrap() > 60, "{problem}");
    // SMTP has limits of its own.
    assert!(Client::hello(server.port).is_ok());
}

/// One user has one session, from wherever; over HTTP two requests an hour.
#[test]
fn sessions_and_requests_of_a_user() {
    let users = format!("[user.app]\n{}", *APP);
    let listener = "auth = 'required'\nauth_in_clear = true\nper_user = { sessions = 1 }";
    let server = start(free_port(), listener, "per_user = { connections = '2/h' }", &users);
    let script = "
import base64, smtplib, sys
# smtplib itself takes passwords in ASCII alone.
proof = base64.b64encode(('\\0app\\0' + sys.argv[2]).encode()).decode()
def login(source):
    client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), source_address=(source, 0))
    client.ehlo()
    print(*client.docmd('AUTH PLAIN', proof))
    return client
first = login('127.0.0.2')
login('127.0.0.3')
first.quit()
login('127.0.0.3').quit()
";
    let said = python(script, &[&server.port.to_string(), PASSWORD]);
    let expected =
        ["235 b'2.7.0 Auth", "421 b'4.7.0 mta.example.com too many sessions of your user'", "235 b'2.7.0 Auth"];
    let said: Vec<&str> = said.lines().collect();
    assert!(said.len() == 3 && said.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{said:?}");
    let credentials = format!("app:{PASSWORD}");
    let asked: Vec<u16> = (0..3).map(|_| curl(&server, "/nothing", &["-u", &credentials], None).0).collect();
    assert_eq!(asked, [404, 404, 429]);
    let log = server.log();
    assert!(log.contains("per_user.sessions") && log.contains("per_user.connections"), "{log}");
}
