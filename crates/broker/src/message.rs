//! A message as it was published, shared by all queues that hold it.

use crate::Exception;
use bytes::Bytes;
use leveret_amqp::{Properties, ReplyCode};

/// A published message. The properties are kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The exchange it was published to.
    pub exchange: Box<[u8]>,
    /// Its routing key.
    pub routing_key: Box<[u8]>,
    /// Property flags and list, as they came.
    pub properties: Box<[u8]>,
    /// The content.
    pub body: Bytes,
    /// `delivery_mode` 2.
    pub persistent: bool,
    /// `expiration`, in milliseconds.
    pub ttl_ms: Option<u64>,
}

impl Message {
    /// Checks the properties that the broker acts on.
    pub fn new(
        exchange: Box<[u8]>,
        routing_key: Box<[u8]>,
        properties: Box<[u8]>,
        body: Bytes,
    ) -> Result<Self, Exception> {
        let parsed = Properties::parse(&properties)
            .map_err(|error| Exception::new(ReplyCode::SyntaxError, error.to_string()))?;
        let persistent = parsed.delivery_mode() == Some(2);
        let ttl_ms = parsed.expiration().map(expiration).transpose()?;
        Ok(Self { exchange, routing_key, properties, body, persistent, ttl_ms })
    }
}

/// RabbitMQ: per-message TTL.
fn expiration(text: &[u8]) -> Result<u64, Exception> {
    let shown = String::from_utf8_lossy(text);
    let number: Option<i64> = shown.parse().ok();
    match number {
        Some(number) if number >= 0 => Ok(number as u64),
        Some(number) => {
            Err(Exception::precondition(format!("invalid expiration '{shown}': {{value_negative,{number}}}")))
        }
        None => Err(Exception::precondition(format!("invalid expiration '{shown}': no_integer"))),
    }
}
