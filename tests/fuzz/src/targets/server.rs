//! A whole session of the server. The first octet chooses its limits and offers, what follows is the client's.
//!
//! Octet by octet, each line of a command has one reply, each end of content has its one (in LMTP one for each
//! recipient), and nothing else has any. However it is cut, the same is said and the same messages are taken.

use crate::cut::cut;
use crate::session::{MAX_RECIPIENTS, Session};
use crate::wire::assert_clean;

/// 421 may follow what used up the client's last error.
const FAREWELL: usize = 1;

pub fn run(input: &[u8]) {
    let Some((kind, octets)) = input.split_first() else { return };
    let single = one_by_one(*kind, octets);
    let mut whole = Session::new(*kind);
    whole.receive(octets);
    let mut pieces = Session::new(*kind);
    pieces.receive(b"");
    cut(octets).into_iter().for_each(|piece| pieces.receive(piece));
    for session in [&single, &whole, &pieces] {
        check_output(&session.output);
        check_messages(session, octets);
        assert!(session.ends <= ends_in(octets));
    }
    // What follows STARTTLS in the same read ends the session: there it matters how it is cut.
    if !single.secured {
        assert_eq!(single.output.escape_ascii().to_string(), whole.output.escape_ascii().to_string());
        assert_eq!(single.output.escape_ascii().to_string(), pieces.output.escape_ascii().to_string());
        assert_eq!((&single.messages, single.closed), (&whole.messages, whole.closed));
        assert_eq!((&single.messages, single.closed), (&pieces.messages, pieces.closed));
    }
}

fn one_by_one(kind: u8, octets: &[u8]) -> Session {
    let mut session = Session::new(kind);
    session.receive(b"");
    assert_eq!(replies(&session.output), 1, "the greeting");
    for octet in octets {
        if session.closed {
            break;
        }
        let (was_content, said, taken) = (session.in_content(), session.output.len(), session.messages.len());
        session.receive(&[*octet]);
        let replies = replies(&session.output[said..]);
        let farewell = if session.closed { FAREWELL } else { 0 };
        if was_content {
            assert!(replies <= MAX_RECIPIENTS + farewell);
        } else if *octet == b'\n' {
            // A chunk is answered after its octets; one without any at once, as content is.
            let least = usize::from(!session.in_content());
            let most = if session.messages.len() > taken || kind & (1 << 3) != 0 { MAX_RECIPIENTS } else { 1 };
            assert!((least..=most + farewell).contains(&replies), "{replies} replies");
        } else {
            // TLS where there is none is refused at its first octet.
            assert!(replies == 0 || *octet == 0x16 && session.closed, "a reply to nothing");
        }
        assert!(session.messages.len() <= taken + 1, "two messages at once");
        assert!(was_content || *octet == b'\n' || session.messages.len() == taken);
    }
    session
}

/// How many replies there are: their last lines.
fn replies(output: &[u8]) -> usize {
    let lines = output.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    lines.filter(|line| line.get(3) == Some(&b' ')).count()
}

fn check_output(output: &[u8]) {
    assert_clean(output, "the output");
    assert!(output.ends_with(b"\r\n"));
    for line in output[..output.len() - 2].split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let good = line.len() >= 4 && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-');
        assert!(good && !line.iter().any(u8::is_ascii_control), "{}", line.escape_ascii());
    }
}

fn check_messages(session: &Session, octets: &[u8]) {
    for content in &session.messages {
        assert_clean(content, "a message");
        assert!(content.is_empty() || content.ends_with(b"\r\n"));
        assert!(content.len() <= octets.len() + 2);
    }
}

/// The most ends of content that there can be: lines with a dot alone, and chunks that are the last.
fn ends_in(octets: &[u8]) -> usize {
    let dots = octets.windows(3).filter(|three| three == b".\r\n").count();
    let chunks = octets.windows(4).filter(|four| four.eq_ignore_ascii_case(b"BDAT")).count();
    dots + chunks
}
