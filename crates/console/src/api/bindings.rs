//! Bindings. (RabbitMQ: management API, bindings)

use super::exchanges::named;
use super::tables::{from_json, object_of, to_json};
use super::{Asked, NOBODY, Refusal, Told, decoded, text};
use leveret_amqp::Table;
use leveret_engine::Engine;
use leveret_engine::accounts::Access;
use leveret_engine::broker::{BindingReport, ExchangeId, VhostId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What stays as it is in a `properties_key`; a space becomes a plus.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b' ');

/// What names a binding: its routing key, written as in a form, and a hash of its arguments if it has any.
fn properties_key(binding: &BindingReport) -> String {
    let key = percent_encode(&binding.routing_key, KEPT).to_string().replace(' ', "+");
    with_arguments(binding, key)
}

fn with_arguments(binding: &BindingReport, key: String) -> String {
    if binding.arguments.is_empty() {
        return if key.is_empty() { "~".into() } else { key };
    }
    let hash: String =
        Sha256::digest(&binding.arguments).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("{key}~{hash}")
}

/// The binding that is named so: by its own name before one by its routing key, as it is or percent-encoded once more.
fn named_by(mut bindings: Vec<BindingReport>, props: &str) -> Option<BindingReport> {
    let names: [&dyn Fn(&BindingReport) -> bool; 3] = [
        &|binding| properties_key(binding) == props,
        &|binding| with_arguments(binding, text(&binding.routing_key)) == props,
        &|binding| with_arguments(binding, text(&binding.routing_key)) == decoded(props),
    ];
    let place = names.iter().find_map(|is_named| bindings.iter().position(is_named))?;
    Some(bindings.swap_remove(place))
}

pub(super) fn binding_to_json(engine: &Engine, binding: &BindingReport) -> Value {
    json!({
        "source": text(&binding.source),
        "vhost": text(engine.broker.vhost_name(binding.vhost)),
        "destination": text(&binding.destination),
        "destination_type": if binding.to_queue { "queue" } else { "exchange" },
        "routing_key": text(&binding.routing_key),
        "arguments": to_json(Table::from_validated(&binding.arguments)),
        "properties_key": properties_key(binding),
    })
}

/// Every queue is bound to the default exchange by its name.
fn by_default(vhost: VhostId, queue: &[u8]) -> BindingReport {
    BindingReport {
        vhost,
        source: Vec::new(),
        to_queue: true,
        destination: queue.to_vec(),
        routing_key: queue.to_vec(),
        arguments: Vec::new(),
        durable: true,
    }
}

fn default_bindings(engine: &Engine, vhost: VhostId) -> Vec<BindingReport> {
    let ids = engine.broker.queue_ids(Some(vhost)).into_iter();
    let mut all: Vec<BindingReport> = ids
        .filter_map(|id| engine.broker.queue_report(id))
        .map(|report| by_default(vhost, report.name))
        .collect();
    all.sort();
    all
}

impl Asked {
    pub(super) fn bindings(&self, vhost: Option<&str>) -> Result<Told, Refusal> {
        let mut rows = Vec::new();
        let ids: Vec<ExchangeId> = {
            let engine = self.shared.engine.lock();
            let vhosts = self.seen_vhosts(&engine, vhost)?;
            for (id, _) in &vhosts {
                rows.extend(
                    default_bindings(&engine, *id).iter().map(|binding| binding_to_json(&engine, binding)),
                );
            }
            vhosts.iter().flat_map(|(id, _)| engine.broker.exchange_ids(Some(*id))).collect()
        };
        let of_exchanges = self.rows(&ids, |engine, id| {
            let bindings = engine.broker.bindings_from(id);
            Some(bindings.iter().map(|binding| binding_to_json(engine, binding)).collect())
        });
        for of_exchange in of_exchanges {
            if let Value::Array(bindings) = of_exchange {
                rows.extend(bindings);
            }
        }
        self.list(rows)
    }

    fn list_bindings(&self, engine: &Engine, bindings: &[BindingReport]) -> Result<Told, Refusal> {
        self.list(bindings.iter().map(|binding| binding_to_json(engine, binding)).collect())
    }

