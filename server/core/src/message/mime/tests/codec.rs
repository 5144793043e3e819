//! Transfer encodings there and back, in pieces of any size, against other implementations.

use crate::message::mime::{Coding, Decoder, Encoder, NotEncodable, TransferEncoding, choose};
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

fn decode(encoding: TransferEncoding, input: &[u8], step: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(encoding);
    let mut out = Vec::new();
    input.chunks(step).for_each(|piece| decoder.push(piece, &mut out));
    decoder.finish(&mut out);
    out
}

fn encode(coding: Coding, input: &[u8], step: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(coding);
    let mut out = Vec::new();
    input.chunks(step).for_each(|piece| encoder.push(piece, &mut out));
    encoder.finish(&mut out);
    out
}

fn check_decode(encoding: TransferEncoding, input: &[u8], expected: &[u8]) {
    for step in 1..=input.len().clamp(1, 100) {
        let found = decode(encoding, input, step);
        assert!(found == expected, "{:?} by {step}: {:?}", input.escape_ascii(), found.escape_ascii());
    }
}

#[test]
fn decodes_base64() {
    let check = |input: &str, expected: &[u8]| check_decode(TransferEncoding::Base64, input.as_bytes(), expected);
    check("", b"");
    check("aGVsbG8=", b"hello");
    check("aGVsbG8", b"hello");
    check("aGVs\r\nbG8=\r\n", b"hello");
    check(" a!G*V s\tb-G_8 = = = ", b"hello");
    check("aA==aQ==\r\naGVsbG8=", b"hihello");
    check("aGk=aGk", b"hihi");
    check("a", b"");
    check("aGVsb", b"hel");
    check("====", b"");
    check("AB==", b"\0");
}

#[test]
fn decodes_quoted_printable() {
    let check =
        |input: &str, expected: &[u8]| check_decode(TransferEncoding::QuotedPrintable, input.as_bytes(), expected);
    check("", b"");
    check("caf=C3=A9 =e2=82=aC", "café €".as_bytes());
    check("one=\r\n two=  \t\r\nthree=\nfour", b"one twothreefour");
    check("blanks  \t\r\n \t\r\nend \t", b"blanks\r\n\r\nend");
    check("a  b\tc", b"a  b\tc");
    check("kept=20\r\nkept =09", b"kept \r\nkept \t");
    check("a = b =", b"a = b ");
    check("a =b=4 =zz ==41 =4", b"a =b=4 =zz =A =4");
    check("=\r\n=\r\n=3D", b"=");
    check("=  x", b"=  x");
    check("soft = ", b"soft ");
    let blanks = " ".repeat(3000);
    check_decode(TransferEncoding::QuotedPrintable, format!("a{blanks}b").as_bytes(), format!("a{blanks}b").as_bytes());
    check_decode(TransferEncoding::QuotedPrintable, format!("={blanks}b").as_bytes(), format!("={blanks}b").as_bytes());
}

#[test]
fn other_encodings_are_taken_as_they_are() {
    for encoding in ["7BIT", "8bit", "binary", "x-uuencode"].map(TransferEncoding::from_name) {
        check_decode(encoding, b"=41 \r\n\0\xFF", b"=41 \r\n\0\xFF");
    }
}

#[test]
fn encodes_base64() {
    let check = |input: &[u8], expected: &str| {
        for step in 1..=input.len().max(1) {
            assert_eq!(encode(Coding::Base64, input, step), expected.as_bytes());
        }
    };
    check(b"", "");
    check(b"hello", "aGVsbG8=");
    check(&[0; 57], &"A".repeat(76));
    check(&[0; 58], &format!("{}\r\nAA==", "A".repeat(76)));
    check(&[0; 114], &format!("{0}\r\n{0}", "A".repeat(76)));
}

