//! The sink against our own client and against a raw socket.

use super::session::DotDecoder;
use super::*;
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: SinkOptions,
}

fn options(args: &[&str]) -> SinkOptions {
    let fixed = ["sink", "--listen", "127.0.0.1:0", "--quiet"];
    Cli::try_parse_from(fixed.iter().chain(args)).unwrap().options
}

/// Says all of `dialogue` at once and gives what the sink answered, and its sums.
async fn talk(args: &[&str], dialogue: &str) -> (String, Counts) {
    let sink = Sink::bind(options(args)).await.unwrap();
    let address = sink.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(sink.run(stopped));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(dialogue.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    stop.send(()).unwrap();
    (answers, running.await.unwrap())
}

fn codes(answers: &str) -> Vec<&str> {
    answers.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).map(|line| &line[..3]).collect()
}

const MESSAGE: &str = "MAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n..x\r\n.\r\n";

#[tokio::test]
async fn takes_pipelined_mail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let dialogue = format!("EHLO x\r\n{MESSAGE}{MESSAGE}QUIT\r\n");
    let (answers, counts) = talk(&["--dump", path], &dialogue).await;
    let message = ["250", "250", "250", "354", "250"];
    assert_eq!(codes(&answers), [&["220", "250"][..], &message, &message, &["221"]].concat());
    assert_eq!(counts, Counts { sessions: 1, messages: 2, recipients: 4, octets: 8 });
    assert_eq!(std::fs::read(dir.path().join("2.eml")).unwrap(), b".x\r\n");
    let envelope: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("1.json")).unwrap()).unwrap();
    assert_eq!(envelope, serde_json::json!({ "helo": "x", "from": "a@b", "to": ["c@d", "e@f"], "size": 4 }));
}

#[tokio::test]
async fn does_as_scripted() {
    let dialogue = format!("EHLO x\r\n{MESSAGE}{MESSAGE}QUIT\r\n");
    let (answers, counts) = talk(&["--reply", "rcpt:e@f=550 5.1.1 no", "--fail-every", "2"], &dialogue).await;
    assert_eq!(codes(&answers)[2..], ["250", "250", "550", "354", "250", "250", "250", "550", "354", "451", "221"]);
    assert_eq!((counts.messages, counts.recipients), (1, 1));
    let (answers, counts) = talk(&["--drop-after-data"], &dialogue).await;
    assert_eq!(codes(&answers)[2..], ["250", "250", "250", "354"]);
    assert_eq!(counts.messages, 1);
    let (answers, _) = talk(&["--reply", "greeting=554"], "QUIT\r\n").await;
    assert_eq!(codes(&answers), ["554", "221"]);
    let (answers, _) = talk(&["--no-pipelining", "--no-8bitmime", "--no-smtputf8"], "EHLO x\r\nQUIT\r\n").await;
    assert!(answers.contains("250-sink\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE"), "{answers}");
}

#[test]
fn refuses_bad_scripts() {
    for bad in ["rcpt", "rcpt=", "rcpt=99", "rcpt=abc", "later=450", "rcpt=250 a\r\nb"] {
        assert!(bad.parse::<ScriptedReply>().is_err(), "{bad}");
    }
}

/// Only CRLF, dot, CRLF ends it, wherever the input is cut.
#[test]
fn decodes_dots() {
    let wire = b"a\r\n..b\r\n.\r.\r\n.\n.\r\r\n\n.\r\n.c\r\n.\r\nNEXT";
    let content = b"a\r\n.b\r\n\r.\r\n\n.\r\r\n\n.\r\nc\r\n";
    for step in 1..=wire.len() {
        let (mut decoder, mut text, mut used) = (DotDecoder::default(), Vec::new(), 0);
        for piece in wire.chunks(step) {
            let (taken, done) = decoder.decode(piece, &mut text);
            used += taken;
            if done {
                break;
            }
        }
        assert_eq!((text.as_slice(), &wire[used..]), (&content[..], &b"NEXT"[..]), "by {step}");
    }
}
