//! Policies of users and operators. (RabbitMQ: management API, policies)

use super::tables::{from_json, to_json};
use super::{Asked, Refusal, Told, refusal, text};
use leveret_amqp::Table;
use leveret_engine::Engine;
use leveret_engine::broker::{
    ApplyTo, FILTER_BYTES, POLICY_SETTINGS, Pattern, Policy, PolicyKey, SEGMENT_BYTES_MAX, age_ms,
};
use serde_json::{Map, Value, json};

pub(super) fn policy_to_json(engine: &Engine, (vhost, _, name): &PolicyKey, policy: &Policy) -> Value {
    json!({
        "vhost": text(engine.broker.vhost_name(*vhost)),
        "name": name,
        "pattern": policy.pattern.as_str(),
        "apply-to": policy.apply_to.name(),
        "definition": to_json(Table::from_validated(&policy.definition)),
        "priority": policy.priority,
    })
}

fn invalid(why: &str) -> Refusal {
    Refusal::bad(format!("Validation failed\n\n{why}\n"))
}

/// What a policy says must be understood: numbers that count something are not negative.
fn check(definition: &Map<String, Value>, is_operator: bool) -> Result<(), Refusal> {
    let is_known = |name: &str| {
        POLICY_SETTINGS.iter().any(|(known, of_operators)| *known == name && (*of_operators || !is_operator))
    };
    let unknown: Vec<String> = definition
        .iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, value)| format!("{{<<\"{name}\">>,{}}}", erlang(value)))
        .collect();
    if !unknown.is_empty() {
        return Err(invalid(&format!("[{}] are not recognised policy settings", unknown.join(","))));
    }
    if definition.is_empty() {
        return Err(invalid("no policy provided"));
    }
    for (name, value) in definition {
        let wrong = |why: &str| Err(invalid(&format!("{} {why}", erlang(value))));
        match name.as_str() {
            "message-ttl" | "max-length" | "max-length-bytes" if value.as_i64().is_none_or(|n| n < 0) => {
                let what = match name.as_str() {
                    "message-ttl" => "is not a valid message TTL",
                    "max-length" => "is not a valid maximum length",
                    _ => "is not a valid maximum length in bytes",
                };
                return wrong(what);
            }
            "expires" if value.as_i64().is_none_or(|n| n < 1) => {
                return wrong("is not a valid queue expiry");
            }
            "consumer-timeout" if value.as_i64().is_none_or(|n| n < 1) => {
                return wrong("is not a valid consumer timeout");
            }
            "delayed-retry-type"
                if !matches!(value.as_str(), Some("all" | "failed" | "returned" | "disabled")) =>
            {
                return wrong(
                    "is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
                );
            }
            "delayed-retry-min" if value.as_i64().is_none_or(|n| n < 1) => {
                return wrong("is not a valid delayed retry minimum delay. Must be a positive integer");
            }
            "delayed-retry-max" if value.as_i64().is_none_or(|n| n < 1) => {
                return wrong("is not a valid delayed retry maximum delay. Must be a positive integer");
            }
            "delivery-limit" if value.as_i64().is_none() => return wrong("is not a valid delivery limit"),
            "overflow"
                if !matches!(value.as_str(), Some("drop-head" | "reject-publish" | "reject-publish-dlx")) =>
            {
                return wrong("is not a valid overflow value");
            }
            "dead-letter-strategy" if !matches!(value.as_str(), Some("at-most-once" | "at-least-once")) => {
                return wrong("is not a valid dead letter strategy");
            }
            "max-age" if value.as_str().is_none_or(|age| age_ms(age.as_bytes()).is_none()) => {
                return wrong("is not a valid max age");
            }
            "stream-max-segment-size-bytes"
                if value.as_i64().is_none_or(|bytes| !(0..=SEGMENT_BYTES_MAX).contains(&bytes)) =>
            {
                return wrong("is not a valid segment size");
            }
            "stream-filter-size-bytes"
                if value.as_i64().is_none_or(|bytes| !FILTER_BYTES.contains(&bytes)) =>
            {
                return wrong("is not a valid filter size");
            }
            "alternate-exchange" if !value.is_string() => {
                return wrong("is not a valid alternate exchange name");
            }
            "dead-letter-exchange" if !value.is_string() => {
                return wrong("is not a valid dead letter exchange name");
            }
            "dead-letter-routing-key" if !value.is_string() => {
                return wrong("is not a valid dead letter routing key");
            }
            _ => {}
        }
    }
    let number = |name: &str| definition.get(name).and_then(Value::as_i64);
    let (min, max) = (number("delayed-retry-min"), number("delayed-retry-max"));
    match definition.get("delayed-retry-type").and_then(Value::as_str) {
        Some(which) if which != "disabled" && min.is_none() => {
            let why = format!("delayed-retry-min is required when delayed-retry-type is {which}");
            return Err(invalid(&why));
        }
        Some(_) | None => {}
    }
    match (min, max) {
        (Some(min), Some(max)) if max < min => Err(invalid(&format!(
            "delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})"
        ))),
        (_, _) => Ok(()),
    }
}

