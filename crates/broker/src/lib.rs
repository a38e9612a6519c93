//! RabbitMQ's model: vhosts, exchanges, queues, consumers, and the ledger of who holds which message. A pure state
//! machine: no sockets, no delivery tags, no clock; what must reach a client is put out as [`Event`]s. All mutation goes
//! through [`Txn`], whose primitives record what is durable.

mod arguments;
mod block;
mod body;
mod broker;
mod built_in;
mod change;
mod checkpoint;
mod cursor;
mod death;
mod digest;
mod entries;
mod exception;
mod exchange;
mod lane;
mod message;
mod pattern;
mod policy;
mod queue;
mod reply_key;
mod report;
mod seen;
mod spill;
mod stream;
mod txn;

pub use arguments::{FILTER_BYTES, SEGMENT_BYTES_MAX, age_ms};
pub use broker::{
    Broker, Event, ExchangeId, InMemory, QueueId, SessionId, VhostAbout, VhostId, WINDOW_BYTES, Wanted,
};
pub use built_in::{KEYSPACE, PUBSUB, RESERVED};
pub use change::{CHANGE_NAMES, CHANGE_TAGS, message_len};
pub use exception::Exception;
pub use message::{Message, MessageParts};
pub use pattern::{Pattern, WrongPattern};
pub use policy::{ApplyTo, Effective, POLICY_SETTINGS, Policy, PolicyKey};
pub use reply_key::{KeptReply, REPLY_KEY_MAX, ReplyKey};
pub use report::{BindingReport, ConsumerReport, ExchangeReport, QueueReport};
pub use spill::{Spill, SpilledRun};
pub use txn::{
    Consume, Declared, Delivery, ExchangeDeclare, Got, How, Lease, Peeked, Published, QueueDeclare, REPLY_TO,
    Scheduled, Txn,
};

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;
