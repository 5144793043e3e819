//! A session of the client with a server that says anything. The first octet chooses the client's terms; the server's
//! octets follow, each line after what the client says next, or (by one bit) cut anywhere.

use crate::cut::cut;
use crate::wire::assert_clean;
use postern_core::bounce;
use postern_core::mail::{BodyType, Recipient, ReversePath};
use postern_core::smtp::client::{Client, Loss, Status, Terms, Transaction};
use postern_core::zone::{Credentials, TlsMode};
use std::sync::Arc;

const PASSWORD: &str = "pa55word";

pub fn run(input: &[u8]) {
    let Some((kind, octets)) = input.split_first() else { return };
    let pieces: Vec<&[u8]> =
        if kind & 16 == 0 { octets.split_inclusive(|octet| *octet == b'\n').collect() } else { cut(octets) };
    let mut dialogue = Dialogue::new(*kind);
    for piece in pieces {
        dialogue.act();
        dialogue.client.receive(piece);
    }
    dialogue.act();
    dialogue.client.lost(Loss::Closed, "");
    dialogue.act();
    assert_eq!(dialogue.client.status(), Status::Closed);
    assert!(dialogue.is_over(), "a recipient without an outcome");
}

struct Dialogue {
    client: Client,
    tls: TlsMode,
    path: ReversePath,
    recipients: Vec<Recipient>,
    /// Transactions begun, and ended with the outcome of each recipient.
    begun: usize,
    ended: usize,
}

impl Dialogue {
    fn new(kind: u8) -> Self {
        let tls = TlsMode::ALL[usize::from(kind) % 4];
        let credentials =
            (kind & 4 != 0).then(|| Credentials { user: "user".to_owned(), password: PASSWORD.to_owned() });
        let own_names: Arc<[String]> = if kind & 8 != 0 { Arc::new(["me.example".to_owned()]) } else { Arc::new([]) };
        let address = |text: &str| Recipient::new(text.parse().expect("an address"));
        Self {
            client: Client::new("me.example", Terms { tls, credentials, own_names }),
            tls,
            path: ReversePath::Path("from@example.com".parse().expect("an address")),
            recipients: vec![address("a@example.com"), address("b@example.com"), address("c@example.com")],
            begun: 0,
            ended: 0,
        }
    }

    /// Does what the client wants, until it wants to hear something.
    fn act(&mut self) {
        loop {
            self.say();
            match self.client.status() {
                Status::Waiting | Status::Closed => return,
                Status::WantsTls => {
                    assert_ne!(self.tls, TlsMode::Off, "TLS that nobody wants");
                    self.client.tls_established();
                }
                Status::Ready if self.begun < 2 => self.begin(),
                Status::Ready => self.client.quit(),
                Status::WantsContent => self.client.content_sent(),
                Status::Finished => {
                    let results = self.client.take_results();
                    assert_eq!(results.len(), self.recipients.len());
                    for result in results {
                        match result {
                            Ok(reply) => assert!(reply.is_positive(), "{reply}"),
                            Err(failure) => {
                                let _ = bounce::judge(&failure, "mx.example");
                            }
                        }
                    }
                    self.ended += 1;
                }
            }
        }
    }

    fn say(&mut self) {
        let said = std::mem::take(self.client.output());
        assert_clean(&said, "what the client says");
        let text = String::from_utf8_lossy(&said);
        if matches!(self.tls, TlsMode::Require | TlsMode::Verify) && !self.client.is_secure() {
            assert!(!text.contains("MAIL") && !text.contains("AUTH"), "{text}");
        }
        if self.tls == TlsMode::Opportunistic && !self.client.is_secure() {
            assert!(!text.contains("AUTH"), "{text}");
        }
        assert!(!text.contains(PASSWORD), "{text}");
    }

    fn begin(&mut self) {
        let transaction = Transaction {
            reverse_path: &self.path,
            size: 10,
            body: BodyType::EightBit,
            smtputf8: false,
            ret: None,
            envid: None,
        };
        self.begun += 1;
        if self.client.begin(&transaction, &self.recipients).is_err() {
            self.ended += 1;
        }
    }

    fn is_over(&self) -> bool {
        self.begun == self.ended
    }
}
