//! From a route to greeted sessions: its hosts and their addresses, one after the other.
//!
//! Limits: [`MAX_ADDRESSES`] connections for an attempt, of one host [`MAX_OF_ONE_HOST`] while others are left, and none
//! is begun once [`MAX_DIALLING`] has passed: a stalling host has minutes, not hours.

use super::connection::Session;
use super::{Attempt, Connection, Options, Route, source};
use postern_core::bounce;
use postern_core::mail::{Outcome, Seq};
use postern_core::route::{Host, Unroutable};
use postern_core::smtp::client::{Cause, Failure, Fault, Loss, Stage, Terms};
use postern_core::zone::TlsMode;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

/// At most so many connections are made in one attempt.
pub const MAX_ADDRESSES: usize = 8;
/// At most so many addresses of one host are tried before those of the others.
pub const MAX_OF_ONE_HOST: usize = 4;
/// Once so much time has passed no further connection is begun.
pub const MAX_DIALLING: Duration = Duration::from_secs(600);

/// Longest text about one address among several that failed, in octets.
const MAX_TEXT: usize = 200;

/// No address gave a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unopened {
    /// What the last address that was tried did.
    pub failure: Failure,
    /// Which one that was, `host[ip]:port`.
    pub remote: String,
}

/// Goes through the addresses of a route.
pub(super) struct Dialler<'a> {
    route: &'a Route,
    options: &'a Options,
    plan: std::vec::IntoIter<(usize, IpAddr)>,
    connections: usize,
    begun: Instant,
}

impl<'a> Dialler<'a> {
    pub(super) fn new(route: &'a Route, options: &'a Options) -> Self {
        let reachable = |ip| route.sources.iter().any(|source| source::fits(source.ip, ip));
        let mut plan = plan(&route.hosts, reachable);
        if plan.is_empty() {
            // What is tried then says what is wrong.
            plan = self::plan(&route.hosts, |_| true);
        }
        Self { route, options, plan: plan.into_iter(), connections: 0, begun: Instant::now() }
    }

    /// From the best host again, as far as connections are left.
    pub(super) fn start_again(&mut self) {
        *self = Self { connections: self.connections, ..Self::new(self.route, self.options) };
    }

    /// The next session that can be had. None if nothing was left to try.
    pub(super) async fn next(&mut self) -> Option<Result<Connection, Unopened>> {
        let mut failed: Vec<Unopened> = Vec::new();
        while let Some((host, ip)) = self.plan.next() {
            if self.connections >= MAX_ADDRESSES || self.begun.elapsed() >= MAX_DIALLING {
                break;
            }
            let remote = format!("{}[{}]:{}", self.route.hosts[host].name, ip, self.route.port);
            let failure = match self.session(host, ip, &remote).await {
                Ok(connection) => return Some(Ok(connection)),
                Err(failure) => failure,
            };
            let ourselves = failure.cause == Cause::Unroutable(Unroutable::Loop);
            if ourselves {
                // Whoever comes after this host would hand the mail back to it.
                self.plan = Vec::new().into_iter();
            }
            // Behind a better host that fails for now, finding ourselves only means to wait for that one.
            if !ourselves || host == 0 {
                failed.push(Unopened { failure, remote });
            }
        }
        summed_up(failed).map(Err)
    }

    /// What to say where nothing was tried: the route has no hosts, or an earlier transaction used up the connections.
    pub(super) fn nothing_left(&self, recipients: &[Seq]) -> Attempt {
        let failure = Failure::new(Stage::Connect, Cause::Lost(Loss::Unreachable));
        Attempt::failed(recipients, &failure.with_detail("no address is left to try"), &self.route.to_string())
    }

