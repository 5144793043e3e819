//! What must not leave does not: a Bcc, a password and fields of the server's own are in no message that goes out, in no
//! DSN, not in the log at its finest and not among the figures.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{APP, PASSWORD};
use postern_tests::{AioSink, Client, Postern, Setup, python, run, wait_for};

const BCC: &str = "bcc-canary@hidden.example";
const ZONE: &str = "zonecanary";
/// Of the API.
const TOKEN: &str = "t0ken-canary-0123456789abcdef0123456789";

/// A submission with this mechanism by smtplib; `good` is whether the password is right.
const SUBMIT: &str = "
import smtplib, sys
port, mechanism, password, content = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
client = smtplib.SMTP('127.0.0.1', port)
client.ehlo()
client.user, client.password = 'app', password
# smtplib has ASCII alone.
import base64
encode = lambda text: base64.b64encode(text.encode()).decode()
if mechanism == 'PLAIN':
    code = client.docmd('AUTH PLAIN ' + encode('\\0app\\0' + password))[0]
else:
    client.docmd('AUTH LOGIN ' + encode('app'))
    code = client.docmd(encode(password))[0]
print(code)
if code == 235:
    client.mail('sender@example.com', ['RET=FULL'])
    for to in ('to@d.example', 'perm@d.example', 'temp@d.example', '%s'):
        print(client.rcpt(to)[0])
    print(client.data(content.encode())[0])
";

/// Texts that must be nowhere: secrets, and their forms in base64.
fn secrets() -> Vec<String> {
    let encoded = |text: &str| {
        python("import base64, sys; print(base64.b64encode(eval(sys.argv[1]).encode()).decode())", &[text])
    };
    let word = PASSWORD.split(' ').next_back().unwrap();
    let mut all = vec![word.to_owned(), TOKEN.to_owned()];
    for text in [format!("'\\0app\\0{PASSWORD}'"), format!("'{PASSWORD}'")] {
        all.push(encoded(&text).trim().trim_end_matches('=').to_owned());
    }
    all.extend(APP.lines().filter_map(|line| Some(line.split_once('\'')?.1.trim_end_matches('\'').to_owned())));
    all
}

#[test]
fn nothing_secret_leaves() {
    let sink = AioSink::start();
    let config = format!(
        "[[http.user]]\nname = 'ops'\ntoken = {{ file = 'token' }}\nscopes = ['read']\n[log]\nlevel = 'trace'\n[queue]\nretry = ['1s']\n[user.app]\n{}\n[zone.{ZONE}]\nsmart_host = {{ host = '127.0.0.1', port = {} }}",
        *APP, sink.port
    );
    let listener = "auth = 'required'\ntrust_headers = true".to_owned();
    let mut server = Postern::prepare(sink.port, Setup { listener, config, ..Setup::default() });
    std::fs::write(server.dir().join("token"), TOKEN).unwrap();
    server.restart();
    let content = format!(
        "From: sender@example.com\r\nTo: to@d.example\r\nBcc: {BCC},\r\n {BCC}\r\nbcc : other-{BCC}\r\nX-Sending-Zone: {ZONE}\r\n\
         Subject: canaries\r\n\r\nbody\r\n"
    );
    let program = SUBMIT.replace("'%s'", &format!("'{BCC}'"));
    let port = server.port.to_string();
    for mechanism in ["PLAIN", "LOGIN"] {
        let said = python(&program, &[&port, mechanism, PASSWORD, &content]);
        assert_eq!(said.lines().collect::<Vec<_>>(), ["235", "250", "250", "250", "250", "250"]);
        let wrong = PASSWORD.replace("open", "close").replace('ö', "o");
        assert_eq!(python(&program, &[&port, mechanism, &wrong, &content]).trim(), "535");
    }
    // The password where no password should be.
    let mut client = Client::hello(server.port).unwrap();
    client.send(format!("AUTH PLAIN {PASSWORD}\r\n").as_bytes()).unwrap();
    client.expect(5).unwrap();
    // Both messages at once to three recipients (one connection or several), and the DSN of each.
    server.wait_log("REJECTED", 2);
    server.wait_log("DEFERRED", 4);
    let messages = wait_for("messages and DSNs", || Some(sink.messages()).filter(|all| all.len() >= 4));
    let is_dsn = |content: &str| content.contains("report-type=delivery-status");
    let dsns = messages.iter().filter(|message| is_dsn(message["content"].as_str().unwrap())).count();
    assert_eq!(dsns, 2, "{messages:?}");
    let url = format!("http://127.0.0.1:{}/metrics", server.http_port);
    let figures = run("curl", &["-sf", "-H", &format!("Authorization: Bearer {TOKEN}"), &url]);
    let figures = String::from_utf8_lossy(&figures.stdout).into_owned();
    for message in &messages {
        let content = message["content"].as_str().unwrap();
        for canary in [BCC, ZONE, "X-Sending-Zone", "Bcc", "bcc :"] {
            assert!(!content.contains(canary), "{canary} in\n{content}");
        }
        assert!(content.contains("Subject: canaries"), "the DSN returns the message");
    }
    let (log, sent) = (server.log(), messages.iter().map(ToString::to_string).collect::<String>());
    for secret in secrets() {
        assert!(secret.len() > 5);
        for (place, text) in [("the log", &log), ("what was sent", &sent), ("the figures", &figures)] {
            assert!(!text.contains(&secret), "{secret} in {place}");
        }
    }
    assert!(!figures.contains("example"), "an address among the figures");
}
