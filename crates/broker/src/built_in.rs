//! The exchanges that lead from keys and topics of Redis to queues: each vhost has them from the beginning, and nobody declares or
//! deletes them. What comes to them from the other side is the engine's affair; here they are exchanges like others, and it is known
//! which of them lead anywhere. Their numbers follow from the vhost's, so that the log speaks of nothing but their bindings.

use crate::exchange::{Exchange, Kind};
use crate::{Broker, ExchangeId, Message, Txn, VhostId};
use std::sync::Arc;

/// Changes of keys go to it.
pub const KEYSPACE: &[u8] = b"leveret.keyspace";

/// What is published in Redis goes to it, and what comes to it is heard there.
pub const PUBSUB: &[u8] = b"leveret.pubsub";

/// Only exchanges of ours have such names.
pub const RESERVED: &[u8] = b"leveret.";

/// Exchanges that are declared have lower numbers.
const FIRST: u32 = 1 << 31;

/// Vhosts have lower numbers, so that there is one for each of their built-in exchanges.
const VHOSTS_MAX: u32 = 1 << 24;

/// A built-in exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BuiltIn {
    Keyspace,
    Pubsub,
}

/// Room for others.
const EACH: u32 = 16;

impl BuiltIn {
    const ALL: [BuiltIn; 2] = [BuiltIn::Keyspace, BuiltIn::Pubsub];

    fn id(self, vhost: VhostId) -> ExchangeId {
        let number = match self {
            BuiltIn::Keyspace => 0,
            BuiltIn::Pubsub => 1,
        };
        ExchangeId(FIRST + vhost.0 * EACH + number)
    }

    fn is(self, id: ExchangeId) -> bool {
        is_built_in(id) && id.0 % EACH == self.id(VhostId(0)).0 % EACH
    }

    fn name(self) -> &'static [u8] {
        match self {
            BuiltIn::Keyspace => KEYSPACE,
            BuiltIn::Pubsub => PUBSUB,
        }
    }

    /// Whether clients may not publish to it.
    fn is_internal(self) -> bool {
        match self {
            BuiltIn::Keyspace => true,
            BuiltIn::Pubsub => false,
        }
    }
}

/// True for an exchange that nobody has declared here and that is no part of the log.
pub(crate) fn is_built_in(id: ExchangeId) -> bool {
    id.0 >= FIRST
}

/// True for an exchange whose messages are heard in Redis.
pub(crate) fn is_heard(id: ExchangeId) -> bool {
    BuiltIn::Pubsub.is(id)
}

/// True for an exchange to which only the server publishes: nothing leads there, not even from within.
pub(crate) fn is_own_source(id: ExchangeId) -> bool {
    BuiltIn::Keyspace.is(id)
}

/// True for numbers that vhosts may have.
pub(crate) fn is_vhost(id: VhostId) -> bool {
    id.0 < VHOSTS_MAX
}

/// The built-in exchanges that lead anywhere.
#[derive(Default)]
pub(crate) struct Bound {
    /// In order.
    keyspace: Vec<ExchangeId>,
    pubsub: Vec<ExchangeId>,
}

impl Bound {
    fn of(&mut self, built_in: BuiltIn) -> &mut Vec<ExchangeId> {
        match built_in {
            BuiltIn::Keyspace => &mut self.keyspace,
            BuiltIn::Pubsub => &mut self.pubsub,
        }
    }
}

impl Broker {
    /// True when changes of keys go anywhere.
    #[inline]
    pub fn captures(&self) -> bool {
        !self.bound.keyspace.is_empty()
    }

    /// The exchanges to which changes of keys go.
    pub fn capturing(&self) -> Vec<ExchangeId> {
        self.bound.keyspace.clone()
    }

    /// The exchanges to which goes what is published in Redis.
    pub fn forwarding(&self) -> &[ExchangeId] {
        &self.bound.pubsub
    }

    /// A vhost gets its built-in exchanges.
    pub(crate) fn add_built_in(&mut self, vhost: VhostId) {
        for built_in in BuiltIn::ALL {
            let id = built_in.id(vhost);
            let topic = Kind::parse(b"topic").expect("it is a row of the table");
            let mut exchange = Exchange::new(vhost, built_in.name(), topic, b"");
            exchange.internal = built_in.is_internal();
            self.exchanges.insert(id, exchange);
            if let Some(vhost) = self.vhosts.get_mut(&vhost) {
                vhost.exchanges.insert(built_in.name().into(), id);
            }
        }
    }

    /// They go with their vhost, which has nothing else any more.
    pub(crate) fn remove_built_in(&mut self, vhost: VhostId) {
        for built_in in BuiltIn::ALL {
            self.exchanges.remove(&built_in.id(vhost));
            self.note_bindings(built_in.id(vhost));
        }
    }

    /// The bindings of an exchange have changed.
    pub(crate) fn note_bindings(&mut self, id: ExchangeId) {
        if !is_built_in(id) {
            return;
        }
        let is_bound = self.exchanges.get(&id).is_some_and(|exchange| !exchange.is_unused());
        for built_in in BuiltIn::ALL {
            if !built_in.is(id) {
                continue;
            }
            let bound = self.bound.of(built_in);
            match (bound.binary_search(&id), is_bound) {
                (Err(place), true) => bound.insert(place, id),
                (Ok(place), false) => {
                    bound.remove(place);
                }
                (Ok(_), true) | (Err(_), false) => {}
            }
        }
    }
}

impl Txn<'_> {
    /// What comes from the other side goes where the bindings of a built-in exchange lead; gives how many queues took it.
    pub fn publish_from(&mut self, exchange: ExchangeId, message: &Arc<Message>) -> usize {
        let told = self.broker.told.len();
        let published = self.pass_on(exchange, message);
        if is_heard(exchange) {
            // It is known there.
            self.broker.told.truncate(told);
        }
        published.queues
    }

    /// A message has come to an exchange: true if it is heard in Redis.
    #[cold]
    pub(crate) fn tell(&mut self, exchange: ExchangeId, message: &Arc<Message>) -> bool {
        let is_heard = is_heard(exchange);
        if is_heard {
            self.broker.told.push(message.clone());
        }
        is_heard
    }
}
