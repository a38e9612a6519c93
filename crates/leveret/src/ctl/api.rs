//! The client of the management API.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// One server.
pub(super) struct Api {
    url: String,
    authorization: String,
    agent: Agent,
}

/// A path from its parts, which may contain anything.
pub(super) fn path(parts: &[&str]) -> String {
    let encoded: Vec<String> =
        parts.iter().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
    encoded.join("/")
}

impl Api {
    pub(super) fn new(url: Option<String>, user: &str, password: &str) -> Self {
        let url = url.unwrap_or_else(|| "http://127.0.0.1:15672".into());
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let agent = Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { url: url.trim_end_matches('/').to_owned(), authorization, agent }
    }

    /// What there is at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, None, None)
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("PUT", path, Some(body), None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, Some(body), None)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value> {
        self.ask("DELETE", path, None, None)
    }

    /// Likewise, telling who it is about why.
    pub(super) fn delete_because(&self, path: &str, reason: &str) -> Result<Value> {
        self.ask("DELETE", path, None, Some(reason))
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>, reason: Option<&str>) -> Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/{path}", self.url))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json");
        if let Some(reason) = reason {
            request = request.header("x-reason", reason);
        }
        let request = request.body(body.map(Value::to_string).unwrap_or_default())?;
        let mut response =
            self.agent.run(request).with_context(|| format!("{} does not answer", self.url))?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        let value: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        if status.is_success() {
            return Ok(value);
        }
        match (value["error"].as_str(), value["reason"].as_str()) {
            (_, Some(reason)) if status.as_u16() != 404 => bail!("{reason}"),
            (_, Some(reason)) => bail!("{method} {path}: {reason}"),
            _ => bail!("{method} {path}: {status}"),
        }
    }
}
