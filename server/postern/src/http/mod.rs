//! HTTP: the public API (`[http]`) over TCP, and the control socket, which speaks the native API (`/api/v1/…`) and `/metrics`
//! over a Unix socket whose file permission is its credential. The only user of axum; it reaches the store through
//! [`crate::spool`]'s traits alone, messages come in by [`crate::intake`], and plugins answer what is theirs.

mod actions;
mod body;
mod control;
mod credentials;
mod guard;
mod listener;
mod messages;
mod openapi;
mod plugin;
mod problem;
mod recipients;
mod section;
mod send;
mod slow;
mod zonemta;

pub use actions::{ActionReply, ActionRequest, Verb};
pub use control::{Control, HookView, PluginView, PluginsView, Reloaded};
pub use messages::MessageView;
pub use problem::Problem;
pub use recipients::{RecipientRow, RecipientsPage};
pub use section::{Http, HttpSection, HttpTlsMode, Scope};

use crate::clients::Logins;
use crate::intake::Intake;
use crate::spool::{Facts, Spool};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::QueryRejection;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use guard::Door;
use postern_core::hook::LiveHooks;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use send::Submission;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// How long requests in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest body of a request, in octets.
const MAX_BODY: usize = 64 * 1024;

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

/// The rest of a path, at its end.
const REST: &str = "{*path}";

/// One method of one path: what answers, and who may ask.
struct Route {
    method: Method,
    path: String,
    scope: Scope,
    handler: MethodRouter,
}

impl Route {
    /// GET, with scope `read`.
    fn get(path: &str, handler: MethodRouter) -> Self {
        Self { method: Method::GET, path: path.to_owned(), scope: Scope::Read, handler }
    }

    /// POST, with this scope.
    fn post(path: &str, scope: Scope, handler: MethodRouter) -> Self {
        Self { method: Method::POST, path: path.to_owned(), scope, handler }
    }
}

/// The native API and the figures.
fn native<S: Spool>(api: &Api<S>) -> Vec<Route> {
    let verbs = Verb::ALL.into_iter().map(|verb| {
        let act = move |api, body| actions::act::<S>(verb, api, body);
        Route::post(&format!("/api/v1/{}", verb.name()), Scope::Admin, post(act).with_state(api.clone()))
    });
    let with = |handler: MethodRouter<Api<S>>| handler.with_state(api.clone());
    let mut routes: Vec<Route> = verbs.collect();
    routes.extend([
        Route::get("/api/v1/recipients", with(get(recipients::list::<S>))),
        Route::get("/api/v1/messages/{id}", with(get(messages::show::<S>))),
        Route::get("/api/v1/messages/{id}/content", with(get(messages::content::<S>))),
        Route::get("/api/v1/plugins", with(get(control::plugins::<S>))),
        Route::post("/api/v1/reload", Scope::Admin, with(post(control::reload::<S>))),
        Route::get("/metrics", with(get(control::metrics::<S>))),
    ]);
    for route in &mut routes {
        let handler = std::mem::take(&mut route.handler);
        route.handler = handler.layer(DefaultBodyLimit::max(MAX_BODY));
    }
    routes
}

fn router(routes: Vec<Route>) -> Router {
    let add = |router: Router, Route { path, handler, .. }: Route| match path.strip_suffix(REST) {
        // The rest of a path may be empty, which a wildcard does not take.
        Some(folder) => router.route(folder, handler.clone()).route(&path, handler),
        None => router.route(&path, handler),
    };
    routes.into_iter().fold(Router::new(), add).fallback(unknown_path).method_not_allowed_fallback(wrong_method)
}

/// What the public listener serves: each route asks for its scope.
fn public<S: Spool>(mut routes: Vec<Route>, door: Door<S>) -> Router {
    for route in &mut routes {
        let handler = std::mem::take(&mut route.handler);
        route.handler = handler.layer(from_fn_with_state(route.scope, guard::require));
    }
    router(routes).layer(from_fn(slow::limited)).layer(from_fn_with_state(Arc::new(door), guard::identify::<S>))
}

/// ZoneMTA's paths that read.
fn reading<S: Spool>(api: &Api<S>) -> [Route; 6] {
    let with = |handler: MethodRouter<Api<S>>| handler.with_state(api.clone());
    [
        Route::get("/queue/{zone}", with(get(zonemta::queue::<S>))),
        Route::get("/counter/zone", with(get(zonemta::counters::<S>))),
        Route::get("/counter/zone/{zone}", with(get(zonemta::counter::<S>))),
        Route::get("/queued/{type}/{zone}", with(get(zonemta::queued::<S>))),
        Route::get("/message/{id}", with(get(zonemta::message::<S>))),
        Route::get("/fetch/{id}", with(get(zonemta::fetch::<S>))),
    ]
}

/// Submission.
fn sending<S: Spool + Facts>(submission: &Arc<Submission<S>>) -> [Route; 2] {
    let with = |handler: MethodRouter<Arc<Submission<S>>>| {
        // The handlers have limits of their own.
        handler.with_state(Arc::clone(submission)).layer(DefaultBodyLimit::disable())
    };
    [
        Route::post("/send", Scope::Submit, with(post(send::send::<S>))),
        Route::post("/send-raw", Scope::Submit, with(post(send::send_raw::<S>))),
    ]
}

/// What plugins answer.
fn plugins<S: Spool>(api: &Api<S>) -> Vec<Route> {
    let desk = Arc::new(plugin::Desk::new(Arc::clone(&api.hooks)));
    let methods = [
        (Method::GET, MethodFilter::GET),
        (Method::POST, MethodFilter::POST),
        (Method::PUT, MethodFilter::PUT),
        (Method::PATCH, MethodFilter::PATCH),
        (Method::DELETE, MethodFilter::DELETE),
    ];
    let route = |(method, filter)| Route {
        method,
        path: format!("/plugin/{{name}}/{REST}"),
        scope: Scope::Plugin,
        handler: on(filter, plugin::handle).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&desk)),
    };
    methods.into_iter().map(route).collect()
}

/// Serves the public listener until `stop` turns true.
pub async fn serve<S: Spool + Facts>(
    socket: TcpListener,
    http: Http,
    api: Api<S>,
    intake: Arc<Intake<S>>,
    logins: Logins,
    stop: watch::Receiver<bool>,
) {
    let door = Door::new(Arc::clone(&http.credentials), logins, Arc::clone(&http.clients), Arc::clone(&intake));
    let submission = Submission::new(Arc::clone(&intake), api.spool.clone(), &http, api.clock);
    let mut routes = native(&api);
    routes.extend(sending(&Arc::new(submission)));
    routes.extend(reading(&api));
    routes.extend(plugins(&api));
    routes.push(Route::get(openapi::PATH, MethodRouter::new()));
    let document = openapi::document(&routes);
    if let Some(route) = routes.last_mut() {
        route.handler = get(move || std::future::ready(axum::Json(document.clone())));
    }
    listener::serve(socket, http, public(routes, door), intake.hostname(), stop).await;
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
    let router = router(native(&api));
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
