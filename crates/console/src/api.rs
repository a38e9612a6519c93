//! RabbitMQ's management API under `/api`: what there is, and changes of it. A request is answered on a thread that may
//! wait; changes are answered when they are on the disk. Rows of long lists are read in slices, so that nobody waits for
//! a list.

mod bindings;
mod connections;
mod definitions;
mod exchanges;
mod health;
mod listing;
mod messages;
mod overview;
mod parameters;
mod permissions;
mod policies;
mod queues;
mod refusal;
mod tables;
mod users;
mod vhosts;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use leveret_engine::accounts::{Errand, Finding, Login, User};
use leveret_engine::broker::VhostId;
use leveret_engine::{Engine, SessionId};
use leveret_server::Shared;
use parking_lot::Mutex;
use refusal::{Refusal, Told};
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::sync::Arc;

/// RabbitMQ's name of the only node.
const NODE: &str = "rabbit@localhost";
/// The RabbitMQ version whose behaviour clients may expect.
const RABBITMQ_VERSION: &str = "4.3.6";
/// Requests are made by people and tools, not by queues.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// HTTP is no session: nothing belongs to it.
const NOBODY: SessionId = 0;

/// What was asked, and by whom.
struct Asked {
    shared: Arc<Shared>,
    user: Arc<User>,
    query: Vec<(String, String)>,
    body: Option<Value>,
    headers: HeaderMap,
}