/// A value as RabbitMQ prints it.
fn erlang(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<<\"{text}\">>"),
        other => other.to_string(),
    }
}

/// A policy from a body.
pub(super) fn policy_in(body: &Map<String, Value>, is_operator: bool) -> Result<Policy, Refusal> {
    refusal::require(body, &["pattern", "definition"])?;
    let definition = match &body["definition"] {
        Value::Object(definition) => definition,
        other => return Err(Refusal::bad(format!("{{not_an_object,{other}}}"))),
    };
    let pattern = body["pattern"].as_str().ok_or_else(|| Refusal::bad("pattern is a text"))?;
    let pattern = Pattern::new(pattern)
        .map_err(|why| invalid(&format!("pattern should be regular expression but is invalid: {why}")))?;
    let apply_to = match body.get("apply-to").filter(|value| !value.is_null()) {
        None if is_operator => ApplyTo::Queues,
        None => ApplyTo::All,
        Some(value) => value.as_str().and_then(ApplyTo::parse).ok_or_else(|| {
            invalid(&format!("apply-to should be one of [<<\"all\">>,<<\"exchanges\">>,<<\"queues\">>,<<\"classic_queues\">>,<<\"quorum_queues\">>,<<\"streams\">>], actually was {}", erlang(value)))
        })?,
    };
    let priority = match body.get("priority") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().ok_or_else(|| {
            invalid(&format!("priority should be a number, actually was {}", erlang(value)))
        })?,
    };
    check(definition, is_operator)?;
    let definition = from_json(definition).as_table().raw().into();
    Ok(Policy { pattern, apply_to, priority, definition })
}

impl Asked {
    fn make_policies(&self, is_operator: bool) -> Result<(), Refusal> {
        if is_operator {
            return self.administer();
        }
        match self.has_tag(&["administrator", "policymaker"]) {
            true => Ok(()),
            false => Err(Refusal::forbidden("Not policymaker user")),
        }
    }

    pub(super) fn policies(&self, is_operator: bool, vhost: Option<&str>) -> Result<Told, Refusal> {
        self.make_policies(false).or_else(|refusal| if self.sees_all() { Ok(()) } else { Err(refusal) })?;
        let engine = self.shared.engine.lock();
        let vhosts = self.seen_vhosts(&engine, vhost)?;
        let is_wanted = |key: &PolicyKey| key.1 == is_operator && vhosts.iter().any(|(id, _)| *id == key.0);
        let wanted = engine.broker.policies().filter(|(key, _)| is_wanted(key));
        let rows = wanted.map(|(key, policy)| policy_to_json(&engine, key, policy)).collect();
        drop(engine);
        self.list(rows)
    }

    pub(super) fn policy(&self, is_operator: bool, vhost: &str, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let id = self.seen_vhost(&engine, vhost)?;
        let wanted = (id, is_operator, Box::from(name));
        let (key, policy) =
            engine.broker.policies().find(|(key, _)| **key == wanted).ok_or_else(Refusal::not_found)?;
        Ok(self.one(policy_to_json(&engine, key, policy)))
    }

    pub(super) fn put_policy(&self, is_operator: bool, vhost: &str, name: &str) -> Result<Told, Refusal> {
        self.make_policies(is_operator)?;
        let policy = policy_in(&self.object()?, is_operator)?;
        self.change(|engine| {
            let id = self.seen_vhost(engine, vhost)?;
            self.permit_policy(engine, &policy)?;
            let key: PolicyKey = (id, is_operator, name.into());
            let is_new = engine.broker.policies().all(|(known, _)| *known != key);
            engine.on_broker(|txn| txn.put_policy(key, policy));
            Ok(Told::created(is_new))
        })
    }

    /// Refuses a policy that lets subscribers of Redis hear what its maker may not tell them.
    fn permit_policy(&self, engine: &Engine, policy: &Policy) -> Result<(), Refusal> {
        let definition = Table::from_validated(&policy.definition);
        let leads = |name: &&[u8]| {
            let to = definition.find(name).and_then(|value| value.as_longstr());
            to.is_some_and(|to| !engine.may_tell(&self.user.name, to, None))
        };
        match [&b"alternate-exchange"[..], b"dead-letter-exchange"].iter().any(leads) {
            true => Err(Refusal::forbidden("Access refused.")),
            false => Ok(()),
        }
    }

    pub(super) fn delete_policy(&self, is_operator: bool, vhost: &str, name: &str) -> Result<Told, Refusal> {
        self.make_policies(is_operator)?;
        self.change(|engine| {
            let id = self.seen_vhost(engine, vhost)?;
            let was_there = engine.on_broker(|txn| txn.delete_policy(&(id, is_operator, name.into())));
            if was_there { Ok(Told::nothing()) } else { Err(Refusal::not_found()) }
        })
    }
}
