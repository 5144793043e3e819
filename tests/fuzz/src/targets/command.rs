//! A command line. What was understood is what the client's side would say, and reads the same there.

use crate::wire::said;
use postern_core::mail::{BodyType, Recipient, ReversePath};
use postern_core::smtp::client::Transaction;
use postern_core::smtp::command::{Command, Mail};

pub fn run(line: &[u8]) {
    for smtputf8 in [false, true] {
        match Command::parse(line, smtputf8) {
            Ok(Command::Mail(mail)) => check_mail(&mail),
            Ok(Command::Rcpt(recipient)) => check_rcpt(&recipient, smtputf8),
            Ok(Command::Ehlo(name) | Command::Helo(name) | Command::Lhlo(name)) => {
                assert!(name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
            }
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
        }
    }
}

fn check_mail(mail: &Mail) {
    let Mail { reverse_path, size, body, smtputf8, ret, envid, hold: _ } = mail;
    let transaction = Transaction {
        reverse_path,
        size: size.unwrap_or(0).min(1000),
        body: *body,
        smtputf8: *smtputf8,
        ret: *ret,
        envid: envid.as_ref(),
    };
    let to = Recipient::new("to@example.com".parse().expect("an address"));
    let lines = said(&transaction, &to).expect("the server offers all that there is");
    let Ok(Command::Mail(again)) = Command::parse(&lines[0], false) else { panic!("{}", lines[0].escape_ascii()) };
    let expected = Mail { size: Some(transaction.size), hold: None, ..mail.clone() };
    assert_eq!(again, expected);
    assert_eq!(lines.len(), 3, "MAIL, RCPT and DATA");
}

fn check_rcpt(recipient: &Recipient, smtputf8: bool) {
    let reverse_path = ReversePath::Null;
    let body = BodyType::SevenBit;
    let transaction = Transaction { reverse_path: &reverse_path, size: 1, body, smtputf8, ret: None, envid: None };
    let lines = said(&transaction, recipient).expect("the server offers all that there is");
    let again = Command::parse(&lines[1], smtputf8);
    assert_eq!(again.as_ref(), Ok(&Command::Rcpt(recipient.clone())), "{}", lines[1].escape_ascii());
    assert_eq!(lines.len(), 3, "MAIL, RCPT and DATA");
}
