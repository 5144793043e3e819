//! The wiring: builds the parts from the config, supervises their tasks, settles outcomes, shuts down in order.

mod before;
mod connections;
mod crew;
mod dispatch;
mod failures;
mod plugins;
mod rates;
mod report;
mod router;
mod routes;
mod section;
mod settle;
mod sweep;
mod worker;

pub use plugins::{ConfigReader, PluginError, check as check_plugins};
#[cfg(feature = "plugins")]
pub use plugins::{kv_stores, plugin_spec};
pub use section::{
    BreakerSection, DomainLimits, DomainSection, DsnSection, Engine, GrantsSection, HooksSection, Ip, OnError,
    PluginSection, PoolAddressSection, PoolSection, QueueSection, RatesSection, SmartHostSection, Tls, WhenSection,
    ZoneDsnSection, ZoneSection,
};

use crate::clients::{Guard, Logins, Tally};
use crate::config::Config;
use crate::deliver::{TlsClient, TlsError};
use crate::intake::Intake;
use crate::observe::metrics::Metrics;
use crate::receive::Listener;
use crate::resolve::{Hickory, Resolver, SetupError};
use crate::spool::embedded::{Embedded, OpenError, Options};
use crate::spool::{Spool, SpoolError};
use crate::system::Sockets;
use crate::users::Users;
use crate::{events, http, receive};
use dispatch::Dispatch;
use plugins::Generations;
use postern_core::hook::LiveHooks;
use postern_core::route::OwnIdentity;
use postern_core::time::Timestamp;
use rates::Rates;
use router::Zones;
use routes::Routes;
use settle::Settler;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sweep::Ages;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

