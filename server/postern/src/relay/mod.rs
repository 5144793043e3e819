//! The wiring: builds the parts from the config, supervises their tasks, settles outcomes, shuts down in order.

mod dispatch;
mod plugins;
mod router;
mod section;
mod settle;

pub use plugins::{PluginError, load as load_plugins};
pub use section::{
    DsnSection, DsnSender, Engine, OnError, PluginSection, QueueSection, SmartHostSection, Tls, ZoneSection,
};

use crate::config::Config;
use crate::intake::Intake;
use crate::receive::Listener;
use crate::spool::Spool;
use crate::spool::embedded::{Embedded, OpenError, Options};
use crate::{http, receive};
use dispatch::Dispatch;
use postern_core::hook::Hooks;
use postern_core::time::Timestamp;
use router::Zones;
use settle::Settler;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

/// Connections that may wait for accept.
const BACKLOG: u32 = 1024;

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A plugin can't be loaded.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The store can't be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// A port can't be had.
    #[error("listener.{listener}.address: can't listen on {address}: {source}")]
    Listen {
        /// As in `[listener.NAME]`.
        listener: Arc<str>,
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The control socket can't be made.
    #[error("can't make the control socket {}: {source}", .path.display())]
    Control {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The store failed while the server ran.
#[derive(Debug, thiserror::Error)]
#[error("the queue's store failed: {0}; nothing is taken any more, restart to read it anew")]
pub struct StoreFailed(String);

/// A server that holds its store and its sockets, and is ready to run.
pub struct Server {
    spool: Embedded,
    intake: Arc<Intake<Embedded>>,
    dispatch: Arc<Dispatch<Embedded>>,
    listeners: Vec<(TcpListener, Arc<Listener>)>,
    control: UnixListener,
}

impl Server {
    /// Opens the store, loads the plugins and binds the sockets, in this order: nothing is taken before all is there.
    ///
    /// # Errors
    /// What is missing, named as in the config.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let spool = Embedded::open(config.data_dir(), spool_options(config))?;
        let hooks: Arc<dyn Hooks> = load_plugins(config).await?;
        let control = http::bind_control(config.data_dir())
            .map_err(|source| StartError::Control { path: http::control_socket(config.data_dir()), source })?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let socket = listen(listener.address).map_err(|source| StartError::Listen {
                listener: Arc::clone(&listener.name),
                address: listener.address,
                source,
            })?;
            listeners.push((socket, Arc::new(listener.clone())));
        }
        let zones = Zones::new(&config.zones);
        let hostname: Arc<str> = config.hostname.as_str().into();
        let intake = Arc::new(Intake::new(spool.clone(), hooks, Arc::new(zones.clone()), &hostname, now));
        let settler = Settler {
            spool: spool.clone(),
            zones: zones.clone(),
            sender: config.dsn.clone(),
            hostname: Arc::clone(&hostname),
            clock: now,
        };
        let dispatch = Arc::new(Dispatch::new(spool.clone(), zones, settler, &hostname, now));
        Ok(Self { spool, intake, dispatch, listeners, control })
    }

    /// Runs until `stop` resolves, then stops in order: no new sessions, transactions and attempts in flight finish,
    /// the store closes last.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), StoreFailed> {
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (socket, listener) in self.listeners {
            let address = socket.local_addr().unwrap_or(listener.address);
            info!(listener = %listener.name, %address, "LISTENING");
            tasks.spawn(receive::serve(socket, listener, Arc::clone(&self.intake), stopped.clone()));
        }
        tasks.spawn(self.dispatch.run(stopped.clone()));
        tasks.spawn(http::serve_control(self.control, self.spool.clone(), stopped.clone()));
        info!(queued = self.spool.stats().recipients, "ready");
        let result = tokio::select! {
            () = stop => Ok(()),
            failed = self.spool.poisoned() => Err(StoreFailed(failed)),
        };
        match &result {
            Ok(()) => info!("stopping"),
            Err(failed) => error!(%failed, "stopping"),
        }
        // Only fails if every task has ended already.
        let _ = stopping.send(true);
        while let Some(ended) = tasks.join_next().await {
            if let Err(panic) = ended {
                warn!(%panic, "a part of the server ended badly");
            }
        }
        info!(queued = self.spool.stats().recipients, "stopped");
        result
    }
}

fn spool_options(config: &Config) -> Options {
    Options { min_free: config.written.queue.min_free.0, clock: now, ..Options::default() }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // A restart need not wait for the sessions of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The clock. The one place where wall time comes from.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
