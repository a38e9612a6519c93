//! The whole state behind one door: keyspace and broker, the commit that spans both, sessions' outboxes, waiters and
//! publish/subscribe. Plain synchronous code without threads, sockets, clock or I/O: time comes in when it is
//! entered, bytes of records go out through the tail.

pub mod accounts;
mod bridge;
mod capture;
mod checkpoint;
mod clients;
mod describe;
mod engine;
mod forward;
mod import;
mod libraries;
mod links;
mod migration;
mod parameters;
mod pubsub;
mod replay;
mod replies;
mod session;
mod tracking;
mod waiters;

pub use bridge::{
    Function as BridgeFunction, ROWS as BRIDGE_ROWS, Settling, Wait as QueueWait, check_bridge, consumes,
    reply_key_at, settles,
};
pub use checkpoint::Slice;
pub use clients::Pause;
pub use describe::describe_record;
pub use engine::{EXPIRY_HZ, Engine, Position};
pub use forward::PROPERTIES_MAX;
pub use leveret_base::describe::{Described, Value as DescribedValue};
pub use leveret_broker as broker;
pub use leveret_keyspace as keyspace;
pub use libraries::Libraries;
pub use links::{Link, LinkChannel};
pub use migration::{Migrated, Travelling};
pub use parameters::{ParameterKey, Parameters, USER_LIMITS, VHOST_LIMITS};
pub use pubsub::Kind as SubscriptionKind;
pub use replies::reply_key;
pub use session::{Card, Session, SessionId};
pub use tracking::Tracking;

#[cfg(test)]
mod tests;
