//! Submission with TLS and AUTH by clients that we did not write: swaks, smtplib, curl, msmtp and OpenSSL's s_client; and
//! what is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{APP, PASSWORD, REQUIRED, server, write_certificate};
use postern_tests::{Client, Postern, SmtpSink, python, run, wait_for};
use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn arrived(sink: &SmtpSink, count: usize) -> Vec<String> {
    wait_for("the messages", || {
        Some(sink.messages()).filter(|all| all.len() == count && all.iter().all(|one| one.contains("Subject:")))
    })
}

/// swaks with these options; whether it got through, and all that was said.
fn swaks(port: u16, options: &[&str]) -> (bool, String) {
    let at = format!("127.0.0.1:{port}");
    let common = ["--server", &at, "--from", "ann@example.com", "--to", "bob@example.org", "--suppress-data"];
    let output = Command::new("swaks").args(common).args(options).output().unwrap();
    (output.status.success(), printed(&output))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn swaks_over_both_kinds_of_tls_and_both_mechanisms() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, REQUIRED);
    let user = ["--auth-user", "app", "--auth-password", PASSWORD];
    let ways = [
        (server.port, "--tls", "PLAIN"),
        (server.port, "--tls", "LOGIN"),
        (tls, "--tls-on-connect", "PLAIN"),
        (tls, "--tls-on-connect", "LOGIN"),
    ];
    for (port, way, mechanism) in ways {
        let (through, said) = swaks(port, &[&[way, "--auth", mechanism], &user[..]].concat());
        assert!(through, "{way} {mechanism}: {said}");
    }
    for message in arrived(&sink, ways.len()) {
        assert!(message.contains("(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)"), "{message}");
        assert!(message.contains("(Authenticated sender: app) with ESMTPSA id "), "{message}");
    }
    assert_eq!(server.wait_log(" AUTHENTICATED ", ways.len()).len(), ways.len());
    let log = server.log();
    assert!(!log.contains("sesame") && !log.contains("argon2") && !log.contains("SCRAM-SHA-256$"), "{log}");
    // TLS 1.2 is there, what was before it is not.
    let (through, said) = swaks(tls, &[&["--tls-on-connect", "--tls-protocol", "tlsv1_2"], &user[..]].concat());
    assert!(through, "{said}");
    let (through, _) = swaks(tls, &[&["--tls-on-connect", "--tls-protocol", "tlsv1_1"], &user[..]].concat());
    assert!(!through);
}

#[test]
fn nobody_submits_without_authentication_or_in_clear() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, REQUIRED);
    let (through, said) = swaks(server.port, &["--auth-user", "app", "--auth-password", PASSWORD]);
    assert!(!through && !said.contains("250-AUTH"), "{said}");
    let (through, said) = swaks(server.port, &[]);
    assert!(!through && said.contains("530 5.7.0 Must issue a STARTTLS"), "{said}");
    let (through, said) = swaks(tls, &["--tls-on-connect"]);
    assert!(!through && said.contains("530 5.7.0 Authentication required"), "{said}");
    let wrong = ["--tls-on-connect", "--auth", "PLAIN", "--auth-user", "app", "--auth-password", "close sesame"];
    let (through, said) = swaks(tls, &wrong);
    assert!(!through && said.contains("535 5.7.8"), "{said}");
    // A client that says its password in clear, though it was not asked.
    let mut client = Client::hello(server.port).unwrap();
    client.send(b"AUTH PLAIN AGFwcAB4\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 538);
    assert!(sink.messages().is_empty() && server.queue().is_empty());
}

