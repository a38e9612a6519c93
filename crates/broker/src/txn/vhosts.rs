//! Vhosts: worlds of exchanges and queues that know nothing of each other. (RabbitMQ: virtual hosts)

use super::Txn;
use crate::broker::{Map, Vhost, VhostAbout};
use crate::built_in::is_built_in;
use crate::change::Change;
use crate::exchange::{Exchange, Kind};
use crate::{Broker, ExchangeId, QueueId, VhostId};

/// What every vhost has from the beginning: name, type, internal.
const PREDECLARED: [(&str, &str, bool); 7] = [
    ("", "direct", false),
    ("amq.direct", "direct", false),
    ("amq.fanout", "fanout", false),
    ("amq.topic", "topic", false),
    ("amq.headers", "headers", false),
    ("amq.match", "headers", false),
    ("amq.rabbitmq.trace", "topic", true),
];

impl Broker {
    /// How many that is.
    pub(crate) const PREDECLARED_COUNT: u32 = PREDECLARED.len() as u32;
}

impl Txn<'_> {
    /// Makes a vhost, or says something else of it.
    pub fn vhost_put(&mut self, name: &[u8], about: &VhostAbout) -> VhostId {
        let id = self.broker.vhost(name).unwrap_or(VhostId(self.broker.next_vhost));
        self.put_vhost(id, name, ExchangeId(self.broker.next_exchange), about);
        id
    }

    /// Deletes a vhost with everything in it; consumers hear of it.
    pub fn vhost_delete(&mut self, id: VhostId) {
        let Some(vhost) = self.broker.vhosts.get(&id) else { return };
        let mut queues: Vec<QueueId> = vhost.queues.values().copied().collect();
        let mut exchanges: Vec<ExchangeId> =
            vhost.exchanges.values().copied().filter(|id| !is_built_in(*id)).collect();
        // A map's order is not the same everywhere.
        queues.sort_unstable();
        exchanges.sort_unstable();
        queues.into_iter().for_each(|id| self.remove_queue(id));
        exchanges.into_iter().for_each(|id| self.remove_exchange(id));
        let policies: Vec<_> = self.broker.policies.keys().filter(|key| key.0 == id).cloned().collect();
        for key in policies {
            self.delete_policy(&key);
        }
        self.drop_vhost(id);
    }

    /// Primitive: a vhost with its predeclared exchanges, which are numbered from `first`; of one that is there only what is
    /// said of it changes.
    pub(crate) fn put_vhost(&mut self, id: VhostId, name: &[u8], first: ExchangeId, about: &VhostAbout) {
        Change::VhostPut { id, name, first, about }.record(&mut self.changes);
        if let Some(vhost) = self.broker.vhosts.get_mut(&id) {
            vhost.about = about.clone();
            return;
        }
        let mut vhost = Vhost {
            name: name.into(),
            about: about.clone(),
            exchanges: Map::default(),
            queues: Map::default(),
        };
        for (number, (name, kind, internal)) in (first.0..).zip(PREDECLARED) {
            let kind = Kind::parse(kind.as_bytes()).expect("the predeclared types are rows of the table");
            let mut exchange = Exchange::new(id, name.as_bytes(), kind, b"");
            exchange.internal = internal;
            self.broker.exchanges.insert(ExchangeId(number), exchange);
            vhost.exchanges.insert(name.as_bytes().into(), ExchangeId(number));
            self.broker.next_exchange = self.broker.next_exchange.max(number + 1);
        }
        self.broker.vhosts.insert(id, vhost);
        self.broker.add_built_in(id);
        self.broker.next_vhost = self.broker.next_vhost.max(id.0 + 1);
    }

    /// Primitive: a vhost whose queues and exchanges are gone.
    pub(crate) fn drop_vhost(&mut self, id: VhostId) {
        if self.broker.vhosts.remove(&id).is_some() {
            self.broker.remove_built_in(id);
            Change::VhostDelete { id }.record(&mut self.changes);
        }
    }
}