#[test]
fn encodes_quoted_printable() {
    let check = |input: &str, expected: &str| {
        for step in 1..=input.len().max(1) {
            let found = encode(Coding::QuotedPrintable, input.as_bytes(), step);
            assert_eq!(String::from_utf8_lossy(&found), expected, "{input:?} by {step}");
        }
    };
    check("", "");
    check("café = €\r\n", "caf=C3=A9 =3D =E2=82=AC\r\n");
    check("blank \r\ntab\t\r\n end ", "blank=20\r\ntab=09\r\n end=20");
    check("a\rb\nc\r\r\nd\r", "a\r\nb\r\nc\r\n\r\nd\r\n");
    check("nul\0 \x7f", "nul=00 =7F");
    check("--b\r\na--\r\n-", "=2D-b\r\na--\r\n=2D");
    check(&"x".repeat(80), &format!("{}=\r\nxxxxx", "x".repeat(75)));
    check(&format!("{}--b", "x".repeat(75)), &format!("{}=\r\n=2D-b", "x".repeat(75)));
    check(&format!("{}é", "x".repeat(73)), &format!("{}=\r\n=C3=A9", "x".repeat(73)));
}

fn random_octets(random: &mut fastrand::Rng) -> Vec<u8> {
    const TEXT: &[u8] = b"ab -=.\t \r\n\r\n\0\xC3\xA9";
    let is_text = random.bool();
    let octet = |random: &mut fastrand::Rng| if is_text { TEXT[random.usize(..TEXT.len())] } else { random.u8(..) };
    (0..random.usize(..700)).map(|_| octet(random)).collect()
}

/// As text in quoted-printable is to come back.
fn with_line_ends(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, b) in octets.iter().enumerate() {
        match b {
            b'\n' if at > 0 && octets[at - 1] == b'\r' => {}
            b'\r' | b'\n' => out.extend_from_slice(b"\r\n"),
            _ => out.push(*b),
        }
    }
    out
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let mut random = fastrand::Rng::with_seed(2045);
    for _ in 0..2000 {
        let octets = random_octets(&mut random);
        let mut step = || random.usize(1..200);
        let base64 = encode(Coding::Base64, &octets, step());
        assert_eq!(decode(TransferEncoding::Base64, &base64, step()), octets);
        // data-encoding ends each line with CRLF.
        let theirs = data_encoding::BASE64_MIME.encode(&octets);
        assert_eq!(base64, theirs.trim_end_matches("\r\n").as_bytes());

        let quoted = encode(Coding::QuotedPrintable, &octets, step());
        let text = with_line_ends(&octets);
        assert_eq!(decode(TransferEncoding::QuotedPrintable, &quoted, step()), text);
        assert_eq!(quoted_printable_decode(&quoted), Some(text));
        for encoded in [base64, quoted] {
            let ends = memchr::memmem::find_iter(&encoded, b"\r\n").count();
            assert_eq!(memchr::memchr2_iter(b'\r', b'\n', &encoded).count(), 2 * ends);
            assert!(encoded.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n')));
            for line in encoded.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
                assert!(line.len() <= 76 && !line.starts_with(b"-") && !line.ends_with(b" ") && !line.ends_with(b"\t"));
            }
        }
    }
}

#[test]
fn garbage_decodes_alike_in_pieces_of_any_size() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..3000 {
        let octets: Vec<u8> = (0..random.usize(..60)).map(|_| b"= \t\r\nA4fz+/-\xFF"[random.usize(..13)]).collect();
        for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
            let whole = decode(encoding, &octets, 100);
            assert!(whole.len() <= octets.len());
            check_decode(encoding, &octets, &whole);
        }
    }
}

#[test]
fn chooses_by_type() {
    let check = |media_type: &str, expected: Result<Coding, NotEncodable>| assert_eq!(choose(media_type), expected);
    check("text/plain; charset=utf-8", Ok(Coding::QuotedPrintable));
    check("TEXT/html", Ok(Coding::QuotedPrintable));
    check("application/pdf", Ok(Coding::Base64));
    check("", Ok(Coding::Base64));
    check("message/rfc822", Err(NotEncodable));
    check("Multipart/mixed", Err(NotEncodable));
}