/// `optional`: who is in allow_from need not authenticate, everybody else must.
#[test]
fn authentication_where_the_address_does_not_do() {
    let sink = SmtpSink::start(&[]);
    for (networks, through) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let listener = format!("auth = 'optional'\nallow_from = ['{networks}']");
        let server = Postern::start_with(sink.port, &listener, "", &format!("[user.app]\n{}", *APP));
        let (without, said) = swaks(server.port, &[]);
        assert_eq!(without, through, "{said}");
        assert_eq!(said.contains("530 5.7.0"), !through, "{said}");
        // In clear from this machine, which is the default.
        let (with, said) = swaks(server.port, &["--auth", "PLAIN", "--auth-user", "app", "--auth-password", PASSWORD]);
        assert!(with, "{said}");
        server.wait_empty();
    }
    let messages = arrived(&sink, 3);
    assert_eq!(messages.iter().filter(|message| message.contains("with ESMTPA id ")).count(), 2, "{messages:?}");
}

#[test]
fn smtplib_curl_and_msmtp() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, REQUIRED);
    python(
        "import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[3])
for smtp in [smtplib.SMTP('localhost', int(sys.argv[1])), smtplib.SMTP_SSL('localhost', int(sys.argv[2]), context=context)]:
    with smtp as client:
        if not isinstance(client, smtplib.SMTP_SSL):
            client.starttls(context=context)
        try:
            client.login('app', 'wrong')
            raise SystemExit('a wrong password will do')
        except smtplib.SMTPAuthenticationError as error:
            assert error.smtp_code == 535, error
        # It writes passwords as ASCII.
        client.user, client.password = 'app', ''
        client.ehlo_or_helo_if_needed()
        import base64
        code, text = client.docmd('AUTH', 'PLAIN ' + base64.b64encode('\\0app\\0\u{f6}pen sesame'.encode()).decode())
        assert code == 235, (code, text)
        client.sendmail('a@b.example', ['c@d.example'], 'Subject: smtplib\\r\\n\\r\\nbody\\r\\n')",
        &[&server.port.to_string(), &tls.to_string(), server.dir().join("own.pem").to_str().unwrap()],
    );
    let file = server.dir().join("message");
    fs::write(&file, "Subject: curl\r\n\r\nbody\r\n").unwrap();
    let (file, ca) = (file.to_str().unwrap().to_owned(), server.dir().join("own.pem"));
    let user = format!("app:{PASSWORD}");
    let curl = |url: &str, options: &[&str]| {
        let common =
            ["-sS", "--url", url, "--cacert", ca.to_str().unwrap(), "--user", &user, "--mail-from", "a@b.example"];
        let rest = ["--mail-rcpt", "c@d.example", "--upload-file", &file];
        let _ = run("curl", &[&common[..], &rest[..], options].concat());
    };
    curl(&format!("smtp://localhost:{}", server.port), &["--ssl-reqd"]);
    curl(&format!("smtps://localhost:{tls}"), &[]);
    curl(&format!("smtps://localhost:{tls}"), &["--login-options", "AUTH=LOGIN"]);
    for (port, starttls, mechanism) in [
        (server.port, "on", "plain"),
        (tls, "off", "login"),
        (tls, "off", "scram-sha-256"),
        (server.port, "on", "scram-sha-256"),
    ] {
        let text = format!(
            "defaults\nauth {mechanism}\ntls on\ntls_starttls {starttls}\ntls_trust_file {}\n\
             account default\nhost localhost\nport {port}\nfrom a@b.example\nuser app\npassword {PASSWORD}\n",
            ca.display()
        );
        let config = server.dir().join("msmtprc");
        fs::write(&config, text).unwrap();
        let _ = run("chmod", &["600", config.to_str().unwrap()]);
        let command = format!("printf 'Subject: msmtp\\n\\nbody\\n' | msmtp -C {} c@d.example", config.display());
        let _ = run("sh", &["-c", &command]);
    }
    for message in arrived(&sink, 9) {
        assert!(message.contains("with ESMTPSA id "), "{message}");
    }
    assert_eq!(server.log_lines("mechanism=\"SCRAM-SHA-256\"").len(), 2);
}

