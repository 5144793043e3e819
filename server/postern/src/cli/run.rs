//! `postern run`: the server in the foreground.

use super::ConfigArgs;
use crate::observe;
use crate::relay::Server;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// `postern run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Folder of an app: its postern.toml is the config
    #[arg(short, long, conflicts_with = "config")]
    dir: Option<PathBuf>,
}

/// Runs the server until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let config = match &args.dir {
        Some(dir) => ConfigArgs { config: vec![dir.join("postern.toml")] }.load()?,
        None => args.config.load()?,
    };
    let _log = observe::start(&config.written.log);
    info!(version = env!("CARGO_PKG_VERSION"), hostname = %config.hostname, data_dir = %config.data_dir().display(), "starting");
    if let Some(address) = config.written.http.address {
        warn!(%address, "http.address is set; this version does not serve HTTP yet");
    }
    blocking(async move {
        // Before the sockets are there: a signal that comes early must not be lost.
        let stop = stop_signal();
        ignore_hangup()?;
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

/// Resolves at SIGTERM or SIGINT.
pub async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
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
