//! `postern run`: the server in the foreground.

use super::ConfigArgs;
use crate::observe;
use crate::relay::Server;
use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// `postern run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the server until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let _log = observe::start(&config.written.log);
    info!(version = env!("CARGO_PKG_VERSION"), hostname = %config.hostname, data_dir = %config.data_dir().display(), "starting");
    if let Some(address) = config.written.http.address {
        warn!(%address, "http.address is set; this version does not serve HTTP yet");
    }
    blocking(async move {
        let stop = stop_signal();
        ignore_hangup()?;
        raise_descriptor_limit();
        let server = Server::start(&config).await.inspect_err(|error| error!(%error, "can't start"))?;
        server.run(stop).await?;
        Ok(())
    })
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

/// SIGHUP will reload the config; until then it must not end the server.
fn ignore_hangup() -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("can't watch for SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            warn!("SIGHUP: this version does not reload its config; restart it");
        }
    });
    Ok(())
}
