//! Exchanges. (RabbitMQ: management API, exchanges)

use super::tables::{from_json, object_of, to_json, truth};
use super::{Asked, Refusal, Told, text};
use leveret_engine::Engine;
use leveret_engine::accounts::Access;
use leveret_engine::broker::{ExchangeDeclare, ExchangeId};
use serde_json::{Value, json};

/// The default exchange has no name; paths name it so.
pub(super) fn named(name: &str) -> &str {
    if name == "amq.default" { "" } else { name }
}

fn exchange_to_json(engine: &Engine, id: ExchangeId) -> Option<Value> {
    let report = engine.broker.exchange_report(id)?;
    let policy = report.policies.policy.map(|(name, _)| name);
    let mut row = json!({
        "arguments": to_json(report.arguments),
        "auto_delete": report.auto_delete,
        "durable": report.durable,
        "internal": report.internal,
        "name": text(report.name),
        "policy": policy,
        "type": report.kind,
        "user_who_performed_action": "rmq-internal",
        "vhost": text(engine.broker.vhost_name(report.vhost)),
    });
    if policy.is_none()
        && let Value::Object(row) = &mut row
    {
        row.shift_remove("policy");
    }
    Some(row)
}

impl Asked {
    pub(super) fn exchanges(&self, vhost: Option<&str>) -> Result<Told, Refusal> {
        let ids: Vec<ExchangeId> = {
            let engine = self.shared.engine.lock();
            let vhosts = self.seen_vhosts(&engine, vhost)?;
            vhosts.iter().flat_map(|(id, _)| engine.broker.exchange_ids(Some(*id))).collect()
        };
        self.list(by_name(self.rows(&ids, exchange_to_json)))
    }

    pub(super) fn exchange(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let vhost = self.seen_vhost(&engine, vhost)?;
        let id = engine.broker.find_exchange(vhost, named(name).as_bytes()).ok_or_else(Refusal::not_found)?;
        let mut row = exchange_to_json(&engine, id).ok_or_else(Refusal::not_found)?;
        (row["incoming"], row["outgoing"]) = (json!([]), json!([]));
        Ok(self.one(row))
    }

    pub(super) fn put_exchange(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let body = self.object()?;
        let arguments = from_json(&object_of(&body, "arguments")?);
        let kind = body.get("type").and_then(Value::as_str).unwrap_or("direct");
        let declare = ExchangeDeclare {
            name: name.as_bytes(),
            kind: kind.as_bytes(),
            passive: false,
            durable: truth(&body, "durable")?,
            auto_delete: truth(&body, "auto_delete")?,
            internal: truth(&body, "internal")?,
            arguments: arguments.as_table(),
        };
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            self.permit(vhost, Access::Configure, name)?;
            let is_new = !engine.broker.has_exchange(id, name.as_bytes());
            if is_new
                && let Some(to) =
                    declare.arguments.find(b"alternate-exchange").and_then(|value| value.as_longstr())
            {
                self.permit_leading(engine, vhost, name, to)?;
            }
            engine.on_broker(|txn| txn.exchange_declare(id, &declare))?;
            Ok(Told::created(is_new))
        })
    }

    pub(super) fn delete_exchange(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let if_unused = self.query("if-unused") == Some("true");
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            if !engine.broker.has_exchange(id, named(name).as_bytes()) {
                return Err(Refusal::not_found());
            }
            self.permit(vhost, Access::Configure, name)?;
            engine.on_broker(|txn| txn.exchange_delete(id, named(name).as_bytes(), if_unused))?;
            Ok(Told::nothing())
        })
    }

    /// Refuses a new exchange or queue that leads by itself to where the user may not publish.
    pub(super) fn permit_leading(
        &self,
        engine: &Engine,
        vhost: &str,
        name: &str,
        to: &[u8],
    ) -> Result<(), Refusal> {
        self.permit(vhost, Access::Read, name)?;
        self.permit(vhost, Access::Write, &text(to))?;
        match engine.may_tell(&self.user.name, to, None) {
            true => Ok(()),
            false => Err(Refusal::forbidden("Access refused.")),
        }
    }

    /// Refuses what the user may not do in a vhost.
    pub(super) fn permit(&self, vhost: &str, access: Access, name: &str) -> Result<(), Refusal> {
        let name = if name.is_empty() { "amq.default" } else { name };
        if self.user.allows(vhost, access, name.as_bytes()) {
            Ok(())
        } else {
            Err(Refusal::forbidden("Access refused."))
        }
    }
}

/// Rows by vhost and name.
pub(super) fn by_name(mut rows: Vec<Value>) -> Vec<Value> {
    let key = |row: &Value| {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("vhost"), text("name"))
    };
    rows.sort_by_cached_key(key);
    rows
}
