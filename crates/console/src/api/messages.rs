//! Single messages, for a look and for trying things out. (RabbitMQ: management API, publish and get)

use super::exchanges::named;
use super::tables::{object_of, properties_from_json, properties_to_json, truth};
use super::{Asked, NOBODY, Refusal, Told, refusal, text};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use leveret_amqp::Properties;
use leveret_engine::PROPERTIES_MAX;
use leveret_engine::accounts::Access;
use leveret_engine::broker::{Delivery, Got, How, Message};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages in one answer.
const MESSAGES_MAX: usize = 10_000;

fn message_to_json(got: &Delivery, encoding: &str, truncate: Option<usize>) -> Value {
    let body = got.message.body();
    let shown = body.get(..truncate.unwrap_or(body.len())).unwrap_or(body);
    let as_text = std::str::from_utf8(shown).ok().filter(|_| encoding == "auto");
    let (payload, payload_encoding) = match as_text {
        Some(text) => (text.to_owned(), "string"),
        None => (BASE64_STANDARD.encode(shown), "base64"),
    };
    json!({
        "payload_bytes": body.len(),
        "redelivered": got.redelivered,
        "exchange": text(got.message.exchange()),
        "routing_key": text(got.message.routing_key()),
        "message_count": got.message_count,
        "properties": properties_to_json(Properties::from_validated(got.message.properties())),
        "payload": payload,
        "payload_encoding": payload_encoding,
    })
}

impl Asked {
    pub(super) fn publish(&self, vhost: &str, exchange: &str) -> Result<Told, Refusal> {
        let body = self.object()?;
        refusal::require(&body, &["routing_key", "properties", "payload", "payload_encoding"])?;
        let word = |name: &str| body[name].as_str().ok_or_else(|| Refusal::bad(format!("{name} is a text")));
        let (routing_key, payload) = (word("routing_key")?, word("payload")?);
        let payload = match word("payload_encoding")? {
            "string" => payload.as_bytes().to_vec(),
            "base64" => BASE64_STANDARD.decode(payload).map_err(|_| Refusal::bad("payload is no base64"))?,
            other => return Err(Refusal::bad(format!("{{unsupported_encoding,<<\"{other}\">>}}"))),
        };
        let properties = properties_from_json(&object_of(&body, "properties")?)?;
        if properties.len() > PROPERTIES_MAX {
            return Err(Refusal::bad(format!("properties have more than {PROPERTIES_MAX} bytes")));
        }
        let exchange = named(exchange).as_bytes();
        if routing_key.len() > 255 {
            return Err(Refusal::bad("routing_key is longer than 255 bytes"));
        }
        let message = Message::new(exchange, routing_key.as_bytes(), &properties, &payload)?;
        if let Some(user) = Properties::from_validated(&properties).user_id()
            && user != self.user.name.as_bytes()
        {
            let text = format!(
                "user_id property set to '{}' but authenticated user was '{}'",
                text(user),
                self.user.name
            );
            return Err(Refusal::bad(text));
        }
        let message = Arc::new(message);
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            if !engine.broker.has_exchange(id, exchange) {
                return Err(Refusal::not_found());
            }
            self.permit(vhost, Access::Write, &text(exchange))?;
            if !engine.may_tell(&self.user.name, exchange, Some(message.routing_key())) {
                return Err(Refusal::forbidden("Access refused."));
            }
            let (published, heard) = engine.publish(id, &message)?;
            Ok(Told::json(json!({"routed": published.queues + heard > 0})))
        })
    }

    pub(super) fn get_messages(&self, vhost: &str, queue: &str) -> Result<Told, Refusal> {
        let body = self.object()?;
        // Older clients say it so.
        let requeues = body.contains_key("requeue").then(|| truth(&body, "requeue")).transpose()?;
        let required: &[&str] =
            if requeues.is_some() { &["count", "encoding"] } else { &["ackmode", "count", "encoding"] };
        refusal::require(&body, required)?;
        let count = match &body["count"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let count = count.ok_or_else(|| Refusal::bad("count is a number"))?;
        let count = usize::try_from(count).unwrap_or(MESSAGES_MAX).min(MESSAGES_MAX);
        let truncate = body.get("truncate").and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|bytes| usize::try_from(bytes).ok()),
        });
        let encoding = body["encoding"].as_str().filter(|encoding| matches!(*encoding, "auto" | "base64"));
        let encoding = encoding.ok_or_else(|| Refusal::bad("encoding is 'auto' or 'base64'"))?;
        let stays = match body.get("ackmode").and_then(Value::as_str) {
            Some("ack_requeue_true" | "reject_requeue_true") => true,
            Some("ack_requeue_false" | "reject_requeue_false") => false,
            Some(other) => return Err(Refusal::bad(format!("{{bad_ackmode,<<\"{other}\">>}}"))),
            None => requeues.unwrap_or(false),
        };
        let rejects = body.get("ackmode").and_then(Value::as_str) == Some("reject_requeue_false");
        let (began, mut messages) = (Instant::now(), Vec::new());
        loop {
            let is_over = self.change(|engine| {
                let (id, _) = self.used_queue(engine, vhost, queue)?;
                self.permit(vhost, Access::Read, queue)?;
                let takes = !stays && !rejects;
                engine.on_broker(|txn| {
                    let mut is_over = true;
                    while messages.len() < count {
                        let got = match txn.get_or_fetch(id, NOBODY, 0, queue.as_bytes(), takes)? {
                            Got::Message(got) => got,
                            Got::Empty => break,
                            Got::OnDisk => {
                                is_over = false;
                                break;
                            }
                        };
                        messages.push(message_to_json(&got, encoding, truncate));
                        if rejects {
                            txn.settle(NOBODY, 0, got.queue, got.seq, How::Drop);
                        }
                    }
                    if stays {
                        txn.session_closed(NOBODY);
                    }
                    Ok(is_over)
                })
            })?;
            if is_over || began.elapsed() > DISK_WAIT {
                return Ok(Told::json(Value::Array(messages)));
            }
            if stays {
                // They went back, so that nobody gets them twice.
                messages.clear();
            }
            std::thread::sleep(DISK_PERIOD);
        }
    }
}

/// So long at most is waited for messages that only the disk has, and so often it is looked whether they are there.
const DISK_WAIT: Duration = Duration::from_secs(10);
const DISK_PERIOD: Duration = Duration::from_millis(2);
