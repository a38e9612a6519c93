//! `GET /health`: 200 while commands are executed and the log is written, else 503. The body says why, as JSON.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use leveret_cluster::{Level, Levels};
use leveret_server::Shared;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// An engine that cannot be entered for so long is not healthy.
const ENTRY_MAX: Duration = Duration::from_secs(1);

pub(crate) async fn health(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let position = shared.engine.try_lock_for(ENTRY_MAX).map(|engine| engine.position());
    let (status, code) = match position {
        _ if shared.is_stopping() => ("stopping", StatusCode::SERVICE_UNAVAILABLE),
        _ if shared.settings.alarms.is_full() => ("disk full", StatusCode::SERVICE_UNAVAILABLE),
        None => ("busy", StatusCode::SERVICE_UNAVAILABLE),
        Some(_) => ("ok", StatusCode::OK),
    };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "position": position,
        "written_position": shared.levels.level(Level::Written),
        "synced_position": shared.levels.level(Level::Synced),
    });
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}
