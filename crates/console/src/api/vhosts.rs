//! Vhosts. (RabbitMQ: management API, vhosts)

use super::tables::truth;
use super::{Asked, NODE, Refusal, Told, text};
use leveret_engine::Engine;
use leveret_engine::accounts::{Permissions, User};
use leveret_engine::broker::{Pattern, VhostAbout, VhostId};
use serde_json::{Map, Value, json};

pub(super) fn about_to_json(about: &VhostAbout) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("description".into(), about.description.as_str().into());
    metadata.insert("tags".into(), json!(about.tags));
    let default = if about.default_queue_type.is_empty() { "classic" } else { &about.default_queue_type };
    metadata.insert("default_queue_type".into(), default.into());
    metadata.insert("protected_from_deletion".into(), about.protected.into());
    metadata
}

fn vhost_to_json(engine: &Engine, id: VhostId, name: &str, about: &VhostAbout) -> Value {
    let (mut ready, mut unacknowledged) = (0, 0);
    for report in
        engine.broker.queue_ids(Some(id)).into_iter().filter_map(|id| engine.broker.queue_report(id))
    {
        ready += report.ready;
        unacknowledged += report.unacknowledged;
    }
    let metadata = about_to_json(about);
    json!({
        "cluster_state": {NODE: "running"},
        "default_queue_type": metadata["default_queue_type"],
        "description": about.description,
        "messages": ready + unacknowledged,
        "messages_ready": ready,
        "messages_unacknowledged": unacknowledged,
        "metadata": metadata,
        "name": name,
        "protected_from_deletion": about.protected,
        "tags": about.tags,
        "tracing": false,
    })
}

/// What a body says of a vhost; what it does not say stays.
pub(super) fn about_in(
    body: &Map<String, Value>,
    before: Option<&VhostAbout>,
) -> Result<VhostAbout, Refusal> {
    let mut about = before.cloned().unwrap_or_default();
    // Definition files have it one level down.
    let metadata = body.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let find = |name: &str| body.get(name).or_else(|| metadata.get(name)).filter(|value| !value.is_null());
    if let Some(description) = find("description").and_then(Value::as_str) {
        about.description = description.into();
    }
    match find("tags") {
        Some(Value::String(tags)) => {
            about.tags =
                tags.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
        }
        Some(Value::Array(tags)) => {
            about.tags = tags.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        _ => {}
    }
    let kind = find("default_queue_type").or_else(|| find("defaultqueuetype")).and_then(Value::as_str);
    match kind {
        None | Some("undefined") => {}
        Some(kind @ ("classic" | "quorum" | "stream")) => about.default_queue_type = kind.into(),
        Some(other) => return Err(Refusal::bad(format!("Unsupported default queue type: {other}"))),
    }
    if find("protected_from_deletion").is_some() {
        let object = if body.contains_key("protected_from_deletion") { body } else { &metadata };
        about.protected = truth(object, "protected_from_deletion")?;
    }
    Ok(about)
}

fn about_of(engine: &Engine, id: VhostId) -> Option<VhostAbout> {
    engine.broker.vhosts().find(|(known, ..)| *known == id).map(|(_, _, about)| about.clone())
}

impl Asked {
    pub(super) fn vhosts(&self) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let rows = engine
            .broker
            .vhosts()
            .map(|(id, name, about)| (id, text(name), about))
            .filter(|(_, name, _)| self.sees(name))
            .map(|(id, name, about)| vhost_to_json(&engine, id, &name, about))
            .collect();
        drop(engine);
        self.list(rows)
    }

    pub(super) fn vhost(&self, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let id = self.seen_vhost(&engine, name)?;
        let about = about_of(&engine, id).unwrap_or_default();
        Ok(self.one(vhost_to_json(&engine, id, name, &about)))
    }

    pub(super) fn put_vhost(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let body = self.object()?;
        self.change(|engine| {
            let before = engine.broker.vhost(name.as_bytes());
            let about = about_in(&body, before.and_then(|id| about_of(engine, id)).as_ref())?;
            engine.begin();
            engine.on_broker(|txn| txn.vhost_put(name.as_bytes(), &about));
            if before.is_none() {
                // Who makes a vhost may use it.
                let own = engine.accounts.user(&self.user.name).map(|user| (**user).clone());
                if let Some(user) = own {
                    engine.put_user(with_everything(user, name));
                }
            }
            engine.end();
            Ok(Told::created(before.is_none()))
        })
    }

    pub(super) fn delete_vhost(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        self.change(|engine| {
            let id = engine.broker.vhost(name.as_bytes()).ok_or_else(Refusal::not_found)?;
            if about_of(engine, id).is_some_and(|about| about.protected) {
                let text =
                    format!("Refusing to delete virtual host '{name}' because it is protected from deletion");
                return Err(Refusal::not_now(text));
            }
            engine.delete_vhost(id);
            Ok(Told::nothing())
        })
    }

    pub(super) fn protect_vhost(&self, name: &str, protected: bool) -> Result<Told, Refusal> {
        self.administer()?;
        self.change(|engine| {
            let id = engine.broker.vhost(name.as_bytes()).ok_or_else(Refusal::not_found)?;
            let about = VhostAbout { protected, ..about_of(engine, id).unwrap_or_default() };
            engine.on_broker(|txn| txn.vhost_put(name.as_bytes(), &about));
            Ok(Told::nothing())
        })
    }

    /// It runs already.
    pub(super) fn start_vhost(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        self.seen_vhost(&engine, name).map(|_| Told::nothing())
    }
}

fn with_everything(mut user: User, vhost: &str) -> User {
    let all = Permissions { configure: Pattern::all(), write: Pattern::all(), read: Pattern::all() };
    user.permissions.insert(vhost.to_owned(), all);
    user
}
