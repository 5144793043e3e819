//! The hosts of a destination, by DNS: trait [`Resolver`] with its two implementations, and what ties it to the rules
//! in [`postern_core::route`]. It makes no connections but to DNS servers, and decides nothing about mail.
//!
//! Limits: one lookup ends within [`LOOKUP_LIMIT`], all address lookups of a domain's hosts together too, so that
//! [`mx_hosts`] takes twice that at most. Of an answer at most [`MAX_RECORDS`] records are kept, of a domain's hosts
//! [`MAX_HOSTS`](postern_core::route::MAX_HOSTS) are looked up, a few at a time, and a chain of aliases has at most
//! [`MAX_ALIASES`] links.

mod answer;
mod cache;
mod hickory;
mod local;
#[cfg(feature = "plugins")]
mod records;
mod reverse;
mod section;
mod table;

pub use answer::MAX_ALIASES;
pub use hickory::{Hickory, SetupError};
pub use local::is_local;
pub use reverse::confirmed_name;
pub use section::{Dns, DnsSection};
pub use table::Table;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use postern_core::route::{
    self, Answer, Candidate, Candidates, Host, Missing, Mx, NoRoute, OwnIdentity, Policy, Target, Unroutable,
};
use postern_core::zone::IpVersion;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// One lookup takes no longer, however many servers are asked and aliases are followed.
pub const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Of the records of one answer at most so many are kept: of MX records the most preferred ones, else any.
pub const MAX_RECORDS: usize = 16;
/// Hosts of one domain that are looked up at a time.
const CONCURRENT_HOSTS: usize = 4;

/// Asks DNS. Names are whole: no search domain is ever put after them.
pub trait Resolver: Send + Sync {
    /// The MX records of a domain in A-labels without a last dot.
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Answer<Mx>>;

    /// The addresses of a host that DNS named. It is asked of DNS alone: neither /etc/hosts nor the form of the name
    /// makes an address of it. (`localhost` is the loopback addresses, without asking: RFC 6761 section 6.3.)
    fn addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>>;

    /// The names that an address has by its PTR records.
    fn names(&self, address: IpAddr) -> BoxFuture<'_, Answer<String>>;

    /// The addresses of a host that the operator named: /etc/hosts comes first.
    fn configured_addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>>;
}

/// What decides, besides DNS, which hosts may be connected to.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The zone's.
    pub ip: IpVersion,
    /// The port that will be connected to.
    pub port: u16,
    /// Who we are.
    pub own: &'a OwnIdentity,
    /// `dns.allow_private`
    pub allow_private: bool,
}

/// The hosts that take the mail of `destination` (a domain, internationalised or not, or an address literal), in the
/// order to try.
///
/// # Errors
/// There is none, or DNS did not say.
pub async fn mx_hosts(
    resolver: &dyn Resolver,
    destination: &str,
    question: &Question<'_>,
) -> Result<Vec<Host>, NoRoute> {
    let mut rng = fastrand::Rng::new();
    let (candidates, answers) = match Target::parse(destination)? {
        Target::Literal(ip) => (only(ip.to_string()), vec![Ok(vec![ip])]),
        Target::Domain(domain) => {
            let candidates = route::candidates(&domain, resolver.mx(&domain).await, question.own, &mut rng)?;
            let answers = addresses(resolver, &candidates, question.ip).await;
            (candidates, answers)
        }
    };
    let policy = Policy {
        ip: question.ip,
        port: question.port,
        own: question.own,
        is_local: &is_local,
        allow_private: question.allow_private,
    };
    route::choose(destination, candidates, answers, &policy, &mut rng)
}

/// The addresses of all candidates, in their order; those that take too long all together have none.
async fn addresses(resolver: &dyn Resolver, candidates: &Candidates, ip: IpVersion) -> Vec<Answer<IpAddr>> {
    let deadline = Instant::now() + LOOKUP_LIMIT;
    // A loop rather than a closure, whose future the compiler could not see to be `Send`.
    let mut lookups: Vec<BoxFuture<'_, Answer<IpAddr>>> = Vec::with_capacity(candidates.hosts.len());
    for host in &candidates.hosts {
        lookups.push(until(deadline, resolver.addresses(&host.name, ip)).boxed());
    }
    futures_util::stream::iter(lookups).buffered(CONCURRENT_HOSTS).collect().await
}

/// The smart host with its addresses: no MX lookup, and private addresses are fine, for the operator named it.
///
/// # Errors
/// It has no address now. That is always [`Unroutable::Temporary`], even if its name does not exist: a mistake in the
/// config or in one's own DNS must not bounce a whole queue.
pub async fn smart_host_hosts(resolver: &dyn Resolver, host: &str, ip: IpVersion) -> Result<Vec<Host>, NoRoute> {
    let unknown = |what: String| NoRoute::new(Unroutable::Temporary, format!("smart host {host}: {what}"));
    let literal = host.parse::<IpAddr>().ok();
    let target = literal.map_or_else(|| Target::parse(host), |ip| Ok(Target::Literal(ip)));
    let answer = match target.map_err(|error| unknown(error.detail))? {
        Target::Literal(ip) => Ok(vec![ip]),
        Target::Domain(name) => resolver.configured_addresses(&name, ip).await,
    };
    let answer = match answer {
        Ok(addresses) => addresses,
        Err(Missing::NoSuchName) => return Err(unknown("there is no such name".to_owned())),
        Err(Missing::NoData) => return Err(unknown("it has no address".to_owned())),
        Err(Missing::Temporary(why)) => return Err(unknown(why)),
    };
    let nobody = OwnIdentity::default();
    let policy = Policy { ip, port: 0, own: &nobody, is_local: &|_| false, allow_private: true };
    let chosen = route::choose(host, only(host.to_owned()), vec![Ok(answer)], &policy, &mut fastrand::Rng::new());
    chosen.map_err(|_| unknown("it has no address of the zone's IP version".to_owned()))
}

async fn until(deadline: Instant, lookup: BoxFuture<'_, Answer<IpAddr>>) -> Answer<IpAddr> {
    let late = |_| Err(Missing::Temporary("no answer in time".to_owned()));
    timeout_at(deadline, lookup).await.unwrap_or_else(late)
}

fn only(name: String) -> Candidates {
    Candidates { hosts: vec![Candidate { preference: 0, name }], looped: false }
}

#[cfg(test)]
mod tests;
