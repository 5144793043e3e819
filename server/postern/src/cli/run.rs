//! `postern run`: the server in the foreground.

use super::ConfigArgs;
use crate::config::Config;
use crate::observe::{self, metrics::Metrics};
use crate::relay::Server;
use crate::system::{self, Sockets};
use anyhow::Context as _;
use clap::Args;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{error, info, warn};

/// `postern run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the server until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    bound_heaps();
    let config = args.config.load()?;
    let _log = observe::start(&config.written.log);
    info!(version = env!("CARGO_PKG_VERSION"), hostname = %config.hostname, data_dir = %config.data_dir().display(), "starting");
    raise_descriptor_limit();
    let sockets = settle_in(&config).inspect_err(|error| error!(%error, "can't start"))?;
    blocking(async move {
        let (stop, hangup) = (stop_signal(), hangups()?);
        let metrics = Metrics::install()?;
        let args = args.config.clone();
        let server = Server::start(&config, sockets, Arc::new(move || args.load()), Some(metrics)).await;
        let server = server.inspect_err(|error| error!(%error, "can't start"))?;
        server.run(stop, hangup).await?;
        Ok(())
    })
}

/// Opens the sockets, and is whom `[run]` names from then on. Before the runtime: its threads are to have no powers that
/// this one has given up.
fn settle_in(config: &Config) -> anyhow::Result<Sockets> {
    let identity = config.written.run.identity()?;
    let sockets = Sockets::open(config)?;
    match identity {
        Some(identity) => identity.assume(config.data_dir())?,
        None if system::is_root() => warn!("running as root: [run] can name a user for it"),
        None => {}
    }
    Ok(sockets)
}

/// Runs a future on a runtime of its own.
pub fn blocking(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")?;
    let result = runtime.block_on(work);
    // Tasks that are left hold nothing that was promised to anybody.
    runtime.shutdown_background();
    result
}

/// Resolves at SIGTERM or SIGINT. They are watched for from this call on, not only once it is awaited: one that comes
/// while the server starts is not lost. Must be called in a runtime.
pub fn stop_signal() -> impl Future<Output = ()> {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = received(terminate) => {}
            () = received(interrupt) => {}
        }
    }
}

async fn received(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Then the signal has its usual effect: it ends the process.
        Err(_) => std::future::pending().await,
    }
}

/// Fewest and most heaps that threads share.
#[cfg(target_env = "gnu")]
const HEAPS: (usize, usize) = (2, 4);

/// Bounds the number of heaps of glibc's allocator, which would be eight for each processor. A heap keeps what was
/// freed in it, and content passes through many threads (each read of the store is on one of a pool): each heap in turn
/// would grow to the size of the page cache, and a large message cost tens of megabytes. Threads contend for as many
/// heaps as can run at once only where there are more than [`HEAPS`] processors. Must come before any other thread.
fn bound_heaps() {
    #[cfg(target_env = "gnu")]
    {
        let processors = std::thread::available_parallelism().map_or(HEAPS.0, usize::from);
        let heaps = i32::try_from(processors.clamp(HEAPS.0, HEAPS.1)).unwrap_or(2);
        #[allow(unsafe_code, reason = "the one setting of the allocator that std has no way to")]
        // SAFETY: mallopt(3) takes two integers and touches no memory of ours. That it is refused (0) is as if it had
        // not been called.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    }
}

/// Each session and each attempt has a descriptor: as many as the system lets us have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        warn!(%error, "the limit of open files can't be raised");
    }
}

/// Each SIGHUP asks for a reload; those that come while one waits are one.
fn hangups() -> anyhow::Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup()).context("can't watch for SIGHUP")?;
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if matches!(ask.try_send(()), Err(TrySendError::Closed(()))) {
                break;
            }
        }
    });
    Ok(asked)
}