/// The subject of the certificate that s_client is shown: its names.
fn shown(port: u16, name: &str) -> String {
    let name = if name.is_empty() { "-noservername".to_owned() } else { format!("-servername {name}") };
    let command = format!(
        "openssl s_client -connect 127.0.0.1:{port} {name} </dev/null 2>/dev/null \
         | openssl x509 -noout -ext subjectAltName -fingerprint"
    );
    String::from_utf8(run("sh", &["-c", &command]).stdout).unwrap()
}

#[test]
fn certificates_by_name_and_read_anew() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, "");
    for (name, expected) in [
        ("", "localhost"),
        ("localhost", "localhost"),
        ("nobody.example", "localhost"),
        ("other.example", "other.example"),
        ("a.wild.example", "other.example"),
    ] {
        assert!(shown(tls, name).contains(&format!("DNS:{expected}")), "{name}: {}", shown(tls, name));
    }
    let before = shown(tls, "localhost");
    fs::write(server.dir().join("own.key"), "half a key").unwrap();
    let line = server.wait_log("new certificates can't be used", 1)[0].clone();
    assert!(line.contains("own.key"), "{line}");
    assert_eq!(shown(tls, "localhost"), before);
    write_certificate(server.dir(), "own", &["new.example"]);
    server.wait_log("certificates were read anew", 2);
    assert!(shown(tls, "localhost").contains("DNS:new.example"), "{}", shown(tls, "localhost"));
}

#[test]
fn sessions_are_resumed() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, "");
    for version in ["-tls1_3", "-tls1_2"] {
        let file = server.dir().join("ticket");
        let connect = |option: &str| {
            let command = format!(
                "(sleep 1; echo QUIT) | openssl s_client -connect 127.0.0.1:{tls} {version} -crlf {option} {} 2>&1",
                file.display()
            );
            String::from_utf8_lossy(&run("sh", &["-c", &command]).stdout).into_owned()
        };
        let first = connect("-sess_out");
        assert!(first.contains("New, TLS"), "{first}");
        let second = connect("-sess_in");
        assert!(second.contains("Reused, TLS"), "{second}");
    }
}

