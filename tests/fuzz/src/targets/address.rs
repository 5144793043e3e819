//! Addresses: a mailbox as SMTP has it, and lists of them as header fields and JSON have them.

use bytes::Bytes;
use postern_core::mail::Address;
use postern_core::message::compose::{Fresh, Message, Object};
use postern_core::message::{HeaderBlock, HeaderSplitter, decode_words, encode_words, mailboxes};
use postern_core::smtp::command::Command;
use postern_core::time::Timestamp;
use serde_json::json;

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(address) = Address::parse(&text) {
        check_address(&address, &text);
    }
    check_field(input);
    check_words(&text);
    check_list(&text);
}

fn check_address(address: &Address, text: &str) {
    assert_eq!(address.as_str(), text);
    assert_eq!(format!("{}@{}", address.local(), address.domain()), text);
    assert!(!text.contains(char::is_control));
    let line = format!("RCPT TO:<{address}>");
    match Command::parse(line.as_bytes(), true) {
        Ok(Command::Rcpt(recipient)) => assert_eq!(&recipient.address, address),
        other => panic!("{line}: {other:?}"),
    }
}

fn check_field(value: &[u8]) {
    let block = Bytes::from([b"To: ", value, b"\r\n"].concat());
    for mailbox in mailboxes(&HeaderBlock::parse(&block), "To") {
        assert!(mailbox.address.contains('@'));
        assert!(mailbox.name.is_none_or(|name| !name.is_empty()));
    }
}

fn check_words(text: &str) {
    assert!(!decode_words(text.to_owned()).contains(char::is_control));
    let line = text.replace(char::is_control, " ");
    let encoded = encode_words(&line);
    assert!(encoded.is_ascii());
    // Words that look encoded already are nobody's to tell from those that are; a byte order mark is not text.
    if !line.contains("=?") && !line.contains('\u{feff}') {
        assert_eq!(decode_words(encoded), line);
    }
}

/// Whoever JSON's `to` names is who the field To names, and no one else.
fn check_list(text: &str) {
    let value = json!({"from": "from@example.com", "to": text, "text": "x"});
    let Ok(message) = Object::new(value, "").and_then(Message::read) else { return };
    let (_, recipients) = message.envelope().expect("it has a sender");
    let fresh = Fresh { unique: "u", hostname: "mta.example.com", now: Timestamp(1_795_428_000_000) };
    let Ok(content) = message.compose(&fresh) else { return };
    let content: Vec<u8> = content.flat_map(|piece| piece.to_vec()).collect();
    let Ok(Some((block, _))) = HeaderSplitter::new(1 << 20).push(&content) else { panic!("no end of the header") };
    let found = mailboxes(&HeaderBlock::parse(&block), "To");
    let mut named: Vec<&str> = found.iter().map(|mailbox| mailbox.address.as_str()).collect();
    let mut expected: Vec<&str> = recipients.iter().map(Address::as_str).collect();
    named.sort_unstable();
    named.dedup();
    expected.sort_unstable();
    assert_eq!(named, expected, "{}", block.escape_ascii());
}
