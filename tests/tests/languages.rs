//! Plugins that are not written in Rust: the examples in Python and JavaScript (`make examples`), in the whole server.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, Setup, not_run, root, wait_for};
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

/// How long the first load of an interpreter may take: some 20 s of a processor's time, which others may want too.
const COMPILING: Duration = Duration::from_secs(600);

const PYTHON: &str = "plugins/examples/python/subject-tag.wasm";
const JAVASCRIPT: &str = "plugins/examples/javascript/recipient-rules.wasm";

/// Starts a server with the example, or says that there is none.
fn start(language: &str, component: &str, next_hop: u16, config: &str) -> Option<Postern> {
    let component = root().join(component);
    if !component.exists() {
        not_run(&format!("the plugin example in {language}"), "it was not built; `make examples` says why");
        return None;
    }
    let component = fs::canonicalize(component).unwrap();
    let plugin = format!("[[plugin]]\nname = 'example'\ncomponent = '{}'\n{config}", component.display());
    let mut server = Postern::prepare(next_hop, Setup { config: plugin, ..Setup::default() });
    server.launch();
    let begun = Instant::now();
    while server.log_lines(" ready ").is_empty() {
        assert!(server.ended().is_none(), "the server ended before it was ready");
        assert!(begun.elapsed() < COMPILING, "waited in vain for the server to listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(server)
}

/// The next message that the sink takes: its recipients and its content.
fn next(sink: &AioSink, before: usize) -> (Vec<String>, String) {
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() > before));
    let message = &messages[before];
    let recipients = message["rcpt_tos"].as_array().unwrap().iter().map(|to| to.as_str().unwrap().to_owned());
    (recipients.collect(), message["content"].as_str().unwrap().to_owned())
}

