//! Queues. (RabbitMQ: management API, queues)

use super::exchanges::by_name;
use super::tables::{from_json, object_of, to_json, truth};
use super::{Asked, NOBODY, NODE, Refusal, Told, connections, refusal, text};
use leveret_engine::Engine;
use leveret_engine::accounts::Access;
use leveret_engine::broker::{QueueDeclare, QueueId, VhostId};
use serde_json::{Map, Value, json};

fn queue_to_json(engine: &Engine, id: QueueId) -> Option<Value> {
    let report = engine.broker.queue_report(id)?;
    let mut arguments = Map::new();
    if let Value::Object(own) = to_json(report.arguments) {
        arguments = own;
    }
    arguments.entry("x-queue-type").or_insert_with(|| report.kind.into());
    let definition = report.policies.definition();
    let messages = report.ready + report.unacknowledged + report.delayed;
    let bytes = report.ready_bytes + report.unacknowledged_bytes + report.delayed_bytes;
    let paged_out = report.paged_out + report.unacknowledged_paged_out;
    let paged_out_bytes = report.paged_out_bytes + report.unacknowledged_paged_out_bytes;
    let rate = json!({"rate": 0.0});
    let mut row = json!({
        "arguments": arguments,
        "auto_delete": report.auto_delete,
        "consumer_capacity": i32::from(report.consumers > 0),
        "consumer_utilisation": i32::from(report.consumers > 0),
        "consumers": report.consumers,
        "durable": report.durable,
        "effective_policy_definition": to_json(definition.as_table()),
        "exclusive": report.owner.is_some(),
        "exclusive_consumer_tag": report.exclusive_consumer.map(text),
        "leader": NODE,
        "members": [NODE],
        "message_bytes": bytes,
        "message_bytes_paged_out": paged_out_bytes,
        "message_bytes_ram": bytes - paged_out_bytes,
        "message_bytes_ready": report.ready_bytes,
        "message_bytes_unacknowledged": report.unacknowledged_bytes,
        "messages": messages,
        "messages_details": rate,
        "messages_paged_out": paged_out,
        "messages_ram": messages - paged_out,
        "messages_ready": report.ready,
        "messages_ready_details": rate,
        "messages_ready_ram": report.ready - report.paged_out,
        "messages_unacknowledged": report.unacknowledged,
        "messages_unacknowledged_details": rate,
        "messages_unacknowledged_ram": (report.unacknowledged + report.delayed) - report.unacknowledged_paged_out,
        "name": text(report.name),
        "node": NODE,
        "online": [NODE],
        "operator_policy": report.policies.operator.map(|(name, _)| name),
        "policy": report.policies.policy.map(|(name, _)| name),
        "single_active_consumer_tag": report.single_active.map(text),
        "state": "running",
        "storage_version": 2,
        "type": report.kind,
        "vhost": text(engine.broker.vhost_name(report.vhost)),
    });
    if let Value::Object(row) = &mut row
        && report.kind == "classic"
    {
        // A classic queue has no members.
        for name in ["leader", "members", "online"] {
            row.shift_remove(name);
        }
    }
    if report.kind == "quorum" {
        row["delivery_limit"] = report.delivery_limit.map_or("unlimited".into(), Value::from);
        row["delayed_retry"] = report.delayed_retry.unwrap_or_else(|| "disabled".into()).into();
        row["messages_delayed"] = report.delayed.into();
    }
    Some(row)
}

impl Asked {
    pub(super) fn queues(&self, vhost: Option<&str>) -> Result<Told, Refusal> {
        let ids: Vec<QueueId> = {
            let engine = self.shared.engine.lock();
            let vhosts = self.seen_vhosts(&engine, vhost)?;
            vhosts.iter().flat_map(|(id, _)| engine.broker.queue_ids(Some(*id))).collect()
        };
        self.list(by_name(self.rows(&ids, queue_to_json)))
    }

