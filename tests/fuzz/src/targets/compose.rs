//! Messages made from JSON: whatever it says, the content can be sent by SMTP, has the fields that it should, and goes to
//! the envelope's recipients.

use crate::wire::{assert_clean, assert_lines};
use bytes::Bytes;
use futures_util::FutureExt as _;
use postern_core::mail::Address;
use postern_core::message::compose::{Fresh, Message, Object, Substitutions, read_addresses};
use postern_core::message::mime::scan;
use postern_core::message::{HeaderBlock, HeaderSplitter, MemorySource};
use postern_core::time::Timestamp;
use serde_json::Value;

const FRESH: Fresh<'static> =
    Fresh { unique: "0123456789abcdef", hostname: "mta.example.com", now: Timestamp(1_795_428_000_000) };

pub fn run(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    let is_raw = value.get("raw").is_some_and(|raw| !raw.is_null() && raw != &Value::Bool(false));
    let Ok(mut object) = Object::new(value, "") else { return };
    let to = object.take("recipient").and_then(|to| read_addresses(to, "recipient").ok());
    let values = Substitutions::of(&mut object, "substitutions");
    let message = match Message::read(object) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    };
    check(&message, is_raw);
    if let (Some(to), Ok(values)) = (to, values)
        && let Ok(filled) = message.filled(to, &values)
    {
        check(&filled, is_raw);
    }
}

fn check(message: &Message, is_raw: bool) {
    let (Ok(content), Ok((_, recipients))) = (message.compose(&FRESH), message.envelope()) else { return };
    let unique: std::collections::HashSet<&Address> = recipients.iter().collect();
    assert_eq!(unique.len(), recipients.len(), "a recipient twice");
    let says_eight_bit = content.is_eight_bit();
    let octets: Vec<u8> = content.flat_map(|piece| piece.to_vec()).collect();
    assert_clean(&octets, "the content");
    assert_lines(&octets, 998, "the content");
    if is_raw {
        return assert!(says_eight_bit || octets.is_ascii(), "8-bit content that does not say so");
    }
    assert!(octets.ends_with(b"\r\n"));
    let Ok(Some((block, section))) = HeaderSplitter::new(4 << 20).push(&octets) else { panic!("no end of the header") };
    assert!(section.starts_with(b"\r\n"), "the header has a line that is no field");
    // Addresses stand in UTF-8, and ask for SMTPUTF8; a Content-ID is left as it is; the rest of the header is encoded.
    let says = says_eight_bit || message.is_international();
    assert!(block.is_ascii() || says, "a header that needs SMTPUTF8 and does not say so");
    assert!(says_eight_bit || section.is_ascii(), "8-bit content that does not say so");
    let header = HeaderBlock::parse(&block);
    for name in ["From", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type"] {
        let times = header.all(name).count();
        assert!(times <= 1 || !["MIME-Version", "Content-Type"].contains(&name), "{name} {times} times");
    }
    assert!(header.first("Date").is_some() && header.first("Message-ID").is_some());
    let section = MemorySource(Bytes::copy_from_slice(&octets[block.len()..]));
    let structure =
        scan(&header, &section).now_or_never().expect("memory is always ready").expect("memory is readable");
    assert!(!structure.parts().is_empty());
}
