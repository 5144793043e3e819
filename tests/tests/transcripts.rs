//! The transcripts of `tests/transcripts/server` over a real socket; `server/core/tests/server_transcripts.rs` says what
//! their language is.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, root, wait_for};

/// The limits of the transcripts, where one does not name its own.
const LIMITS: [(&str, &str); 4] =
    [("max_size", "1000"), ("max_recipients", "100"), ("max_line", "1000"), ("max_errors", "20")];

fn unescape(text: &str) -> Vec<u8> {
    let (text, times) = text.rsplit_once('*').map_or((text, 1), |(text, times)| (text, times.parse().unwrap()));
    text.replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\0", "\0")
        .replace("\\x16", "\x16")
        .repeat(times)
        .into_bytes()
}

fn play(file: &std::path::Path, sink: &SmtpSink) {
    let text = std::fs::read_to_string(file).unwrap();
    let own: Vec<(&str, &str)> = text.lines().filter_map(|line| line.strip_prefix("! ")?.split_once('=')).collect();
    let limits = LIMITS.iter().filter(|(key, _)| own.iter().all(|(other, _)| other != key)).chain(&own);
    let written = |(key, value): &(&str, &str)| match *key {
        "future_release" => format!("{key} = '{value}s'\n"),
        "xclient" => "xclient_from = ['127.0.0.0/8']\n".to_owned(),
        "protocol" => format!("{key} = '{value}'\n"),
        _ => format!("{key} = {value}\n"),
    };
    let listener: String = limits.map(written).collect();
    let server = Postern::start_with(sink.port, &listener, "", "");
    let mut client = Client::connect(server.port).unwrap();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), number + 1);
        let rest = line.get(2..).unwrap_or_default().trim_start_matches(' ');
        match line.get(..2).unwrap_or_default() {
            "C:" => client.send(format!("{rest}\r\n").as_bytes()).unwrap(),
            "C-" => client.send(&unescape(rest)).unwrap(),
            "S:" => {
                let got = client.line().unwrap().unwrap_or_else(|| panic!("{place}: closed, wanted {rest}"));
                let fits = rest.strip_suffix('*').map_or(got == rest, |start| got.starts_with(start));
                assert!(fits, "{place}: wanted {rest}, got {got}");
            }
            "= " if rest == "closed" => assert_eq!(client.line().unwrap_or(None), None, "{place}"),
            "= " => {
                let wanted: usize = rest.strip_prefix("queued ").unwrap().parse().unwrap();
                wait_for(&place, || (server.log_lines(" QUEUED ").len() >= wanted).then_some(()));
                assert_eq!(server.log_lines(" QUEUED ").len(), wanted, "{place}");
            }
            _ => {}
        }
    }
}

#[test]
fn transcripts_over_a_socket() {
    let sink = SmtpSink::start(&[]);
    for entry in std::fs::read_dir(root().join("tests/transcripts/server")).unwrap() {
        play(&entry.unwrap().path(), &sink);
    }
}