    /// A queue in a vhost that may be seen.
    pub(super) fn seen_queue(&self, engine: &Engine, vhost: &str, name: &str) -> Result<QueueId, Refusal> {
        let vhost = self.seen_vhost(engine, vhost)?;
        engine.broker.queue_id(vhost, name.as_bytes()).ok_or_else(Refusal::not_found)
    }

    /// A queue in a vhost where something may be changed.
    pub(super) fn used_queue(
        &self,
        engine: &Engine,
        vhost: &str,
        name: &str,
    ) -> Result<(VhostId, QueueId), Refusal> {
        let vhost = self.used_vhost(engine, vhost)?;
        let id = engine.broker.queue_id(vhost, name.as_bytes()).ok_or_else(Refusal::not_found)?;
        Ok((vhost, id))
    }

    pub(super) fn queue(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let id = self.seen_queue(&engine, vhost, name)?;
        let mut row = queue_to_json(&engine, id).ok_or_else(Refusal::not_found)?;
        let consumers = engine.broker.consumers_of(id);
        let details = consumers.iter().map(|consumer| connections::consumer_to_json(&engine, consumer));
        row["consumer_details"] = details.collect();
        (row["deliveries"], row["incoming"]) = (json!([]), json!([]));
        Ok(self.one(row))
    }

    pub(super) fn put_queue(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let body = self.object()?;
        if let Some(node) = body.get("node").and_then(Value::as_str).filter(|node| *node != NODE) {
            return Err(Refusal::bad(format!("Node {node} is not a cluster member")));
        }
        let arguments = from_json(&object_of(&body, "arguments")?);
        let declare = QueueDeclare {
            name: name.as_bytes(),
            passive: false,
            durable: truth(&body, "durable")?,
            exclusive: false,
            auto_delete: truth(&body, "auto_delete")?,
            arguments: arguments.as_table(),
        };
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            self.permit(vhost, Access::Configure, name)?;
            let is_new = !engine.broker.has_queue(id, name.as_bytes());
            if is_new {
                check_limit(engine, id, vhost, name)?;
                let to =
                    declare.arguments.find(b"x-dead-letter-exchange").and_then(|value| value.as_longstr());
                if let Some(to) = to {
                    self.permit_leading(engine, vhost, name, to)?;
                }
            }
            engine.on_broker(|txn| txn.queue_declare(id, NOBODY, &declare))?;
            Ok(Told::created(is_new))
        })
    }

    pub(super) fn delete_queue(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let is = |name: &str| self.query(name) == Some("true");
        let (if_unused, if_empty) = (is("if-unused"), is("if-empty"));
        self.change(|engine| {
            let (id, _) = self.used_queue(engine, vhost, name)?;
            self.permit(vhost, Access::Configure, name)?;
            engine.on_broker(|txn| txn.queue_delete(id, NOBODY, name.as_bytes(), if_unused, if_empty))?;
            Ok(Told::nothing())
        })
    }

    pub(super) fn purge(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        self.change(|engine| {
            let (id, _) = self.used_queue(engine, vhost, name)?;
            self.permit(vhost, Access::Read, name)?;
            engine.on_broker(|txn| txn.queue_purge(id, NOBODY, name.as_bytes()))?;
            Ok(Told::nothing())
        })
    }

    /// One node has nothing to be synchronised with.
    pub(super) fn act_on_queue(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let body = self.object()?;
        refusal::require(&body, &["action"])?;
        let engine = self.shared.engine.lock();
        self.used_queue(&engine, vhost, name)?;
        match body["action"].as_str() {
            Some("sync" | "cancel_sync") => Ok(Told::nothing()),
            _ => Err(Refusal::bad(format!("{{unknown,{}}}", body["action"]))),
        }
    }
}

fn check_limit(engine: &Engine, id: VhostId, vhost: &str, name: &str) -> Result<(), Refusal> {
    match engine.parameters.limit(leveret_engine::VHOST_LIMITS, vhost, "max-queues") {
        Some(max) if engine.broker.queues_count(id) >= max => Err(Refusal::bad(format!(
            "cannot declare queue '{name}': queue limit in vhost '{vhost}' ({max}) is reached"
        ))),
        _ => Ok(()),
    }
}
