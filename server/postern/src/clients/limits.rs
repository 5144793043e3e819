//! What one client may do: sessions, connections, messages and recipients, by address and by user.

use super::network::network;
use super::section::ClientLimits;
use crate::config::Pace;
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::schedule::{Bucket, Rate};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many clients are remembered at once, about 100 octets each; while so many are busy no other is let in.
const MAX_CLIENTS: usize = 100_000;

/// Keys of the config.
const PER_ADDRESS: &str = "per_address";
const PER_USER: &str = "per_user";

/// The clients of one listener.
#[derive(Debug)]
pub struct Clients {
    per_address: ClientLimits,
    per_user: ClientLimits,
    started: Instant,
    known: Mutex<HashMap<Key, Client>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    User(Arc<str>),
}

#[derive(Debug, Default)]
struct Client {
    sessions: usize,
    connections: Bucket,
    messages: Bucket,
    recipients: Bucket,
}

/// One session of an address or a user, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    key: Option<Key>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Connections,
    Messages,
    Recipients,
}

/// A limit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// The key of the config, such as `per_address.messages`.
    pub limit: String,
    /// What the client is told: of which there are too many, and when to come back.
    text: String,
    /// How long that is, where it is known; zero is never.
    pub wait: Option<Duration>,
}

impl Over {
    fn sessions(of: &str) -> Self {
        let whose = if of == PER_USER { "of your user" } else { "from your address" };
        Self { limit: format!("{of}.sessions"), text: format!("too many sessions {whose}"), wait: None }
    }

    fn rate(of: &str, counted: Counted, wait: Duration) -> Self {
        let what = counted.name();
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let text = format!("too many {what}, try again in {seconds} s");
        Self { limit: format!("{of}.{what}"), text, wait: Some(Duration::from_secs(seconds)) }
    }

    /// More at once than may come in all the time of the rate.
    fn never(of: &str, counted: Counted, rate: Rate) -> Self {
        let what = counted.name();
        let text = format!("too many {what} at once, the limit is {rate}");
        Self { limit: format!("{of}.{what}"), text, wait: Some(Duration::ZERO) }
    }

    /// Instead of the greeting, or to AUTH: 421.
    #[must_use]
    pub fn at_connect(&self, hostname: &str) -> Reply {
        Reply::new(421, EnhancedCode(4, 7, 0), format!("{hostname} {}", self.text))
    }

    /// To MAIL or RCPT: 450, as Postfix says it.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let mut text = self.text.clone();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Reply::new(450, EnhancedCode(4, 7, 1), text)
    }
}

impl Counted {
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Recipients => "recipients",
        }
    }
}

impl Client {
    fn bucket(&mut self, counted: Counted) -> &mut Bucket {
        match counted {
            Counted::Connections => &mut self.connections,
            Counted::Messages => &mut self.messages,
            Counted::Recipients => &mut self.recipients,
        }
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.sessions == 0 && [self.connections, self.messages, self.recipients].iter().all(|b| b.is_idle(now))
    }
}

impl Clients {
    /// Nobody yet.
    #[must_use]
    pub fn new(per_address: ClientLimits, per_user: ClientLimits) -> Arc<Self> {
        Arc::new(Self { per_address, per_user, started: Instant::now(), known: Mutex::default() })
    }

    /// An address has connected.
    ///
    /// # Errors
    /// It has too many sessions, or has connected too often.
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Over> {
        self.seat(PER_ADDRESS, self.per_address, || Key::Address(network(address)))
    }

    /// A user has logged in.
    ///
    /// # Errors
    /// It has too many sessions, or has logged in too often.
    pub fn log_in(self: &Arc<Self>, user: &Arc<str>) -> Result<Seat, Over> {
        self.seat(PER_USER, self.per_user, || Key::User(Arc::clone(user)))
    }

    fn seat(self: &Arc<Self>, of: &str, limits: ClientLimits, key: impl FnOnce() -> Key) -> Result<Seat, Over> {
        let ClientLimits { sessions, connections, .. } = limits;
        if sessions.is_none() && connections.is_none() {
            return Ok(self.unlimited());
        }
        let (key, now) = (key(), self.started.elapsed());
        let mut known = self.known();
        let client = entry(&mut known, &key, now)?;
        if sessions.is_some_and(|most| client.sessions >= most.get()) {
            return Err(Over::sessions(of));
        }
        take(client, of, Counted::Connections, 1, connections, now)?;
        client.sessions += 1;
        Ok(Seat { clients: Arc::clone(self), key: Some(key) })
    }

    /// A place for a session that no limit is for.
    #[must_use]
    pub fn unlimited(self: &Arc<Self>) -> Seat {
        Seat { clients: Arc::clone(self), key: None }
    }

    /// A message begins.
    ///
    /// # Errors
    /// The address or the user has sent too many.
    pub fn message(&self, address: IpAddr, user: Option<&Arc<str>>) -> Result<(), Over> {
        let limits = (self.per_address.messages, self.per_user.messages);
        self.count(Counted::Messages, 1, limits, address, user)
    }

    /// One more recipient.
    ///
    /// # Errors
    /// The address or the user has written to too many.
    pub fn recipient(&self, address: IpAddr, user: Option<&Arc<str>>) -> Result<(), Over> {
        self.recipients(1, address, user)
    }

