//! The resolver that asks real DNS servers, over hickory's connections: they see to query ids and source ports by
//! chance, repeats, the question in the answer, and TCP where an answer does not fit into a datagram.
//!
//! What an answer means is read here and not left to hickory's resolver, which goes on without telling where a mail
//! server must know: a loop of aliases is "no records" to it, as is an answer about other names, and one server's error
//! ends the lookup though another server might know.
//!
//! The system's servers and /etc/hosts are read once, by [`Hickory::new`].

use super::answer::{Found, LATE, Said, Trail, read, text};
use super::cache::Cache;
use super::table::of_version;
use super::{Dns, LOOKUP_LIMIT, MAX_RECORDS, Resolver};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, NameServerPool, PoolContext, TlsConfig, system_conf};
use postern_core::route::{Answer, Missing, Mx};
use postern_core::zone::IpVersion;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// One server has so long to answer a query, repeats and TCP included; then the next is asked.
const SERVER_LIMIT: Duration = Duration::from_secs(5);
/// … and no less, however many there are.
const LEAST_SERVER_LIMIT: Duration = Duration::from_millis(1500);
/// At most so many queries are under way at once; others wait, within the time that they have. A query that is repeated
/// has up to three sockets.
const MAX_QUERIES: usize = 256;
/// Answers that are kept: names with MX records, and twice as many with addresses. With [`MAX_RECORDS`] of the longest
/// names this is 20 MiB; with common ones, 2. As many addresses with their names.
const CACHED_NAMES: usize = 4096;
/// No answer is kept for longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The same for answers that something does not exist (RFC 2308 section 5 advises one to three hours).
const LONGEST_NEGATIVE: Duration = Duration::from_secs(3_600);
/// Failures too are kept, so that a queue of mail to a broken domain does not become a flood of queries (RFC 9520).
const FAILURE: Duration = Duration::from_secs(5);

/// The resolver can't be made.
#[derive(Debug, thiserror::Error)]
#[error("the resolver can't be set up: {0}")]
pub struct SetupError(String);

/// Asks the servers of `[dns]`, or the system's.
pub struct Hickory {
    servers: Vec<Server>,
    /// Which server is asked first: the last that was of use.
    first: AtomicUsize,
    under_way: Semaphore,
    mx: Cache<Mx>,
    v4: Cache<IpAddr>,
    v6: Cache<IpAddr>,
    names: Cache<String>,
    #[cfg(feature = "plugins")]
    pub(super) records: Cache<String>,
    hosts: Hosts,
}

struct Server {
    address: SocketAddr,
    pool: NameServerPool<TokioRuntimeProvider>,
}

impl fmt::Debug for Hickory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<SocketAddr> = self.servers.iter().map(|server| server.address).collect();
        f.debug_struct("Hickory").field("servers", &servers).finish_non_exhaustive()
    }
}

impl Hickory {
    /// Makes one; it asks nobody yet. Where no server is named and the system's can't be read, it is the one on this
    /// machine, as it is for the system's own resolver.
    ///
    /// # Errors
    /// hickory refuses.
    pub fn new(dns: &Dns) -> Result<Self, SetupError> {
        let addresses = if dns.servers.is_empty() { system_servers() } else { dns.servers.clone() };
        let servers = addresses.into_iter().map(server).collect::<Result<_, _>>()?;
        Ok(Self {
            servers,
            first: AtomicUsize::new(0),
            under_way: Semaphore::new(MAX_QUERIES),
            mx: Cache::new(CACHED_NAMES),
            v4: Cache::new(CACHED_NAMES),
            v6: Cache::new(CACHED_NAMES),
            names: Cache::new(CACHED_NAMES),
            #[cfg(feature = "plugins")]
            records: Cache::new(CACHED_NAMES),
            hosts: Hosts::from_system().unwrap_or_default(),
        })
    }

