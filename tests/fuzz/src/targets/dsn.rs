//! Delivery status notifications about anything. The input is four texts with `0xff` between them: what the next hop
//! said, parameters of MAIL and RCPT, and the original's content.

use crate::wire::{assert_clean, assert_lines};
use bytes::Bytes;
use futures_util::FutureExt as _;
use postern_core::mail::{Address, EnhancedCode, Envelope, QueueId, Reason, Recipient, Reply, Ret, ReversePath, Scope};
use postern_core::message::dsn::{Action, Report, Reported};
use postern_core::message::mime::scan;
use postern_core::message::{HeaderBlock, HeaderSplitter, MemorySource};
use postern_core::smtp::client::ReplyParser;
use postern_core::smtp::command::Command;
use postern_core::time::Timestamp;

const NOW: Timestamp = Timestamp(1_795_428_000_000);

pub fn run(input: &[u8]) {
    let mut texts = input.splitn(4, |octet| *octet == 0xff);
    let mut next = || texts.next().unwrap_or_default();
    let (said, mail, rcpt, original) = (next(), next(), next(), next());
    let line = |start: &[u8], parameters: &[u8]| Command::parse(&[start, parameters].concat(), true);
    let (Ok(Command::Mail(mail)), Ok(Command::Rcpt(recipient))) =
        (line(b"MAIL FROM:<", mail), line(b"RCPT TO:<", rcpt))
    else {
        return;
    };
    let ReversePath::Path(sender) = mail.reverse_path.clone() else { return };
    let mut envelope = Envelope::new(mail.reverse_path);
    (envelope.ret, envelope.envid, envelope.smtputf8, envelope.body) = (mail.ret, mail.envid, mail.smtputf8, mail.body);
    let mut splitter = HeaderSplitter::new(1 << 20);
    let Ok((block, _)) =
        splitter.push(original).map(|found| found.unwrap_or_else(|| splitter.finish().expect("small")))
    else {
        return;
    };
    let header = HeaderBlock::parse(&block);
    let content = Bytes::copy_from_slice(original);
    check(&sender, &envelope, &recipient, said, &header, (envelope.ret == Some(Ret::Full)).then_some(&content));
}

fn check(
    to: &Address,
    envelope: &Envelope,
    recipient: &Recipient,
    said: &[u8],
    header: &HeaderBlock,
    content: Option<&Bytes>,
) {
    let remote_reply = ReplyParser::new().next(&mut &said[..]).ok().flatten();
    let public = String::from_utf8_lossy(said).into_owned();
    let reply = remote_reply.clone().unwrap_or_else(|| Reply::plain(250, public.clone()));
    let status = EnhancedCode(5, 1, 1);
    let reason =
        Reason { scope: Scope::Recipient, status, remote_reply, public: public.clone(), detail: String::new() };
    let from: Address = "mailer-daemon@mta.example.com".parse().expect("an address");
    for action in [
        Action::Failed { reason: &reason, expired: false },
        Action::Delayed { reason: &reason, until: NOW },
        Action::Relayed { reply: &reply },
    ] {
        let reported = [Reported { recipient, action, remote_mta: Some("mx.example.com") }; 2];
        let report = Report {
            hostname: "mta.example.com",
            from_name: "Mail Delivery",
            from: &from,
            to,
            queue_id: QueueId(1),
            envelope,
            arrival: NOW,
            now: NOW,
            recipients: &reported,
            header,
            content,
        };
        check_report(&report, to);
    }
}

fn check_report(report: &Report<'_>, to: &Address) {
    let dsn = report.compose();
    assert!(dsn.envelope.reverse_path.is_null());
    assert_eq!(dsn.envelope.recipients, [Recipient::new(to.clone())]);
    let octets = [&dsn.header[..], &dsn.body].concat();
    assert_clean(&octets, "a DSN");
    assert_lines(&octets, 998, "a DSN");
    let header = HeaderBlock::parse(&dsn.header);
    for name in ["From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Auto-Submitted"] {
        assert_eq!(header.all(name).count(), 1, "{name}");
    }
    let section = MemorySource(dsn.body.clone());
    let structure =
        scan(&header, &section).now_or_never().expect("memory is always ready").expect("memory is readable");
    assert_eq!(structure.parts().len(), 4, "text, status and original");
    let status = structure.get(2).expect("the status");
    let text = &dsn.body[status.body.start as usize..status.body.end as usize];
    let (mut decoder, mut decoded) = (postern_core::message::mime::Decoder::new(status.encoding), Vec::new());
    decoder.push(text, &mut decoded);
    decoder.finish(&mut decoded);
    let decoded = String::from_utf8(decoded).expect("UTF-8");
    let groups: Vec<&str> = decoded.trim_end().split("\r\n\r\n").collect();
    assert_eq!(groups.len(), 3, "of the message, and of each recipient: {decoded}");
    for group in &groups[1..] {
        for name in ["Final-Recipient", "Action", "Status"] {
            let times = group.lines().filter(|line| line.starts_with(&format!("{name}:"))).count();
            assert_eq!(times, 1, "{name} in {group}");
        }
    }
}
