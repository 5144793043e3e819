//! `GET /api/v1/plugins`, `POST /api/v1/reload` and `GET /metrics`: what runs in this process beside the queue.

use super::Api;
use super::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The running parts that operators look at and replace.
pub trait Control: Send + Sync {
    /// The plugins in force.
    fn plugins(&self) -> PluginsView;

    /// Reads the config and the plugins anew.
    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, String>>;

    /// All figures in Prometheus' text format.
    fn figures(&self) -> String;
}

/// `GET /api/v1/plugins`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct PluginsView {
    /// Grows by one with each reload, from 1.
    pub generation: u64,
    /// In the order in which they are called.
    pub plugins: Vec<PluginView>,
}

/// One plugin.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct PluginView {
    /// As in `[[plugin]]`.
    pub name: String,
    /// Its own, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The component's file.
    pub component: PathBuf,
    /// SHA-256 of the component, in hex.
    pub sha256: String,
    /// What a failed call means: `defer`, `skip`, `reject`.
    pub on_error: String,
    /// What it says is logged and not done.
    pub shadow: bool,
    /// Most calls at once.
    pub instances: usize,
    /// Instances made since the server started.
    pub instances_made: u64,
    /// Most bytes that one instance has taken.
    pub memory_peak: u64,
    /// The hooks that it implements.
    pub hooks: Vec<HookView>,
}

/// One hook of a plugin, since the server started.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct HookView {
    /// `rewrite` …
    pub name: String,
    /// Calls that have ended.
    pub calls: u64,
    /// Those that failed, by kind.
    pub errors: BTreeMap<String, u64>,
    /// What they took together.
    pub seconds: f64,
    /// Of that, what the guest ran.
    pub guest_seconds: f64,
    /// It failed too often and is not called now.
    pub resting: bool,
}

/// `POST /api/v1/reload`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Reloaded {
    /// The generation that is in force now.
    pub generation: u64,
    /// Its plugins, in order.
    pub plugins: Vec<String>,
    /// Sections of the config that have changed and are taken over only by a restart.
    pub needs_restart: Vec<String>,
}

pub async fn plugins<S>(State(api): State<Api<S>>) -> Json<PluginsView> {
    Json(api.control.plugins())
}

/// 422: the new config or a plugin can't be used; nothing has changed.
pub async fn reload<S>(State(api): State<Api<S>>) -> Result<Json<Reloaded>, Problem> {
    // Dropping the request must not leave it half-way.
    let task = tokio::spawn(api.control.reload());
    match task.await {
        Ok(Ok(reloaded)) => Ok(Json(reloaded)),
        Ok(Err(failed)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, failed)),
        Err(ended) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, ended.to_string())),
    }
}

pub async fn metrics<S>(State(api): State<Api<S>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.control.figures()).into_response()
}