    pub(super) fn bindings_of_exchange(
        &self,
        vhost: &str,
        name: &str,
        as_source: bool,
    ) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let vhost = self.seen_vhost(&engine, vhost)?;
        let name = named(name);
        let Some(id) = engine.broker.find_exchange(vhost, name.as_bytes()) else {
            return self.list_bindings(&engine, &[]);
        };
        let bindings = match (as_source, name) {
            (true, "") => default_bindings(&engine, vhost),
            (true, _) => engine.broker.bindings_from(id),
            (false, _) => {
                let sources = engine.broker.bound_from(None, Some(id)).into_iter();
                let all = sources.flat_map(|source| engine.broker.bindings_from(source));
                all.filter(|binding| !binding.to_queue && binding.destination == name.as_bytes()).collect()
            }
        };
        self.list_bindings(&engine, &bindings)
    }

    pub(super) fn bindings_of_queue(&self, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let vhost = self.seen_vhost(&engine, vhost)?;
        let Some(id) = engine.broker.queue_id(vhost, name.as_bytes()) else {
            return self.list_bindings(&engine, &[]);
        };
        let sources = engine.broker.bound_from(Some(id), None).into_iter();
        let all = sources.flat_map(|source| engine.broker.bindings_from(source));
        let own = all.filter(|binding| binding.to_queue && binding.destination == name.as_bytes());
        let bindings: Vec<BindingReport> =
            std::iter::once(by_default(vhost, name.as_bytes())).chain(own).collect();
        self.list_bindings(&engine, &bindings)
    }

    /// The bindings from an exchange to a queue or another exchange: none if one of them is not there.
    fn between(
        &self,
        engine: &Engine,
        vhost: &str,
        source: &str,
        (to_queue, destination): (bool, &str),
    ) -> Result<Vec<BindingReport>, Refusal> {
        let vhost = self.seen_vhost(engine, vhost)?;
        let source = named(source);
        let Some(id) = engine.broker.find_exchange(vhost, source.as_bytes()) else { return Ok(Vec::new()) };
        let is_there = match to_queue {
            true => engine.broker.has_queue(vhost, destination.as_bytes()),
            false => engine.broker.has_exchange(vhost, named(destination).as_bytes()),
        };
        if !is_there {
            return Ok(Vec::new());
        }
        if source.is_empty() && to_queue {
            return Ok(vec![by_default(vhost, destination.as_bytes())]);
        }
        let mut bindings = engine.broker.bindings_from(id);
        bindings
            .retain(|binding| binding.to_queue == to_queue && binding.destination == destination.as_bytes());
        Ok(bindings)
    }

    pub(super) fn bindings_between(
        &self,
        vhost: &str,
        source: &str,
        to_queue: bool,
        destination: &str,
    ) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let bindings = self.between(&engine, vhost, source, (to_queue, destination))?;
        self.list_bindings(&engine, &bindings)
    }

    pub(super) fn binding(
        &self,
        vhost: &str,
        source: &str,
        to_queue: bool,
        destination: &str,
        props: &str,
    ) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let bindings = self.between(&engine, vhost, source, (to_queue, destination))?;
        let binding = named_by(bindings, props);
        Ok(self.one(binding_to_json(&engine, &binding.ok_or_else(Refusal::not_found)?)))
    }

    pub(super) fn post_binding(
        &self,
        vhost: &str,
        source: &str,
        to_queue: bool,
        destination: &str,
    ) -> Result<Told, Refusal> {
        let body = self.object()?;
        let arguments = from_json(&object_of(&body, "arguments")?);
        let key = body.get("routing_key").and_then(Value::as_str).unwrap_or_default();
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            self.permit(vhost, Access::Write, destination)?;
            self.permit(vhost, Access::Read, source)?;
            let user = &self.user.name;
            if !engine.may_lead_from(user, source.as_bytes(), key.as_bytes())
                || !(to_queue || engine.may_tell(user, destination.as_bytes(), None))
            {
                return Err(Refusal::forbidden("Access refused."));
            }
            let (source, destination) = (named(source).as_bytes(), destination.as_bytes());
            engine.on_broker(|txn| match to_queue {
                true => txn.queue_bind(id, NOBODY, destination, source, key.as_bytes(), arguments.as_table()),
                false => txn.exchange_bind(id, destination, source, key.as_bytes(), arguments.as_table()),
            })?;
            Ok(Told::created(true))
        })
    }

    pub(super) fn delete_binding(
        &self,
        vhost: &str,
        source: &str,
        to_queue: bool,
        destination: &str,
        props: &str,
    ) -> Result<Told, Refusal> {
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            let bindings = self.between(engine, vhost, source, (to_queue, destination))?;
            let binding = named_by(bindings, props);
            let binding = binding.ok_or_else(Refusal::not_found)?;
            self.permit(vhost, Access::Write, destination)?;
            self.permit(vhost, Access::Read, source)?;
            let (source, destination) = (named(source).as_bytes(), destination.as_bytes());
            let (key, arguments) = (&binding.routing_key, Table::from_validated(&binding.arguments));
            engine.on_broker(|txn| match to_queue {
                true => txn.queue_unbind(id, NOBODY, destination, source, key, arguments),
                false => txn.exchange_unbind(id, destination, source, key, arguments),
            })?;
            Ok(Told::nothing())
        })
    }
}
