//! Parts of a message: read, edited, removed, and passed on.
#![allow(clippy::unwrap_used, missing_docs)]

use postern_plugin_sdk::prelude::*;
use postern_plugin_sdk::testing::{self, Answer, Transaction};
use std::io::{Read as _, Write as _};

const NESTED: &[u8] = b"From: =?utf-8?q?J=C3=B5e=2C_a=40b?= <joe@example.com>, \"B, C\" <b@example.org>\r\n\
    Content-Type: multipart/mixed; boundary=a\r\n\r\n\
    --a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nJ=F5e\r\n\
    --b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n\
    --a\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Disposition: attachment\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--a--\r\n";

/// A plugin that does this with every part, and with the message before.
struct Edit(fn(&Message, &Part) -> Result<()>);

impl Plugin for Edit {
    type Config = NoConfig;

    fn init(_: NoConfig) -> Result<Self> {
        Ok(Self(|_, _| Ok(())))
    }
}

impl RewritePart for Edit {
    fn select(&mut self, _: &Session, _: &Envelope, _: &Message, _: &Part) -> Result<bool> {
        Ok(true)
    }

    fn rewrite_part(&mut self, _: &Session, _: &Envelope, message: &Message, part: &Part) -> Result<()> {
        (self.0)(message, part)
    }
}

fn edited(edit: fn(&Message, &Part) -> Result<()>) -> Transaction {
    let mut transaction = Transaction::from_eml(NESTED);
    transaction.rewrite_parts(&mut Edit(edit)).unwrap();
    transaction
}

#[test]
fn parts_are_read_as_they_are() {
    let transaction = edited(|message, part| {
        let from: Vec<_> = message.mailboxes("from").into_iter().map(|one| (one.name, one.address)).collect();
        assert_eq!(from[0], (Some("Jõe, a@b".into()), "joe@example.com".into()));
        assert_eq!(from[1], (Some("B, C".into()), "b@example.org".into()));
        let mut bytes = Vec::new();
        part.reader().read_to_end(&mut bytes)?;
        match part.section().as_str() {
            "1.1" => {
                assert_eq!((part.text()?.as_str(), bytes.as_slice()), ("Jõe", &b"J\xf5e"[..]));
                assert_eq!(part.containers(), ["multipart/mixed", "multipart/alternative"]);
                assert_eq!(part.parameter("Charset").as_deref(), Some("iso-8859-1"));
            }
            "1.2" => assert_eq!(part.content_type(), "text/html"),
            "2" => {
                assert!(part.is_attachment() && !part.is_sealed());
                assert_eq!((part.file_name().as_deref(), bytes), (Some("x.pdf"), vec![0, 1, 2]));
            }
            other => panic!("no part {other}"),
        }
        Ok(())
    });
    assert_eq!(transaction, Transaction::from_eml(NESTED));
}

#[test]
fn parts_are_edited() {
    let transaction = edited(|_, part| {
        match part.section().as_str() {
            "1.1" => part.append(b" \xf6")?,
            "1.2" => {
                write!(part.writer(), "<b>")?;
                write!(part.writer(), "ü</b>")?;
                part.set_header("X-Seen", "1")?;
            }
            _ => {
                assert_eq!(part.set_text("no").unwrap_err().word(), "bad-value");
                assert_eq!(part.set_header("content-transfer-encoding", "8bit").unwrap_err().word(), "bad-name");
                part.set_header("Content-Type", "text/plain; charset=iso-8859-1")?;
                part.set_text("a text now")?;
                // What is read is as it was.
                assert_eq!((part.content_type().as_str(), part.read(0, 10)?), ("application/pdf", vec![0, 1, 2]));
            }
        }
        Ok(())
    });
    let texts: Vec<_> = transaction.parts().iter().map(testing::Part::text).collect();
    assert_eq!(texts, ["Jõe ö", "<b>ü</b>", "a text now"]);
    assert_eq!(transaction.parts()[2].parameter("charset"), Some("utf-8"));
    assert_eq!(transaction.parts()[1].headers[1], ("X-Seen".into(), "1".into()));
}

#[test]
fn text_is_added_in_a_charset_that_has_it() {
    let transaction = edited(|_, part| {
        match part.section().as_str() {
            "1.1" => part.append_text(" ö")?,
            "1.2" => part.append_text("日本")?,
            _ => assert_eq!(part.append_text("x").unwrap_err().word(), "bad-value"),
        }
        Ok(())
    });
    let parts = transaction.parts();
    assert_eq!((parts[0].content.as_slice(), parts[0].parameter("charset")), (&b"J\xf5e \xf6"[..], Some("iso-8859-1")));
    assert_eq!((parts[1].text(), parts[1].parameter("charset")), ("<p>日本".to_owned(), Some("utf-8")));
    let transaction =
        edited(|_, part| if part.section() == "1.1" { part.append_text(" 日本") } else { Ok(()) }.map_err(Into::into));
    assert_eq!((transaction.parts()[0].text(), transaction.parts()[0].content.len()), ("Jõe 日本".to_owned(), 11));
}

#[test]
fn pieces_of_content_are_one_edit() {
    let mut transaction = Transaction::from_eml(NESTED);
    let mut plugin = Edit(|_, part| {
        if part.section() == "2" {
            (0..20_000).try_for_each(|_| part.write(b"x"))?;
        }
        Ok(())
    });
    transaction.rewrite_parts(&mut plugin).unwrap();
    assert_eq!(transaction.parts()[2].content.len(), 20_000);
}

#[test]
fn the_last_part_of_a_multipart_becomes_an_empty_text() {
    let transaction = edited(|message, part| {
        if part.section() != "2" {
            part.remove()?;
            assert_eq!(message.parts()?.len(), 2);
        }
        Ok(())
    });
    let parts = transaction.parts();
    let seen: Vec<_> = parts.iter().map(|part| (part.section.as_str(), part.content_type.as_str())).collect();
    assert_eq!(seen, [("1.2", "text/plain"), ("2", "application/pdf")]);
    assert!(parts[0].content.is_empty());
}

#[test]
fn a_failure_in_one_part_drops_the_edits_of_all() {
    let mut transaction = Transaction::from_eml(NESTED);
    let mut plugin = Edit(|_, part| {
        part.set_text("defaced")?;
        if part.section() == "2" { Err(Error::new("no")) } else { Ok(()) }
    });
    transaction.rewrite_parts(&mut plugin).unwrap_err();
    assert_eq!(transaction, Transaction::from_eml(NESTED));
}

#[test]
fn sealed_parts_say_so() {
    let signed = b"Content-Type: multipart/signed; boundary=a\r\n\r\n--a\r\n\r\nHello.\r\n\
        --a\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--a--\r\n";
    let sealed: Vec<_> = Transaction::from_eml(signed).parts().iter().map(|part| part.is_sealed).collect();
    assert_eq!(sealed, [true, true]);
    let smime = Transaction::from_eml(b"Content-Type: application/pkcs7-mime\r\n\r\nx");
    assert!(smime.parts()[0].is_sealed);
}

#[test]
fn messages_and_parts_are_sent_by_the_host() {
    testing::http::respond(|_| Answer::new(204));
    edited(|message, part| {
        if part.section() == "2" {
            http::Request::post("https://scan.example/part").body_part(part).send()?;
            http::Request::post("https://scan.example/message").body_message(message).send()?;
        }
        Ok(())
    });
    let sent = testing::http::requests();
    assert_eq!((sent[0].body.as_slice(), sent[1].body.as_slice()), (&[0, 1, 2][..], NESTED));
}