    /// A session with one address; where that is allowed, in clear after TLS has failed.
    async fn session(&mut self, host: usize, ip: IpAddr, remote: &str) -> Result<Connection, Failure> {
        let wanted = self.route.tls;
        let failure = match self.greet(host, ip, remote, wanted).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure,
        };
        let in_clear = wanted == TlsMode::Opportunistic && self.route.credentials.is_none();
        if !in_clear || failure.stage != Stage::Handshake || self.connections >= MAX_ADDRESSES {
            return Err(failure);
        }
        debug!(remote, error = failure.detail, "the TLS handshake failed; once more in clear");
        self.greet(host, ip, remote, TlsMode::Off).await
    }

    async fn greet(&mut self, host: usize, ip: IpAddr, remote: &str, tls: TlsMode) -> Result<Connection, Failure> {
        self.connections += 1;
        let Self { route, options, .. } = *self;
        let address = SocketAddr::new(ip, route.port);
        let (tcp, source) = source::connect(address, &route.sources, options.limits.connect, &options.unbound).await?;
        let terms =
            Terms { tls, credentials: route.credentials.clone(), own_names: std::sync::Arc::clone(&route.own_names) };
        let session = Session { remote: remote.to_owned(), source, terms, limits: options.limits };
        Connection::open(tcp, session, &route.hosts[host].name, ip, &options.tls).await
    }
}

/// Index of the host and address, in the order in which they are tried.
fn plan(hosts: &[Host], reachable: impl Fn(IpAddr) -> bool) -> Vec<(usize, IpAddr)> {
    let addresses = |(index, host): (usize, &Host)| {
        let addresses = host.addresses.iter().map(IpAddr::to_canonical).filter(|ip| reachable(*ip));
        addresses.map(|ip| (index, ip)).take(MAX_ADDRESSES).collect::<Vec<_>>()
    };
    let all: Vec<Vec<_>> = hosts.iter().enumerate().map(addresses).collect();
    let first = all.iter().flat_map(|addresses| addresses.iter().take(MAX_OF_ONE_HOST));
    let rest = all.iter().flat_map(|addresses| addresses.iter().skip(MAX_OF_ONE_HOST));
    first.chain(rest).copied().take(MAX_ADDRESSES).collect()
}

/// The last failure that a host is to blame for, else the last; in its detail, what the others did.
fn summed_up(mut failed: Vec<Unopened>) -> Option<Unopened> {
    let is_ours = |unopened: &Unopened| unopened.failure.cause == Cause::Fault(Fault::Source);
    let chosen = failed.iter().rposition(|unopened| !is_ours(unopened)).or(failed.len().checked_sub(1))?;
    let mut chosen = failed.remove(chosen);
    let texts: Vec<String> = std::iter::once(std::mem::take(&mut chosen.failure.detail))
        .filter(|detail| !detail.is_empty())
        .chain(failed.iter().map(|other| format!("before: {}", text(other))))
        .collect();
    chosen.failure.detail = texts.join("; ");
    Some(chosen)
}

fn text(unopened: &Unopened) -> String {
    let mut text = match bounce::judge(&unopened.failure, &unopened.remote) {
        Outcome::Deferred(reason) | Outcome::Bounced(reason) => reason.public,
        Outcome::Delivered(_) => String::new(),
    };
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_four_of_a_host_while_others_are_left() {
        let check = |counts: &[u8], expected: &str| {
            let host = |(index, count): (usize, &u8)| Host {
                name: format!("mx{index}"),
                addresses: (0..*count).map(|n| IpAddr::from([192, 0, 2, n])).collect(),
            };
            let hosts: Vec<Host> = counts.iter().enumerate().map(host).collect();
            let shown: Vec<String> = plan(&hosts, |_| true).iter().map(|(host, _)| host.to_string()).collect();
            assert_eq!(shown.concat(), expected, "{counts:?}");
        };
        check(&[], "");
        check(&[1], "0");
        check(&[20], "00000000");
        check(&[6, 1], "0000100");
        check(&[20, 20], "00001111");
        check(&[5, 5, 1], "00001111");
        check(&[1, 6], "0111111");
        check(&[1; 20], "01234567");
    }

    #[test]
    fn addresses_that_no_source_reaches_take_no_place() {
        let six = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let four = IpAddr::from([192, 0, 2, 1]);
        let host = |addresses| Host { name: "mx".to_owned(), addresses };
        let hosts = [host(vec![six; 9]), host(vec![six, four])];
        assert_eq!(plan(&hosts, |ip| ip.is_ipv4()), [(1, four)]);
    }
}
