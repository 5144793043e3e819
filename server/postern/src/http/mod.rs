//! HTTP: for now the control socket alone, which speaks the native API (`/api/v1/…`) over a Unix socket whose file
//! permission is its credential. The only user of axum; it reaches the store through [`crate::spool`]'s traits alone.

mod recipients;

pub use recipients::{RecipientRow, RecipientsPage};

use crate::spool::Spool;
use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// How long requests in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// `[http]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Where the HTTP API will listen. Read and checked; this version does not serve it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// Where the control socket of a data folder is.
#[must_use]
pub fn control_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Binds the control socket, for its owner alone. Call it only while the data folder is locked: a socket file that a
/// killed server left behind is replaced.
///
/// # Errors
/// The path can't be bound.
pub fn bind_control(data_dir: &Path) -> io::Result<UnixListener> {
    let path = control_socket(data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// Serves the control socket until `stop` turns true.
pub async fn serve_control<S: Spool>(socket: UnixListener, spool: S, mut stop: watch::Receiver<bool>) {
    let router = Router::new().route("/api/v1/recipients", get(recipients::list::<S>)).with_state(spool);
    let mut stopping = stop.clone();
    let stopped = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    // A client that never finishes its request must not hold the server up.
    let too_long = async move {
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let serve = axum::serve(socket, router).with_graceful_shutdown(stopped).into_future();
    tokio::select! {
        served = serve => if let Err(error) = served {
            tracing::warn!(%error, "the control socket failed");
        },
        () = too_long => {}
    }
}