/// Descriptors for files, logs, the control socket and its clients.
const RESERVED_DESCRIPTORS: usize = 64;
/// How long all parts together have to stop; each has a shorter limit of its own.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A plugin can't be loaded.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The store can't be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// How far the limits are can't be read from the store.
    #[error("can't read how far the limits are: {0}")]
    Rates(#[source] SpoolError),
    /// `dns.servers` can't be used.
    #[error("dns: {0}")]
    Dns(#[from] SetupError),
    /// `tls.roots` can't be used.
    #[error("tls.roots: {0}")]
    Tls(#[from] TlsError),
    /// A socket can't be used.
    #[error("can't use a socket: {0}")]
    Socket(#[from] io::Error),
    /// The control socket can't be made.
    #[error("can't make the control socket {}: {source}", .path.display())]
    Control {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a running server had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store failed.
    #[error("the queue's store failed: {0}; nothing is taken any more, restart to read it anew")]
    Store(String),
    /// A part of the server ended by itself.
    #[error("a part of the server ended by itself: {0}")]
    Part(String),
}

/// A server that holds its store and its sockets, and is ready to run.
pub struct Server {
    spool: Embedded,
    intake: Arc<Intake<Embedded>>,
    generations: Arc<Generations>,
    dispatch: Arc<Dispatch<Embedded>>,
    zones: Zones,
    settler: Arc<Settler<Embedded>>,
    hooks: Arc<LiveHooks>,
    ages: Ages,
    listeners: Vec<(TcpListener, Arc<Listener>)>,
    users: Users,
    resolver: Arc<dyn Resolver>,
    http: Option<(TcpListener, http::Http)>,
    control: UnixListener,
}

impl Server {
    /// Opens the store and loads the plugins: nothing comes in by the sockets before all is there. `read` reads the config again for a reload; `metrics` are the process's figures, if it keeps any.
    ///
    /// # Errors
    /// What is missing, named as in the config.
    pub async fn start(
        config: &Config,
        sockets: Sockets,
        read: ConfigReader,
        metrics: Option<Metrics>,
    ) -> Result<Self, StartError> {
        let spool = Embedded::open(config.data_dir(), spool_options(config))?;
        let generations = Generations::start(config, spool.clone(), read, metrics).await?;
        let live = generations.live();
        let control = http::bind_control(config.data_dir())
            .map_err(|source| StartError::Control { path: http::control_socket(config.data_dir()), source })?;
        let mut listeners = Vec::new();
        for (listener, socket) in config.listeners.iter().zip(sockets.listeners) {
            listeners.push((TcpListener::from_std(socket)?, Arc::new(within_descriptors(listener, config))));
        }
        let http = sockets.http.map(TcpListener::from_std).transpose()?.zip(config.http.clone());
        let zones = Zones::new(&config.zones, &config.pools);
        let hostname: Arc<str> = config.hostname.as_str().into();
        let intake = Arc::new(Intake::new(spool.clone(), Arc::clone(&live), Arc::new(zones.clone()), &hostname, now));
        let rates = Arc::new(Rates::new(&config.domains));
        rates.restore(&spool, now()).await.map_err(StartError::Rates)?;
        let settler = Arc::new(Settler {
            spool: spool.clone(),
            zones: zones.clone(),
            hostname: Arc::clone(&hostname),
            hooks: Arc::clone(&live),
            rates,
            clock: now,
        });
        let resolver: Arc<dyn Resolver> = Arc::new(Hickory::new(&config.dns)?);
        let routes = routes(config, &resolver, &listeners);
        let tls = Arc::new(TlsClient::new(config.written.tls.extra_roots())?);
        let dispatch =
            Dispatch::new(spool.clone(), zones.clone(), &config.domains, routes, tls, Arc::clone(&settler), now);
        let ages = Ages::new(&config.zones);
        let dispatch = Arc::new(dispatch);
        let users = config.users.clone();
        Ok(Self {
            spool,
            intake,
            generations,
            dispatch,
            zones,
            settler,
            hooks: live,
            ages,
            listeners,
            users,
            resolver,
            http,
            control,
        })
    }

    /// Runs until `stop` resolves, and reloads at each `hangup`; then stops in order: no new sessions, transactions and
    /// attempts in flight finish, the store closes last.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run(self, stop: impl Future<Output = ()>, hangup: mpsc::Receiver<()>) -> Result<(), RunError> {
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let shared = receive::Shared {
            intake: Arc::clone(&self.intake),
            users: self.users.clone(),
            resolver: self.resolver,
            tally: Tally::default(),
        };
        for (socket, listener) in self.listeners {
            let address = socket.local_addr().unwrap_or(listener.address);
            info!(listener = %listener.name, %address, "LISTENING");
            tasks.spawn(receive::serve(socket, listener, shared.clone(), stopped.clone()));
        }
        let api = http::Api {
            spool: self.spool.clone(),
            hooks: Arc::clone(&self.hooks),
            back_off: Arc::clone(&self.dispatch) as _,
            control: Arc::clone(&self.generations) as _,
            clock: now,
        };
        if let Some((socket, http)) = self.http {
            let logins = Logins::new(self.users, Guard::new(http.auth_failures, shared.tally));
            tasks.spawn(http::serve(socket, http, api.clone(), Arc::clone(&self.intake), logins, stopped.clone()));
        }
        let generations = Arc::clone(&self.generations);
        tasks.spawn(self.generations.run(hangup, stopped.clone()));
        let (spool, next_hops) = (self.spool.clone(), Arc::clone(&self.dispatch));
        tasks.spawn(self.dispatch.run(stopped.clone()));
        tasks.spawn(sweep::run(spool, self.zones, self.settler, next_hops, self.ages, now, stopped.clone()));
        tasks.spawn(events::run(self.spool.clone(), self.hooks, now, stopped.clone()));
        tasks.spawn(http::serve_control(self.control, api, stopped.clone()));
        info!(queued = self.spool.stats().recipients, "ready");
        let result = tokio::select! {
            () = stop => Ok(()),
            failed = self.spool.poisoned() => Err(RunError::Store(failed)),
            // Each part runs until it is told to stop: one that has ended has failed, and half a server is worse than
            // one that is started again.
            ended = tasks.join_next() => Err(RunError::Part(ended.and_then(Result::err).map_or_else(String::new, |e| e.to_string()))),
        };
        match &result {
            Ok(()) => info!("stopping"),
            Err(failed) => error!(%failed, "stopping"),
        }
        // Only fails if every task has ended already.
        let _ = stopping.send(true);
        let all_ended = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(panic) = ended {
                    warn!(%panic, "a part of the server ended badly");
                }
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, all_ended).await.is_err() {
            warn!(parts = tasks.len(), "parts of the server did not stop in time and are cut off");
        }
        generations.flush().await;
        info!(queued = self.spool.stats().recipients, "stopped");
        result
    }
}

/// Routes by the config's DNS, none of which leads back to the sockets and names that are ours.
fn routes(config: &Config, resolver: &Arc<dyn Resolver>, listeners: &[(TcpListener, Arc<Listener>)]) -> Routes {
    let pools = config.zones.iter().flat_map(|zone| zone.pool.sources());
    let mut names: Vec<String> = pools.map(|source| source.helo.clone()).collect();
    names.push(config.hostname.clone());
    names.sort_unstable();
    names.dedup();
    let listeners = listeners.iter().filter_map(|(socket, _)| socket.local_addr().ok()).collect();
    Routes::new(Arc::clone(resolver), OwnIdentity { names, listeners }, config.dns.allow_private)
}

fn spool_options(config: &Config) -> Options {
    Options { min_free: config.written.queue.min_free.0, ..Options::new(now) }
}

/// The listener with as many sessions as there are descriptors for, besides those of outbound connections and files.
fn within_descriptors(listener: &Listener, config: &Config) -> Listener {
    let outbound: usize = config.zones.iter().fold(0_usize, |sum, zone| sum.saturating_add(zone.connections));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let most =
        (limit.saturating_sub(outbound.saturating_add(RESERVED_DESCRIPTORS)) / config.listeners.len().max(1)).max(1);
    if most < listener.max_sessions {
        warn!(listener = %listener.name, max_sessions = most, open_files = limit, "fewer sessions than max_sessions: the limit of open files is too low");
    }
    Listener { max_sessions: listener.max_sessions.min(most), ..listener.clone() }
}

/// The clock. The one place where wall time comes from.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
