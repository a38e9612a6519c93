//! Permissions in vhosts. (RabbitMQ: management API, permissions)

use super::{Asked, Refusal, Told, refusal};
use leveret_engine::Engine;
use leveret_engine::accounts::{Permissions, TopicPermissions, User};
use leveret_engine::broker::Pattern;
use serde_json::{Map, Value, json};

pub(super) fn permission_to_json(user: &str, vhost: &str, permissions: &Permissions) -> Value {
    json!({
        "user": user,
        "vhost": vhost,
        "configure": permissions.configure.as_str(),
        "write": permissions.write.as_str(),
        "read": permissions.read.as_str(),
    })
}

pub(super) fn topic_to_json(user: &str, vhost: &str, exchange: &str, topics: &TopicPermissions) -> Value {
    json!({
        "user": user,
        "vhost": vhost,
        "exchange": exchange,
        "write": topics.write.as_str(),
        "read": topics.read.as_str(),
    })
}

fn pattern(body: &Map<String, Value>, name: &str) -> Result<Pattern, Refusal> {
    let text =
        body.get(name).and_then(Value::as_str).ok_or_else(|| Refusal::bad(format!("{name} is a text")))?;
    Pattern::new(text).map_err(|why| Refusal::bad(format!("invalid regex in {name}: {why}")))
}

/// What a body says of permissions.
pub(super) fn permissions_in(body: &Map<String, Value>) -> Result<Permissions, Refusal> {
    refusal::require(body, &["configure", "write", "read"])?;
    Ok(Permissions {
        configure: pattern(body, "configure")?,
        write: pattern(body, "write")?,
        read: pattern(body, "read")?,
    })
}

/// What a body says of topic permissions: the exchange, and they.
pub(super) fn topics_in(body: &Map<String, Value>) -> Result<(String, TopicPermissions), Refusal> {
    refusal::require(body, &["exchange", "write", "read"])?;
    let exchange = body["exchange"].as_str().ok_or_else(|| Refusal::bad("exchange is a text"))?;
    Ok((
        exchange.to_owned(),
        TopicPermissions { write: pattern(body, "write")?, read: pattern(body, "read")? },
    ))
}

/// A user as it can be changed, if it and the vhost are there.
pub(super) fn user_in(engine: &Engine, vhost: &str, user: &str) -> Result<User, Refusal> {
    if engine.broker.vhost(vhost.as_bytes()).is_none() {
        return Err(Refusal::not_found());
    }
    engine.accounts.user(user).map(|user| (**user).clone()).ok_or_else(Refusal::not_found)
}

/// Likewise where it is given permissions.
fn user_given(engine: &Engine, vhost: &str, user: &str) -> Result<User, Refusal> {
    user_in(engine, vhost, user).map_err(|_| Refusal::bad("vhost_or_user_not_found"))
}

impl Asked {
    pub(super) fn permissions_where(&self, vhost: Option<&str>, user: Option<&str>) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        self.check_named(&engine, vhost, user)?;
        let mut rows = Vec::new();
        for of in engine.accounts.users().filter(|of| user.is_none_or(|user| of.name == user)) {
            let wanted = of.permissions.iter().filter(|(name, _)| vhost.is_none_or(|vhost| *name == vhost));
            rows.extend(wanted.map(|(vhost, permissions)| permission_to_json(&of.name, vhost, permissions)));
        }
        drop(engine);
        self.list(rows)
    }

    fn check_named(&self, engine: &Engine, vhost: Option<&str>, user: Option<&str>) -> Result<(), Refusal> {
        let no_vhost = vhost.is_some_and(|vhost| engine.broker.vhost(vhost.as_bytes()).is_none());
        let no_user = user.is_some_and(|user| engine.accounts.user(user).is_none());
        if no_vhost || no_user { Err(Refusal::not_found()) } else { Ok(()) }
    }

    pub(super) fn permission(&self, vhost: &str, user: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        let of = user_in(&engine, vhost, user)?;
        let permissions = of.permissions.get(vhost).ok_or_else(Refusal::not_found)?;
        Ok(self.one(permission_to_json(user, vhost, permissions)))
    }

    pub(super) fn put_permission(&self, vhost: &str, user: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let permissions = permissions_in(&self.object()?)?;
        self.change(|engine| {
            let mut of = user_given(engine, vhost, user)?;
            let is_new = of.permissions.insert(vhost.to_owned(), permissions).is_none();
            engine.put_user(of);
            Ok(Told::created(is_new))
        })
    }

    pub(super) fn delete_permission(&self, vhost: &str, user: &str) -> Result<Told, Refusal> {
        self.administer()?;
        self.change(|engine| {
            let mut of = user_in(engine, vhost, user)?;
            of.permissions.remove(vhost).ok_or_else(Refusal::not_found)?;
            engine.put_user(of);
            Ok(Told::nothing())
        })
    }

    pub(super) fn topic_permissions_where(
        &self,
        vhost: Option<&str>,
        user: Option<&str>,
    ) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        self.check_named(&engine, vhost, user)?;
        let mut rows = Vec::new();
        for of in engine.accounts.users().filter(|of| user.is_none_or(|user| of.name == user)) {
            for ((name, exchange), topics) in &of.topic_permissions {
                if vhost.is_none_or(|vhost| name == vhost) {
                    rows.push(topic_to_json(&of.name, name, exchange, topics));
                }
            }
        }
        drop(engine);
        self.list(rows)
    }

    pub(super) fn topic_permissions_of(&self, vhost: &str, user: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let engine = self.shared.engine.lock();
        let of = user_in(&engine, vhost, user)?;
        let own = of.topic_permissions.iter().filter(|((name, _), _)| name == vhost);
        let rows: Vec<Value> =
            own.map(|((_, exchange), topics)| topic_to_json(user, vhost, exchange, topics)).collect();
        drop(engine);
        if rows.is_empty() { Err(Refusal::not_found()) } else { self.list(rows) }
    }

    pub(super) fn put_topic_permission(&self, vhost: &str, user: &str) -> Result<Told, Refusal> {
        self.administer()?;
        let (exchange, topics) = topics_in(&self.object()?)?;
        self.change(|engine| {
            let mut of = user_given(engine, vhost, user)?;
            let is_new = of.topic_permissions.insert((vhost.to_owned(), exchange), topics).is_none();
            engine.put_user(of);
            Ok(Told::created(is_new))
        })
    }

    pub(super) fn delete_topic_permissions(
        &self,
        vhost: &str,
        user: &str,
        only: Option<&str>,
    ) -> Result<Told, Refusal> {
        self.administer()?;
        self.change(|engine| {
            let mut of = user_in(engine, vhost, user)?;
            let before = of.topic_permissions.len();
            of.topic_permissions
                .retain(|(name, exchange), _| name != vhost || only.is_some_and(|only| exchange != only));
            if of.topic_permissions.len() == before {
                return Err(Refusal::not_found());
            }
            engine.put_user(of);
            Ok(Told::nothing())
        })
    }
}
