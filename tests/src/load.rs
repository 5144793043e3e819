//! Clients that submit until the server is gone, and remember what it said yes to: each message has an id, a body of
//! its own, and one or several recipients. [`Ledger::check`] compares that with what arrived.

use crate::hash_sink::{Arrived, ID, Sum};
use crate::{Client, Reply};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A message that a client made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Unique.
    pub id: String,
    /// Its recipients.
    pub recipients: Vec<String>,
    /// Of its body.
    pub sum: Sum,
    /// Header and body, with CR LF; no line begins with a dot.
    pub content: String,
}

impl Made {
    /// A message with about `len` octets for so many recipients.
    #[must_use]
    pub fn new(id: String, len: usize, recipients: usize) -> Self {
        let mut body = String::with_capacity(len + 80);
        // Digits of a hash chain: other for each message and each place, and nothing that could be compressed away.
        let mut state = Sha256::digest(&id);
        while body.len() < len {
            state = Sha256::digest(state);
            for octet in state {
                body.push(char::from(b'a' + octet % 26));
                body.push(char::from(b'A' + octet / 10));
            }
            body.push_str("\r\n");
        }
        let sum = Sha256::digest(&body).into();
        let recipients = (0..recipients).map(|n| format!("r{n}@d{}.example.org", n % 3)).collect();
        let content = format!("{ID}: {id}\r\nSubject: load\r\n\r\n{body}");
        Self { id, recipients, sum, content }
    }

    /// Submits it.
    ///
    /// # Errors
    /// The connection breaks, or MAIL, RCPT or DATA is refused.
    pub fn submit(&self, client: &mut Client) -> Result<Reply> {
        let to: Vec<&str> = self.recipients.iter().map(String::as_str).collect();
        client.mail("from@example.com", &to, &self.content)
    }
}

/// What was acknowledged.
#[derive(Default)]
pub struct Ledger {
    acknowledged: Mutex<HashMap<String, (Vec<String>, Sum)>>,
    count: AtomicUsize,
}

/// What became of the messages of a ledger.
#[derive(Debug, Default)]
pub struct Account {
    /// Acknowledged messages.
    pub acknowledged: usize,
    /// Of these, such as did not arrive for some recipient.
    pub lost: Vec<String>,
    /// Arrived with another body.
    pub changed: Vec<String>,
    /// Arrivals beyond the first, over all recipients.
    pub duplicates: usize,
}

impl Ledger {
    /// How many were acknowledged so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn acknowledged(&self) -> MutexGuard<'_, HashMap<String, (Vec<String>, Sum)>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a message that was answered 250.
    pub fn note(&self, made: &Made) {
        self.acknowledged().insert(made.id.clone(), (made.recipients.clone(), made.sum));
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Submits messages of all sizes until the connection breaks or a command is refused; notes those that were
    /// answered 250.
    ///
    /// # Errors
    /// What ended it.
    pub fn submit(&self, port: u16, name: &str) -> Result<()> {
        let mut client = Client::hello(port)?;
        for number in 0usize.. {
            // Most are small; some are not kept in memory until their commit; some have several recipients.
            let len = match number * 7 % 20 {
                0 => 400_000,
                1..3 => 200_000,
                3..8 => 30_000,
                place => 1000 + place * 300,
            };
            let recipients = if number % 5 == 3 { 4 } else { 1 };
            let made = Made::new(format!("{name}-{number}"), len, recipients);
            if made.submit(&mut client)?.code == 250 {
                self.note(&made);
            }
        }
        Ok(())
    }

    /// Compares with what arrived.
    #[must_use]
    pub fn check(&self, arrived: &HashMap<String, Vec<Arrived>>) -> Account {
        let acknowledged = self.acknowledged();
        let mut account = Account { acknowledged: acknowledged.len(), ..Account::default() };
        for (id, (recipients, sum)) in acknowledged.iter() {
            let arrivals = arrived.get(id).map_or(&[][..], Vec::as_slice);
            let times = |recipient: &String| arrivals.iter().filter(|a| a.recipients.contains(recipient)).count();
            if recipients.iter().any(|recipient| times(recipient) == 0) {
                account.lost.push(id.clone());
            }
            account.duplicates += recipients.iter().map(|recipient| times(recipient).saturating_sub(1)).sum::<usize>();
            if arrivals.iter().any(|arrival| arrival.sum != *sum) {
                account.changed.push(id.clone());
            }
        }
        account
    }
}