    /// The records of `kind` that `pick` takes, from the cache or from the servers.
    async fn lookup<T: Clone>(
        &self,
        cache: &Cache<T>,
        host: &str,
        kind: RecordType,
        pick: fn(&RData) -> Option<T>,
        best: fn(&mut Vec<T>),
    ) -> Answer<T> {
        if let Some(answer) = cache.get(host) {
            return answer;
        }
        // What has no form in DNS does not exist.
        let Ok(name) = Name::from_ascii(format!("{host}.")) else { return Err(Missing::NoSuchName) };
        let (mut answer, valid) = self.ask_in_time(name, kind, pick).await;
        if let Ok(records) = &mut answer {
            // Which of very many records stay is left to chance, where nothing says which are better.
            fastrand::shuffle(records);
            best(records);
            records.truncate(MAX_RECORDS);
        }
        cache.put(host, &answer, valid);
        answer
    }

    /// As [`Hickory::ask`], within the time that a lookup has.
    pub(super) async fn ask_in_time<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: fn(&RData) -> Option<T>,
    ) -> (Answer<T>, Duration) {
        let late = |_| (Err(Missing::Temporary(LATE.to_owned())), FAILURE);
        timeout(LOOKUP_LIMIT, self.ask(name, kind, pick)).await.unwrap_or_else(late)
    }

    /// Asks until there is an answer to the end of the chain of aliases, and for how long it is valid.
    async fn ask<T>(&self, name: Name, kind: RecordType, pick: fn(&RData) -> Option<T>) -> (Answer<T>, Duration) {
        let mut trail = Trail::new(name);
        loop {
            let negative = |seconds: u32, trail: &Trail| seconds_of(seconds.min(trail.seconds)).min(LONGEST_NEGATIVE);
            let response = match self.query(&Query::query(trail.name.clone(), kind)).await {
                Said::Records(response) => response,
                Said::NoSuchName(seconds) => return (Err(Missing::NoSuchName), negative(seconds, &trail)),
                Said::NoData(seconds) => return (Err(Missing::NoData), negative(seconds, &trail)),
                Said::Failed(why) => return (Err(Missing::Temporary(why)), FAILURE),
            };
            match trail.follow(response.response_code, &response.answers, kind) {
                Found::Records(records) => {
                    let picked: Vec<T> = records.into_iter().filter_map(pick).collect();
                    let answer = if picked.is_empty() { Err(Missing::NoData) } else { Ok(picked) };
                    return (answer, seconds_of(trail.seconds).min(LONGEST));
                }
                Found::Onward => {}
                Found::Nowhere => {
                    let seconds = response.negative_ttl().unwrap_or(0);
                    return (Err(Missing::NoSuchName), negative(seconds, &trail));
                }
                Found::Nonsense(why) => return (Err(Missing::Temporary(why.to_owned())), FAILURE),
            }
        }
    }

    /// Asks one server after the other until one has an answer.
    async fn query(&self, query: &Query) -> Said {
        // It is never closed.
        let _permit = self.under_way.acquire().await;
        let first = self.first.load(Ordering::Relaxed);
        // All of them are to have their chance within the time that a lookup has.
        let share = LOOKUP_LIMIT / u32::try_from(self.servers.len()).unwrap_or(u32::MAX).max(1);
        let limit = share.clamp(LEAST_SERVER_LIMIT, SERVER_LIMIT);
        let mut failures = Vec::new();
        for n in 0..self.servers.len() {
            let at = (first + n) % self.servers.len();
            let server = &self.servers[at];
            let mut options = DnsRequestOptions::default();
            options.use_edns = true;
            let answer = server.pool.lookup(query.clone(), options).first_answer();
            let said = match timeout(limit, answer).await {
                Ok(result) => read(query, result),
                Err(_) => Said::Failed(LATE.to_owned()),
            };
            if let Said::Failed(why) = said {
                // The next query begins with another one.
                let next = (at + 1) % self.servers.len();
                let _ = self.first.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
                failures.push(format!("{} says: {why}", server.address));
                continue;
            }
            self.first.store(at, Ordering::Relaxed);
            return said;
        }
        Said::Failed(failures.join("; "))
    }

    async fn family(&self, host: &str, kind: RecordType) -> Answer<IpAddr> {
        let cache = if kind == RecordType::A { &self.v4 } else { &self.v6 };
        let pick: fn(&RData) -> Option<IpAddr> = |data| match data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        };
        self.lookup(cache, host, kind, pick, |_| {}).await
    }

    async fn by_dns(&self, host: &str, ip: IpVersion) -> Answer<IpAddr> {
        let host = host.to_ascii_lowercase();
        if is_localhost(&host) {
            return of_version(loopback(), ip);
        }
        if is_onion(&host) {
            return Err(Missing::NoSuchName);
        }
        match ip {
            IpVersion::V4 => self.family(&host, RecordType::A).await,
            IpVersion::V6 => self.family(&host, RecordType::AAAA).await,
            IpVersion::Any | IpVersion::Prefer4 | IpVersion::Prefer6 => {
                let (six, four) = join(self.family(&host, RecordType::AAAA), self.family(&host, RecordType::A)).await;
                both(six, four)
            }
        }
    }

    fn by_hosts_file(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(format!("{host}.")) else { return Vec::new() };
        let kinds = [RecordType::AAAA, RecordType::A];
        let found = kinds.map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
        records.filter_map(|record| record.data.ip_addr()).take(2 * MAX_RECORDS).collect()
    }
}