    /// So many more recipients, all or none.
    ///
    /// # Errors
    /// The address or the user has written to too many.
    pub fn recipients(&self, number: u32, address: IpAddr, user: Option<&Arc<str>>) -> Result<(), Over> {
        let limits = (self.per_address.recipients, self.per_user.recipients);
        self.count(Counted::Recipients, number, limits, address, user)
    }

    fn count(
        &self,
        counted: Counted,
        number: u32,
        (per_address, per_user): (Option<Pace>, Option<Pace>),
        address: IpAddr,
        user: Option<&Arc<str>>,
    ) -> Result<(), Over> {
        if per_address.is_none() && (per_user.is_none() || user.is_none()) {
            return Ok(());
        }
        let now = self.started.elapsed();
        let mut known = self.known();
        if per_address.is_some() {
            let client = entry(&mut known, &Key::Address(network(address)), now)?;
            take(client, PER_ADDRESS, counted, number, per_address, now)?;
        }
        if let (Some(_), Some(user)) = (per_user, user) {
            let client = entry(&mut known, &Key::User(Arc::clone(user)), now)?;
            take(client, PER_USER, counted, number, per_user, now)?;
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Client>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rest of what is known of a client is forgotten once it makes no difference.
fn entry<'a>(known: &'a mut HashMap<Key, Client>, key: &Key, now: Duration) -> Result<&'a mut Client, Over> {
    if known.len() >= MAX_CLIENTS && !known.contains_key(key) {
        known.retain(|_, client| !client.is_idle(now));
        if known.len() >= MAX_CLIENTS {
            return Err(Over { limit: "clients remembered".into(), text: "too many clients".into(), wait: None });
        }
    }
    Ok(known.entry(key.clone()).or_default())
}

/// The whole number of the rate may come at once: a limit on clients is about how much, not about how evenly.
fn take(
    client: &mut Client,
    of: &str,
    counted: Counted,
    number: u32,
    limit: Option<Pace>,
    now: Duration,
) -> Result<(), Over> {
    let Some(Pace(rate)) = limit else { return Ok(()) };
    let Rate { count: burst, .. } = rate;
    if number > burst {
        return Err(Over::never(of, counted, rate));
    }
    client.bucket(counted).take(number, rate, burst, now).map_err(|wait| Over::rate(of, counted, wait))
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let now = self.clients.started.elapsed();
        let mut known = self.clients.known();
        if let Some(client) = known.get_mut(key) {
            client.sessions = client.sessions.saturating_sub(1);
            if client.is_idle(now) {
                known.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(per_address: &str, per_user: &str) -> Arc<Clients> {
        Clients::new(toml::from_str(per_address).unwrap(), toml::from_str(per_user).unwrap())
    }

    #[test]
    fn sessions_of_an_address() {
        let clients = clients("sessions = 2", "");
        let at = |text: &str| clients.connect(text.parse().unwrap());
        let one = at("2001:db8::1").unwrap();
        let _two = at("2001:db8::2").unwrap();
        assert_eq!(at("2001:db8:0:0:ffff::3").unwrap_err().limit, "per_address.sessions");
        let _other = at("2001:db8:0:1::3").unwrap();
        drop(one);
        at("2001:db8::4").unwrap();
        assert_eq!(clients.known().len(), 2);
    }

    #[test]
    fn sessions_of_a_user() {
        let clients = clients("sessions = 1", "sessions = 2\nconnections = '3/h'");
        let (user, other) = (Arc::from("app"), Arc::from("192.0.2.1"));
        let one = clients.log_in(&user).unwrap();
        let _two = clients.log_in(&user).unwrap();
        let over = clients.log_in(&user).unwrap_err();
        assert_eq!(over.limit, "per_user.sessions");
        assert_eq!(over.at_connect("mta").text, "mta too many sessions of your user");
        drop(one);
        let _three = clients.log_in(&user).unwrap();
        drop(_two);
        assert_eq!(clients.log_in(&user).unwrap_err().limit, "per_user.connections");
        // A user that is called as an address is another.
        let (_user, _address) =
            (clients.log_in(&other).unwrap(), clients.connect("192.0.2.1".parse().unwrap()).unwrap());
    }

    #[test]
    fn rates_by_address_and_user() {
        let clients = clients("messages = '2/h'\nconnections = '1/h'", "messages = '3/h'\nrecipients = '1/h'");
        let (one, two): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "::ffff:192.0.2.2".parse().unwrap());
        let user = Arc::from("app");
        clients.message(one, Some(&user)).unwrap();
        clients.message(one, Some(&user)).unwrap();
        let over = clients.message(one, None).unwrap_err();
        assert_eq!(over.limit, "per_address.messages");
        assert_eq!(over.reply().code, 450);
        clients.message(two, Some(&user)).unwrap();
        assert_eq!(clients.message(two, Some(&user)).unwrap_err().limit, "per_user.messages");
        clients.recipient(one, None).unwrap();
        assert_eq!(clients.recipients(2, one, Some(&user)).unwrap_err().wait, Some(Duration::ZERO));
        clients.recipient(one, Some(&user)).unwrap();
        assert_eq!(clients.recipient(one, Some(&user)).unwrap_err().limit, "per_user.recipients");
        drop(clients.connect(one).unwrap());
        assert_eq!(clients.connect(one).unwrap_err().limit, "per_address.connections");
    }
}