#[test]
fn what_stands_behind_starttls_is_never_obeyed() {
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    client.send(b"STARTTLS\r\nRSET\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 554);
    assert_eq!(client.line().unwrap(), None, "the session is over");
    // It comes a moment later: no record of TLS.
    let mut client = Client::hello(server.port).unwrap();
    client.command("STARTTLS", 2).unwrap();
    client.send(b"RSET\r\nMAIL FROM:<a@b.example>\r\n").unwrap();
    let rest = wait_for("the end", || match client.line() {
        Ok(Some(line)) => Some(line),
        _ => Some(String::new()),
    });
    assert!(!rest.starts_with("250"), "{rest}");
    server.wait_log("TLS handshake failed", 1);
    // A client of another protocol that says what it is (ALPACA).
    let command = format!("openssl s_client -connect 127.0.0.1:{tls} -alpn http/1.1 </dev/null 2>&1; true");
    let said = String::from_utf8_lossy(&run("sh", &["-c", &command]).stdout).into_owned();
    assert!(said.contains("no application protocol"), "{said}");
    // Over TLS nothing is known of what was said before.
    python(
        "import smtplib, ssl, sys
client = smtplib.SMTP('localhost', int(sys.argv[1]))
client.ehlo()
assert client.has_extn('starttls')
client.starttls()
assert client.docmd('MAIL FROM:<a@b.example>')[0] == 503
client.ehlo()
assert not client.has_extn('starttls')
assert client.docmd('STARTTLS')[0] == 503
assert client.docmd('MAIL FROM:<a@b.example>')[0] == 250
client.quit()",
        &[&server.port.to_string()],
    );
}

#[test]
fn guessing_is_slow_and_ends() {
    let sink = SmtpSink::start(&[]);
    let listener = "auth = 'required'\nauth_failures = 4";
    let server = Postern::start_with(sink.port, listener, "", &format!("[user.app]\n{}\n[user.other]\n{}", *APP, *APP));
    let guess = |client: &mut Client, command: &str| {
        client.send(format!("{command}\r\n").as_bytes()).unwrap();
        client.reply().unwrap().code
    };
    let wrong = "AUTH PLAIN AGFwcAB3cm9uZw==";
    let mut client = Client::hello(server.port).unwrap();
    let start = Instant::now();
    assert_eq!([guess(&mut client, wrong), guess(&mut client, wrong), guess(&mut client, wrong)], [535; 3]);
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(client.reply().unwrap().code, 421, "three are enough for a session");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(guess(&mut client, wrong), 535);
    // From here nothing is tried any more, not even what is right.
    let (through, said) = swaks(server.port, &["--auth", "PLAIN", "--auth-user", "app", "--auth-password", PASSWORD]);
    assert!(!through && said.contains("421 4.7.0"), "{said}");
    // Another address gets in, with a name that nobody guessed at.
    let right = |user: &str, source: &str| {
        let options =
            ["--auth", "PLAIN", "--auth-user", user, "--auth-password", PASSWORD, "--local-interface", source];
        swaks(server.port, &options)
    };
    assert!(right("other", "127.0.0.2").0, "{}", right("other", "127.0.0.2").1);
    let (through, said) = right("app", "127.0.0.2");
    assert!(!through && said.contains("421 4.7.0"), "{said}");
    let lines = server.wait_log("PLAIN as", 6);
    assert!(lines.iter().all(|line| line.contains("stage=\"AUTH\"")), "{lines:?}");
    assert!(!server.log().contains("sesame"));
}

/// Tries that come at once are not answered at once: no more than `auth_failures` ever learn anything.
#[test]
fn guessing_at_once_is_no_faster() {
    let sink = SmtpSink::start(&[]);
    let listener = "auth = 'required'\nauth_failures = 4";
    let server = Postern::start_with(sink.port, listener, "", &format!("[user.app]\n{}", *APP));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::hello(server.port).unwrap()).collect();
    for client in &mut clients {
        client.send(b"AUTH PLAIN AGFwcAB3cm9uZw==\r\n").unwrap();
    }
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.reply().unwrap().code).collect();
    let answered = codes.iter().filter(|code| **code == 535).count();
    assert_eq!((answered, codes.iter().filter(|code| **code == 421).count()), (4, 36), "{codes:?}");
}

#[test]
fn a_reload_takes_users_over() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start_with(sink.port, "auth = 'required'", "", &format!("[user.app]\n{}", *APP));
    let login = |user: &str| swaks(server.port, &["--auth", "PLAIN", "--auth-user", user, "--auth-password", PASSWORD]);
    assert!(login("app").0 && !login("renamed").0);
    let file = server.dir().join("postern.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[user.app]", "[user.renamed]");
    fs::write(&file, text).unwrap();
    let output = server.command(&["reload", "-c", "postern.toml"]);
    assert!(output.status.success() && !printed(&output).contains("restart"), "{output:?}");
    assert!(login("renamed").0 && !login("app").0);
}

#[test]
fn mistakes_name_the_key() {
    let check = |config: &str, wanted: &str| {
        let (right, said) = postern_tests::check(config);
        assert!(!right && said.contains(wanted), "{said}");
    };
    check("[listener.feeder]\ntls = 'starttls'", "listener.feeder.certificate: TLS needs a file");
    check("[listener.feeder]\ntls = 'implicit'\ncertificate = 'a'", "listener.feeder.key: TLS needs a file");
    check("[listener.feeder]\ntls = 'implicit'\ncertificate = 'no-such'\nkey = 'b'", "listener.feeder.certificate: ");
    check("[listener.feeder]\nauth = 'required'", "listener.feeder.auth: nobody could authenticate");
    check("[listener.feeder]\nauth_failures = 0", "listener.feeder.auth_failures: ");
    check("[listener.feeder]\ntls = 'on'", "`starttls`");
    let (right, said) = postern_tests::check(&format!("[user.app]\n{}", *APP));
    assert!(right && said.contains("(secret)") && !said.contains("argon2") && !said.contains("SCRAM"), "{said}");
}