impl Resolver for Hickory {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Answer<Mx>> {
        let pick: fn(&RData) -> Option<Mx> = |data| match data {
            RData::MX(mx) => Some(Mx::new(mx.preference, text(&mx.exchange))),
            _ => None,
        };
        async move {
            let domain = domain.to_ascii_lowercase();
            if is_localhost(&domain) {
                return Err(Missing::NoData);
            }
            if is_onion(&domain) {
                return Err(Missing::NoSuchName);
            }
            self.lookup(&self.mx, &domain, RecordType::MX, pick, |records| records.sort_by_key(|mx| mx.preference))
                .await
        }
        .boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        self.by_dns(host, ip).boxed()
    }

    fn names(&self, address: IpAddr) -> BoxFuture<'_, Answer<String>> {
        let pick: fn(&RData) -> Option<String> = |data| match data {
            RData::PTR(name) => Some(text(&name.0)),
            _ => None,
        };
        async move {
            let question = text(&Name::from(address.to_canonical()));
            self.lookup(&self.names, &question, RecordType::PTR, pick, |_| {}).await
        }
        .boxed()
    }

    fn configured_addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        async move {
            let listed = self.by_hosts_file(&host.to_ascii_lowercase());
            if listed.is_empty() { self.by_dns(host, ip).await } else { of_version(listed, ip) }
        }
        .boxed()
    }
}

/// One server by itself, so that we and not hickory say which is asked when.
fn server(address: SocketAddr) -> Result<Server, SetupError> {
    let mut options = ResolverOpts::default();
    options.timeout = SERVER_LIMIT;
    // Over TCP, where more than this is an error.
    options.max_active_requests = MAX_QUERIES;
    let tls = TlsConfig::new().map_err(|error| SetupError(error.to_string()))?;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let config = NameServerConfig::new(address.ip(), true, connections.to_vec());
    let context = Arc::new(PoolContext::new(options, tls));
    let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
    Ok(Server { address, pool })
}

fn system_servers() -> Vec<SocketAddr> {
    let servers = match system_conf::read_system_conf() {
        Ok((config, _)) => {
            let address = |server: &NameServerConfig| {
                let port = server.connections.first().map_or(53, |connection| connection.port);
                SocketAddr::new(server.ip, port)
            };
            config.name_servers().iter().map(address).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the system's DNS servers can't be read; 127.0.0.1 is asked");
            Vec::new()
        }
    };
    if servers.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))] } else { servers }
}

/// RFC 6761 section 6.3.
pub(super) fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Such a name is never asked for in DNS (RFC 7686).
pub(super) fn is_onion(host: &str) -> bool {
    host == "onion" || host.ends_with(".onion")
}

pub(super) fn loopback() -> Vec<IpAddr> {
    vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

fn seconds_of(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// What is known of either IP version is used; that there is nothing, only if it is known of both.
fn both(six: Answer<IpAddr>, four: Answer<IpAddr>) -> Answer<IpAddr> {
    match (six, four) {
        (Ok(six), Ok(four)) => Ok(six.into_iter().chain(four).collect()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(unknown @ Missing::Temporary(_)), Err(_)) | (Err(_), Err(unknown @ Missing::Temporary(_))) => Err(unknown),
        // A name that exists for one type exists; servers that say otherwise are wrong (RFC 8020).
        (Err(Missing::NoSuchName), Err(Missing::NoSuchName)) => Err(Missing::NoSuchName),
        (Err(_), Err(_)) => Err(Missing::NoData),
    }
}
