//! Answers, and refusals in RabbitMQ's words.

use super::body_of;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leveret_engine::broker::Exception;
use serde_json::{Map, Value, json};

/// What is answered.
pub(crate) struct Told {
    status: StatusCode,
    body: Option<Value>,
}

impl Told {
    pub(super) fn json(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body) }
    }

    /// Done.
    pub(super) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None }
    }

    /// Done; it was not there before.
    pub(super) fn created(is_new: bool) -> Self {
        Self { status: if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT }, body: None }
    }

    /// Something is not as it should be.
    pub(super) fn unwell(body: Value) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, body: Some(body) }
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let body = self.body.as_ref().map_or_else(Body::empty, body_of);
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept, accept-encoding, origin"),
        ];
        (self.status, headers, body).into_response()
    }
}

/// What a refusal that only has a number is called.
const NO_WORDS: &str = "";

/// Why something is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    reason: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<String>) -> Self {
        Self { status, error, reason: reason.into() }
    }

    /// The request is not understood.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    pub(super) fn page(reason: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "page_out_of_range", reason)
    }

    /// There is no such thing.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found", "Not Found")
    }

    /// There is such a thing, or may be, but not this to be done with it.
    pub(super) fn not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, NO_WORDS, "")
    }

    /// Who asks is not known.
    pub(super) fn unknown(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorized", reason)
    }

    /// Who asks may not do that.
    pub(super) fn forbidden(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorised", reason)
    }

    /// Nothing is changed any more, or for now.
    pub(super) fn unavailable(is_stopping: bool) -> Self {
        let why = if is_stopping { "the server is stopping" } else { "the disk is full" };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why)
    }

    /// It may not be done as it is now.
    pub(super) fn not_now(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", reason)
    }
}

/// A refusal of the broker: its text without the name of the code.
impl From<Exception> for Refusal {
    fn from(exception: Exception) -> Self {
        let reason = exception.text.split_once(" - ").map_or(exception.text.as_str(), |(_, reason)| reason);
        match exception.code {
            403 => Self::forbidden("Access refused."),
            404 => Self::new(StatusCode::NOT_FOUND, "not_found", reason),
            _ => Self::bad(reason),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.error == NO_WORDS {
            return self.status.into_response();
        }
        let body = body_of(&json!({"error": self.error, "reason": self.reason}));
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.error == "not_authorized" {
            let realm = header::HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}

/// JSON of a request's body.
pub(super) fn json(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "Malformed JSON payload"))
}

/// Refuses a body without some of its keys.
pub(super) fn require(object: &Map<String, Value>, keys: &[&str]) -> Result<(), Refusal> {
    let missing: Vec<String> = keys
        .iter()
        .filter(|key| !object.contains_key(**key))
        .map(|key| format!("{{key_missing,{key}}}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Longer lines are broken.
    let length = missing.iter().map(|part| part.len() + 1).sum::<usize>() + 1;
    Err(Refusal::bad(format!("[{}]", missing.join(if length > 80 { ",\n " } else { "," }))))
}