/// What `postern reload` says to a config in which `from` has become `to`; the code of the plugin is compiled already.
fn refused(server: &Postern, from: &str, to: &str) -> String {
    let file = server.dir().join("postern.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
    let output = server.command(&["reload", "-c", "postern.toml"]);
    fs::write(&file, text).unwrap();
    assert!(!output.status.success(), "{to:?} was taken");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A message with a text and an attachment.
fn multipart(header: &str, text: &str) -> String {
    format!(
        "{header}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n\
         --q\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n\
         --q\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=offer.pdf\r\n\r\nx\r\n\
         --q--\r\n"
    )
}

#[test]
fn python() {
    let sink = AioSink::start();
    let config = "memory = '64MiB'\n[plugin.config]\nattachments_field = 'X-Attachments'\n\
                  rules = [{ from = '*@partner.example', to = '*@sales.example', tag = '[Partner]' }]\n";
    let Some(server) = start("Python", PYTHON, sink.port, config) else { return };
    let mut client = Client::hello(server.port).unwrap();
    let content = multipart("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Attachments: none\r\n", "aGVsbG8=");
    let to = ["c@d.example", "Bob@Sales.example"];
    assert_eq!(client.mail("ann@partner.example", &to, &content).unwrap().code, 250);
    let (recipients, content) = next(&sink, 0);
    assert_eq!(recipients, to);
    assert!(content.contains("\r\nX-Tagged: [Partner] (feeder, 127.0.0.1)\r\n"), "{content}");
    assert!(content.contains("\r\nSubject: [Partner] =?utf-8?B?R3LDvMOfZQ==?=\r\n"), "{content}");
    assert!(content.contains("\r\nX-Attachments: offer.pdf (application/pdf)\r\n"), "{content}");
    assert!(!content.contains("X-Attachments: none"), "{content}");

    // No rule fits; and what it was lent for one call is given back, or it would fail one day.
    for count in 1..50 {
        assert_eq!(
            client.mail("a@b.example", &["bob@sales.example"], "Subject: plain\r\n\r\nbody\r\n").unwrap().code,
            250
        );
        let (_, content) = next(&sink, count);
        assert!(content.contains("\r\nSubject: plain\r\n") && !content.contains("X-Tagged"), "{content}");
    }
    for (from, to, said) in [
        ("tag = '[Partner]'", "tag = ''", "rules[0].tag: must be a text"),
        ("to = '*@sales", "too = '*@sales", "rules[0]: unknown key `too`"),
        ("'X-Attachments'", "'X Attachments'", "attachments_field: must be the name of a header field"),
    ] {
        let refusal = refused(&server, from, to);
        assert!(refusal.contains("refuses its config") && refusal.contains(said), "{refusal}");
    }
    assert!(server.log_lines("plugin call failed").is_empty());
}

#[test]
fn javascript() {
    let sink = AioSink::start();
    let config = "memory = '128MiB'\n[plugin.config]\nslow = { text = 'große\\s+lotterie', delay_seconds = 1 }\nrules = [\n\
                  { match = '^([^+]+)\\+.*@(.*)$', to = '$1@$2' },\n\
                  { match = '^broken@(.*)$', to = '$1' },\n]\n";
    let Some(server) = start("JavaScript", JAVASCRIPT, sink.port, config) else { return };
    let mut client = Client::hello(server.port).unwrap();
    let to = ["bob+lists@d.example", "carl@d.example", "carl+x@d.example"];
    assert_eq!(client.mail("a@b.example", &to, "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);
    let (recipients, content) = next(&sink, 0);
    assert_eq!(recipients, ["bob@d.example", "carl@d.example"]);
    assert!(!content.contains("X-Rewritten-For"), "each recipient would see the others: {content}");

    // "Die GROSSE Große Lotterie", in base64.
    let content = multipart("Subject: x\r\nX-Rewritten-For: forged\r\n", "RGllIEdST1NTRSBHcm/Dn2UgTG90dGVyaWU=");
    assert_eq!(client.mail("a@b.example", &["bob+lists@d.example"], &content).unwrap().code, 250);
    let (recipients, content) = next(&sink, 1);
    assert_eq!(recipients, ["bob@d.example"]);
    assert!(content.contains("\r\nX-Rewritten-For: bob+lists@d.example\r\n"), "{content}");
    assert!(!content.contains("forged") && content.contains("\r\nX-Slowed: feeder, "), "{content}");
    let changes = server.wait_log(" CHANGED ", 2);
    assert!(!changes[0].contains("delay") && changes[1].contains("delay 1000 ms"), "{changes:?}");

    // What the host refuses is the error of the call: its edits are dropped, and on_error decides.
    assert_eq!(client.mail("a@b.example", &["broken@d.example"], "Subject: x\r\n\r\nbody\r\n").unwrap().code, 451);
    let failed = server.wait_log("plugin call failed", 1);
    assert!(failed[0].contains("bad-address") && failed[0].contains("refused"), "{failed:?}");
    for count in 2..50 {
        assert_eq!(client.mail("a@b.example", &["c@d.example"], "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);
        let _ = next(&sink, count);
    }
    for (from, to, said) in [
        ("(.*)$', to = '$1' }", "(.*$', to = '$1' }", "rules[1].match: "),
        ("delay_seconds = 1", "delay_seconds = -1", "slow.delay_seconds: must be a number"),
        ("slow = ", "slo = ", "config: unknown key `slo`"),
    ] {
        let refusal = refused(&server, from, to);
        assert!(refusal.contains("refuses its config") && refusal.contains(said), "{refusal}");
    }
    assert_eq!(server.log_lines("plugin call failed").len(), 1);
}

/// WASI has clocks and random numbers, and nothing of the system. Waiting in it ends at the deadline of the call, and
/// writing in it at the limit on the processor's time.
#[test]
#[ignore = "needs a server with the feature wasi: make wasi"]
fn wasi() {
    let sink = AioSink::start();
    let limits = "memory = '64MiB'\ndeadline = '2s'\ncpu = '500ms'\non_error = 'defer'\n";
    let config = format!("{limits}[plugin.grants]\nwasi = true\n");
    let server = start("Python", "target/wasi/wasi-probe.wasm", sink.port, &config).unwrap();
    let mut client = Client::hello(server.port).unwrap();
    let mut before = Vec::new();
    for count in 0..20 {
        let message = "Subject: plain\r\n\r\nbody\r\n";
        assert_eq!(client.mail("a@b.example", &["c@d.example"], message).unwrap().code, 250);
        let (_, content) = next(&sink, count);
        let told = |name: &str| {
            let field = content.lines().find_map(|line| line.strip_prefix(&format!("X-{name}: ")));
            field.unwrap_or_else(|| panic!("no {name} in\n{content}")).trim_end().to_owned()
        };
        let seconds: f64 = told("Time").parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - seconds).abs() < 30.0, "{seconds}");
        let random: u64 = told("Random").parse().unwrap();
        assert!(!before.contains(&random));
        before.push(random);
        let mut seen = String::new();
        for name in ["Environment", "Arguments", "Input", "Root", "Read", "Write", "Network", "Name"] {
            let _ = write!(seen, "{name} {} ", told(name));
        }
        assert_eq!(
            seen,
            "Environment {} Arguments [] Input '' Root FileNotFoundError Read FileNotFoundError \
             Write FileNotFoundError Network PermissionError Name gaierror "
        );
    }
    for what in ["wait", "flood"] {
        let message = format!("Subject: {what}\r\n\r\nbody\r\n");
        assert_eq!(client.mail("a@b.example", &["c@d.example"], &message).unwrap().code, 451, "{what}");
    }
    let failed = server.wait_log("plugin call failed", 2);
    assert!(failed[0].contains("kind=\"deadline\"") && failed[1].contains("kind=\"cpu\""), "{failed:?}");
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);

    // Without the grant it is not loaded, and the operator is told what to write.
    let refusal = refused(&server, "wasi = true", "clock = true");
    assert!(refusal.contains("wasi"), "{refusal}");
}
