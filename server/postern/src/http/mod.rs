//! HTTP: for now the control socket alone, which speaks the native API (`/api/v1/…`), and `/metrics`, over a Unix socket whose file
//! permission is its credential. The only user of axum; it reaches the store through [`crate::spool`]'s traits alone.

mod actions;
mod control;
mod messages;
mod problem;
mod recipients;

pub use actions::{ActionReply, ActionRequest, Verb};
pub use control::{Control, HookView, PluginView, PluginsView, Reloaded};
pub use messages::MessageView;
pub use problem::Problem;
pub use recipients::{RecipientRow, RecipientsPage};

use crate::spool::Spool;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::routing::{get, post};
use postern_core::hook::LiveHooks;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// How long requests in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest body of a request, in octets.
const MAX_BODY: usize = 64 * 1024;

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

/// What lets next hops rest after failures: a retry by hand ends the rest.
pub trait BackOff: Send + Sync {
    /// The next hops of these queues may be tried again at once. Suspensions and limits stay.
    fn clear(&self, queues: &[QueueKey]);
}

/// What the handlers share.
#[derive(Clone)]
pub struct Api<S> {
    /// The queue.
    pub spool: S,
    /// Who wants to know what is done.
    pub hooks: Arc<LiveHooks>,
    /// What a retry clears.
    pub back_off: Arc<dyn BackOff>,
    /// What runs beside the queue.
    pub control: Arc<dyn Control>,
    /// The time.
    pub clock: fn() -> Timestamp,
}

fn router<S: Spool>(api: Api<S>) -> Router {
    let mut router = Router::new();
    for verb in Verb::ALL {
        let act = move |api, body| actions::act::<S>(verb, api, body);
        router = router.route(&format!("/api/v1/{}", verb.name()), post(act));
    }
    router
        .route("/api/v1/recipients", get(recipients::list::<S>))
        .route("/api/v1/messages/{id}", get(messages::show::<S>))
        .route("/api/v1/messages/{id}/content", get(messages::content::<S>))
        .route("/api/v1/plugins", get(control::plugins::<S>))
        .route("/api/v1/reload", post(control::reload::<S>))
        .route("/metrics", get(control::metrics::<S>))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods")
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

/// Serves the control socket until `stop` turns true.
pub async fn serve_control<S: Spool>(socket: UnixListener, api: Api<S>, mut stop: watch::Receiver<bool>) {
    let router = router(api);
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
