//! Replies of a server: read alike whole and cut; one that is written again reads the same.

use crate::cut::cut;
use crate::wire::assert_clean;
use postern_core::mail::Reply;
use postern_core::smtp::client::{MAX_REPLY, Malformed, ReplyParser};

pub fn run(input: &[u8]) {
    let whole = read(&[input]);
    let in_pieces = read(&cut(input));
    assert_eq!(whole, in_pieces);
    for reply in whole.0 {
        assert!((200..600).contains(&reply.code) && reply.text.len() <= 3 * MAX_REPLY);
        assert!(reply.text.lines().all(|line| !line.contains(char::is_control)), "{reply:?}");
        let mut written = Vec::new();
        reply.write_to(&mut written);
        assert_clean(&written, "a reply");
        if reply.enhanced.is_some_and(|enhanced| u16::from(enhanced.0) != reply.code / 100) {
            continue;
        }
        let (again, error) = read(&[&written]);
        // Its lines are longer by the enhanced code, and replacement characters take three octets.
        if error != Some(Malformed::TooLong) {
            assert_eq!(again.len(), 1, "{reply:?}");
            assert_eq!(again[0].code, reply.code);
            // Text that looks like an enhanced code but for a tab behind it is taken for one the second time.
            assert!(reply.enhanced.is_none() || again[0].enhanced == reply.enhanced, "{reply:?}");
        }
    }
}

fn read(pieces: &[&[u8]]) -> (Vec<Reply>, Option<Malformed>) {
    let (mut parser, mut replies) = (ReplyParser::new(), Vec::new());
    for mut piece in pieces.iter().copied() {
        loop {
            match parser.next(&mut piece) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}