/// Answers a request.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let (server, headers) = (shared.clone(), parts.headers.clone());
    // Nothing more is read for somebody who is not known.
    let user = match tokio::task::spawn_blocking(move || authenticate(&server, &headers, peer)).await {
        Ok(Ok(user)) => user,
        Ok(Err(refusal)) => return refusal.into_response(),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Refusal::bad("the body is too large").into_response();
    };
    let answer = tokio::task::spawn_blocking(move || {
        let path: Vec<String> = parts.uri.path().split('/').skip(2).map(decoded).collect();
        let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
        // A slash at the end means nothing.
        while path.last() == Some(&"") {
            path.pop();
        }
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let body = if body.is_empty() { None } else { Some(refusal::json(&body)?) };
        let asked = Asked { shared, user, query, body, headers: parts.headers };
        asked.dispatch(&parts.method, &path)
    });
    match answer.await {
        Ok(Ok(told)) => told.into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => {
            tracing::error!(%error, "a request failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whose password is being compared.
static SLOW: Mutex<()> = Mutex::new(());

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Basic authentication; who may not manage anything is refused.
fn authenticate(shared: &Shared, headers: &HeaderMap, peer: SocketAddr) -> Result<Arc<User>, Refusal> {
    let credentials = headers.get(header::AUTHORIZATION).and_then(|value| {
        let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
        let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.to_owned()))
    });
    let Some((name, password)) = credentials else { return Err(Refusal::unknown("Login failed")) };
    let login = {
        let engine = shared.engine.lock();
        if !peer.ip().to_canonical().is_loopback() && engine.accounts.is_local_only(&name) {
            return Err(Refusal::unknown("User can only log in via localhost"));
        }
        engine.accounts.login(name.as_bytes(), password.as_bytes())
    };
    let user = match login {
        Login::Granted(user) => user,
        Login::Refused => return Err(Refusal::unknown("Login failed")),
        Login::Slow(check) => {
            let errand = Errand::Check(check);
            // One after the other: each takes memory, and anybody can ask for it.
            let _turn = SLOW.lock();
            let Finding::Login(Some(fits)) = errand.run(|| [0; 16]) else {
                return Err(Refusal::unknown("Login failed"));
            };
            let mut engine = shared.engine.lock();
            engine.found(NOBODY, &errand, Finding::Login(Some(fits)));
            engine.accounts.user(&name).cloned().ok_or(Refusal::unknown("Login failed"))?
        }
    };
    let manages = ["administrator", "monitoring", "policymaker", "management"];
    if !user.tags.iter().any(|tag| manages.contains(&tag.as_str())) {
        return Err(Refusal::unknown("Not management user"));
    }
    Ok(user)
}

impl Asked {
    /// Every path, with who may ask for it.
    #[rustfmt::skip]
    fn dispatch(&self, method: &Method, path: &[&str]) -> Result<Told, Refusal> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        match (method, path) {
            ("GET", ["overview"]) => self.overview(),
            ("GET", ["whoami"]) => self.whoami(),
            ("GET", ["version"]) => Ok(Told::json(serde_json::json!(RABBITMQ_VERSION))),
            ("GET", ["cluster-name"]) => self.cluster_name(),
            ("PUT", ["cluster-name"]) => self.put_cluster_name(),
            ("GET", ["extensions"]) => Ok(Told::json(Value::Array(Vec::new()))),
            ("GET", ["nodes"]) => self.nodes(),
            ("GET", ["nodes", name]) => self.node(name),
            ("GET", ["nodes", name, "memory"]) => self.node_memory(name),
            ("GET", ["feature-flags"]) => self.feature_flags(),
            ("PUT", ["feature-flags", name, "enable"]) => self.enable_feature_flag(name),
            ("GET", ["deprecated-features"]) => self.deprecated_features(false),
            ("GET", ["deprecated-features", "used"]) => self.deprecated_features(true),
            ("GET", ["auth", "hash_password", password]) => Ok(Self::hash_password(password)),
            ("GET", ["auth", "attempts", name]) => self.auth_attempts(name),
            ("DELETE", ["auth", "attempts", name] | ["auth", "attempts", name, "source"]) => self.auth_attempts(name).map(|_| Told::nothing()),
            ("GET", ["auth", "attempts", name, "source"]) => self.auth_attempts(name),
            ("POST", ["rebalance", "queues"]) => self.administer().map(|()| Told::nothing()),
            ("GET", ["aliveness-test", vhost]) => self.aliveness(vhost),
            ("GET", ["health", "checks", check @ ..]) => self.health(check),
            ("GET", ["healthchecks", "node"] | ["healthchecks", "node", _]) => self.health(&["alarms"]),
            ("GET", ["vhosts"]) => self.vhosts(),
            ("GET", ["vhosts", name]) => self.vhost(name),
            ("PUT", ["vhosts", name]) => self.put_vhost(name),
            ("DELETE", ["vhosts", name]) => self.delete_vhost(name),
            ("POST", ["vhosts", name, "deletion", "protection"]) => self.protect_vhost(name, true),
            ("DELETE", ["vhosts", name, "deletion", "protection"]) => self.protect_vhost(name, false),
            ("POST", ["vhosts", name, "start", _]) => self.start_vhost(name),
            ("GET", ["vhosts", name, "permissions"]) => self.permissions_where(Some(name), None),
            ("GET", ["vhosts", name, "topic-permissions"]) => self.topic_permissions_where(Some(name), None),
            ("GET", ["vhosts", name, "connections"]) => self.connections(Some(name), None),
            ("GET", ["vhosts", name, "channels"]) => self.channels(Some(name), None),
            ("GET", ["users"]) => self.users(false),
            ("GET", ["users", "without-permissions"]) => self.users(true),
            ("POST", ["users", "bulk-delete"]) => self.delete_users(),
            ("GET", ["users", name]) => self.show_user(name),
            ("PUT", ["users", name]) => self.put_user(name),
            ("DELETE", ["users", name]) => self.delete_user(name),
            ("GET", ["users", name, "permissions"]) => self.permissions_where(None, Some(name)),
            ("GET", ["users", name, "topic-permissions"]) => self.topic_permissions_where(None, Some(name)),
            ("GET", ["permissions"]) => self.permissions_where(None, None),
            ("GET", ["permissions", vhost, user]) => self.permission(vhost, user),
            ("PUT", ["permissions", vhost, user]) => self.put_permission(vhost, user),
            ("DELETE", ["permissions", vhost, user]) => self.delete_permission(vhost, user),
            ("GET", ["topic-permissions"]) => self.topic_permissions_where(None, None),
            ("GET", ["topic-permissions", vhost, user]) => self.topic_permissions_of(vhost, user),
            ("PUT", ["topic-permissions", vhost, user]) => self.put_topic_permission(vhost, user),
            ("DELETE", ["topic-permissions", vhost, user]) => self.delete_topic_permissions(vhost, user, None),
            ("DELETE", ["topic-permissions", vhost, user, exchange]) => self.delete_topic_permissions(vhost, user, Some(exchange)),
            ("GET", ["vhost-limits" | "user-limits"]) => self.limits(path[0], None),
            ("GET", ["vhost-limits" | "user-limits", of]) => self.limits(path[0], Some(of)),
            ("PUT", ["vhost-limits" | "user-limits", of, name]) => self.put_limit(path[0], of, name),
            ("DELETE", ["vhost-limits" | "user-limits", of, name]) => self.delete_limit(path[0], of, name),
            ("GET", ["parameters"]) => self.parameters(None, None),
            ("GET", ["parameters", component]) => self.parameters(Some(component), None),
            ("GET", ["parameters", component, vhost]) => self.parameters(Some(component), Some(vhost)),
            ("GET", ["parameters", component, vhost, name]) => self.parameter(component, vhost, name),
            ("PUT", ["parameters", component, vhost, name]) => self.put_parameter(component, vhost, name),
            ("DELETE", ["parameters", component, vhost, name]) => self.delete_parameter(component, vhost, name),
            ("GET", ["global-parameters"]) => self.global_parameters(),
            ("GET", ["global-parameters", name]) => self.parameter("", "", name),
            ("PUT", ["global-parameters", name]) => self.put_parameter("", "", name),
            ("DELETE", ["global-parameters", name]) => self.delete_parameter("", "", name),
            ("GET", [kind @ ("policies" | "operator-policies")]) => self.policies(*kind != "policies", None),
            ("GET", [kind @ ("policies" | "operator-policies"), vhost]) => self.policies(*kind != "policies", Some(vhost)),
            ("GET", [kind @ ("policies" | "operator-policies"), vhost, name]) => self.policy(*kind != "policies", vhost, name),
            ("PUT", [kind @ ("policies" | "operator-policies"), vhost, name]) => self.put_policy(*kind != "policies", vhost, name),
            ("DELETE", [kind @ ("policies" | "operator-policies"), vhost, name]) => self.delete_policy(*kind != "policies", vhost, name),
            ("GET", ["exchanges"]) => self.exchanges(None),
            ("GET", ["exchanges", vhost]) => self.exchanges(Some(vhost)),
            ("GET", ["exchanges", vhost, name]) => self.exchange(vhost, name),
            ("PUT", ["exchanges", vhost, name]) => self.put_exchange(vhost, name),
            ("DELETE", ["exchanges", vhost, name]) => self.delete_exchange(vhost, name),
            ("POST", ["exchanges", vhost, name, "publish"]) => self.publish(vhost, name),
            ("GET", ["exchanges", vhost, name, "bindings", "source"]) => self.bindings_of_exchange(vhost, name, true),
            ("GET", ["exchanges", vhost, name, "bindings", "destination"]) => self.bindings_of_exchange(vhost, name, false),
            ("GET", ["queues"] | ["queues", "detailed"]) => self.queues(None),
            ("GET", ["queues", vhost]) => self.queues(Some(vhost)),
            ("GET", ["queues", vhost, name]) => self.queue(vhost, name),
            ("PUT", ["queues", vhost, name]) => self.put_queue(vhost, name),
            ("DELETE", ["queues", vhost, name]) => self.delete_queue(vhost, name),
            ("GET", ["queues", vhost, name, "bindings"]) => self.bindings_of_queue(vhost, name),
            ("DELETE", ["queues", vhost, name, "contents"]) => self.purge(vhost, name),
            ("POST", ["queues", vhost, name, "get"]) => self.get_messages(vhost, name),
            ("POST", ["queues", vhost, name, "actions"]) => self.act_on_queue(vhost, name),
            ("GET", ["bindings"]) => self.bindings(None),
            ("GET", ["bindings", vhost]) => self.bindings(Some(vhost)),
            ("GET", ["bindings", vhost, "e", source, to @ ("q" | "e"), destination]) => self.bindings_between(vhost, source, *to == "q", destination),
            ("POST", ["bindings", vhost, "e", source, to @ ("q" | "e"), destination]) => self.post_binding(vhost, source, *to == "q", destination),
            ("GET", ["bindings", vhost, "e", source, to @ ("q" | "e"), destination, props]) => self.binding(vhost, source, *to == "q", destination, props),
            ("DELETE", ["bindings", vhost, "e", source, to @ ("q" | "e"), destination, props]) => self.delete_binding(vhost, source, *to == "q", destination, props),
            ("GET", ["connections"]) => self.connections(None, None),
            ("GET", ["connections", "username", name]) => self.connections(None, Some(name)),
            ("DELETE", ["connections", "username", name]) => self.close_connections_of(name),
            ("GET", ["connections", name]) => self.connection(name),
            ("DELETE", ["connections", name]) => self.close_connection(name),
            ("GET", ["connections", name, "channels"]) => self.channels(None, Some(name)),
            ("GET", ["channels"]) => self.channels(None, None),
            ("GET", ["channels", name]) => self.channel(name),
            ("GET", ["consumers"]) => self.consumers(None),
            ("GET", ["consumers", vhost]) => self.consumers(Some(vhost)),
            ("GET", ["definitions"]) => self.definitions(),
            ("POST", ["definitions"]) => self.import(None),
            ("GET", ["definitions", vhost]) => self.definitions_of(vhost),
            ("POST", ["definitions", vhost]) => self.import(Some(vhost)),
            ("GET", ["queues", _, _, "get" | "actions" | "contents"] | ["exchanges", _, _, "publish"]) => Err(Refusal::not_allowed()),
            ("GET", _) => Err(Refusal::not_found()),
            _ => Err(Refusal::not_allowed()),
        }
    }

    fn has_tag(&self, tags: &[&str]) -> bool {
        self.user.tags.iter().any(|tag| tags.contains(&tag.as_str()))
    }

    /// Refuses those who are no administrators.
    fn administer(&self) -> Result<(), Refusal> {
        if self.has_tag(&["administrator"]) {
            Ok(())
        } else {
            Err(Refusal::forbidden("Not administrator user"))
        }
    }

    /// Refuses those who may not see what others do.
    fn monitor(&self) -> Result<(), Refusal> {
        if self.sees_all() { Ok(()) } else { Err(Refusal::forbidden("Not monitor user")) }
    }

    /// True for those who see more than their own vhosts.
    fn sees_all(&self) -> bool {
        self.has_tag(&["administrator", "monitoring"])
    }

    /// True when the vhost may be seen.
    fn sees(&self, vhost: &str) -> bool {
        self.sees_all() || self.user.permissions.contains_key(vhost)
    }

    /// The vhost of that name, if it may be seen.
    fn seen_vhost(&self, engine: &Engine, name: &str) -> Result<VhostId, Refusal> {
        let id = engine.broker.vhost(name.as_bytes()).ok_or_else(Refusal::not_found)?;
        if !self.sees(name) {
            return Err(Refusal::forbidden("User not authorised to access virtual host"));
        }
        Ok(id)
    }

    /// The vhost of that name, if something in it may be changed.
    fn used_vhost(&self, engine: &Engine, name: &str) -> Result<VhostId, Refusal> {
        let id = engine.broker.vhost(name.as_bytes()).ok_or_else(Refusal::not_found)?;
        if !self.user.permissions.contains_key(name) {
            return Err(Refusal::forbidden("User not authorised to access virtual host"));
        }
        Ok(id)
    }

    /// The vhosts that may be seen: one, or all.
    fn seen_vhosts(&self, engine: &Engine, only: Option<&str>) -> Result<Vec<(VhostId, String)>, Refusal> {
        if let Some(name) = only {
            return Ok(vec![(self.seen_vhost(engine, name)?, name.to_owned())]);
        }
        let named = engine.broker.vhosts().map(|(id, name, _)| (id, text(name)));
        Ok(named.filter(|(_, name)| self.sees(name)).collect())
    }

    /// The object in the body; an empty one without.
    fn object(&self) -> Result<Map<String, Value>, Refusal> {
        match &self.body {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(Refusal::bad("the body is no JSON object")),
        }
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Runs a change; what it did is on the disk when this returns.
    fn change<T>(&self, run: impl FnOnce(&mut Engine) -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.shared.change(run).unwrap_or_else(|| Err(Refusal::unavailable(self.shared.is_stopping())))
    }

    /// Rows of a list, read in slices. Those that are gone meanwhile are left out.
    fn rows<T: Copy>(&self, ids: &[T], row: impl Fn(&Engine, T) -> Option<Value>) -> Vec<Value> {
        const SLICE: usize = 100;
        let mut rows = Vec::with_capacity(ids.len());
        for slice in ids.chunks(SLICE) {
            let engine = self.shared.engine.lock();
            rows.extend(slice.iter().filter_map(|id| row(&engine, *id)));
        }
        rows
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body of an answer as JSON.
fn body_of(value: &Value) -> Body {
    Body::from(value.to_string())
}
