//! What the user of a connection may do in its vhost, checked where RabbitMQ checks it. (RabbitMQ: access control)

use crate::amqp::session::{AmqpSession, Failure, Outcome};
use leveret_amqp::{ReplyCode, Table};
use leveret_engine::Engine;
use leveret_engine::accounts::{Access, User};
use leveret_engine::broker::{self, VhostId};
use std::collections::HashSet;
use std::sync::Arc;

/// What is accessed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource<'a> {
    Exchange(&'a [u8]),
    Queue(&'a [u8]),
}

/// What is known of the user's permissions.
#[derive(Default)]
pub(crate) struct Rights {
    user: Option<Arc<User>>,
    vhost: String,
    /// Everything is allowed.
    unlimited: bool,
    /// The state of the accounts that this was taken from.
    generation: u64,
    /// Exchanges that may be written to.
    writable: HashSet<Box<[u8]>, foldhash::fast::FixedState>,
}

/// Exchanges remembered at a time.
const WRITABLE_MAX: usize = 1024;

impl Rights {
    /// The user may say that messages are from somebody else. (RabbitMQ: impersonator)
    pub(crate) fn may_impersonate(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.tags.iter().any(|tag| tag == "impersonator"))
    }

    fn allows(&self, access: Access, name: &[u8]) -> bool {
        self.user.as_ref().is_some_and(|user| user.allows(&self.vhost, access, name))
    }

    /// True when the routing key is allowed.
    fn allows_topic(&self, access: Access, exchange: &[u8], key: &[u8]) -> bool {
        self.user.as_ref().is_none_or(|user| user.allows_topic(&self.vhost, access, exchange, key))
    }
}

impl AmqpSession {
    /// Takes the rights of the user in the vhost that is being opened; false when it has none there.
    pub(crate) fn take_rights(&mut self, engine: &Engine, vhost: VhostId) -> bool {
        let user = engine.accounts.user(&self.user).cloned();
        let vhost = String::from_utf8_lossy(engine.broker.vhost_name(vhost)).into_owned();
        self.rights = Rights {
            unlimited: user.as_ref().is_some_and(|user| user.is_unlimited_in(&vhost)),
            generation: engine.accounts.generation(),
            user,
            vhost,
            writable: HashSet::default(),
        };
        self.impersonates = self.rights.may_impersonate();
        self.rights.user.as_ref().is_some_and(|user| user.permissions.contains_key(&self.rights.vhost))
    }

    /// True when nothing needs a look: the user may do everything, and that has not changed.
    #[inline]
    fn is_unlimited(&mut self, engine: &Engine, vhost: VhostId) -> bool {
        if self.rights.generation != engine.accounts.generation() {
            self.take_rights(engine, vhost);
        }
        self.rights.unlimited
    }

    /// Refuses what the user may not do with an exchange or a queue.
    pub(crate) fn permit(
        &mut self,
        engine: &Engine,
        vhost: VhostId,
        access: Access,
        resource: Resource<'_>,
    ) -> Outcome {
        if self.is_unlimited(engine, vhost) {
            return Ok(());
        }
        let (kind, name) = match resource {
            Resource::Exchange(b"") => ("exchange", &b"amq.default"[..]),
            Resource::Exchange(name) => ("exchange", name),
            Resource::Queue(name) => ("queue", name),
        };
        if self.rights.allows(access, name) {
            return Ok(());
        }
        Err(self.refused(access.name(), &format!("{kind} '{}'", String::from_utf8_lossy(name))))
    }

    /// Refuses to tell of a thing that the user may do nothing with. (RabbitMQ 4.3: passive declarations)
    pub(crate) fn permit_any(&mut self, engine: &Engine, vhost: VhostId, resource: Resource<'_>) -> Outcome {
        let others = [Access::Write, Access::Read];
        if others.into_iter().any(|access| self.permit(engine, vhost, access, resource).is_ok()) {
            return Ok(());
        }
        self.permit(engine, vhost, Access::Configure, resource)
    }

    /// Refuses a message to an exchange, or with a routing key, that the user may not write to.
    #[inline]
    pub(crate) fn permit_publish(
        &mut self,
        engine: &Engine,
        vhost: VhostId,
        message: &broker::Message,
    ) -> Outcome {
        if message.exchange() == broker::PUBSUB {
            self.permit_telling(engine, broker::PUBSUB, Some(message.routing_key()))?;
        }
        if self.is_unlimited(engine, vhost) {
            return Ok(());
        }
        self.check_publish(engine, vhost, message)
    }

    #[cold]
    fn check_publish(&mut self, engine: &Engine, vhost: VhostId, message: &broker::Message) -> Outcome {
        let exchange = message.exchange();
        if !self.rights.writable.contains(exchange) {
            self.permit(engine, vhost, Access::Write, Resource::Exchange(exchange))?;
            if self.rights.writable.len() >= WRITABLE_MAX {
                self.rights.writable.clear();
            }
            self.rights.writable.insert(exchange.into());
        }
        self.permit_topic(engine, vhost, Access::Write, exchange, message.routing_key())
    }

    /// Refuses a routing key of a topic exchange.
    pub(crate) fn permit_topic(
        &mut self,
        engine: &Engine,
        vhost: VhostId,
        access: Access,
        exchange: &[u8],
        key: &[u8],
    ) -> Outcome {
        if self.is_unlimited(engine, vhost)
            || !engine.broker.is_topic_exchange(vhost, exchange)
            || self.rights.allows_topic(access, exchange, key)
        {
            return Ok(());
        }
        let (key, exchange) = (String::from_utf8_lossy(key), String::from_utf8_lossy(exchange));
        Err(self.refused(access.name(), &format!("topic '{key}' in exchange '{exchange}'")))
    }

    /// Refuses a binding, or its end, between things that the user may not lead messages from or to.
    pub(crate) fn permit_binding(
        &mut self,
        engine: &Engine,
        vhost: VhostId,
        (destination, source): (Resource<'_>, &[u8]),
        key: &[u8],
    ) -> Outcome {
        let is_default = source.is_empty() || matches!(destination, Resource::Exchange(b""));
        // What cannot be bound at all is refused by the broker.
        if is_default {
            return Ok(());
        }
        self.permit(engine, vhost, Access::Write, destination)?;
        self.permit(engine, vhost, Access::Read, Resource::Exchange(source))?;
        if !engine.may_lead_from(&self.user, source, key) {
            return Err(self.refused("read", &format!("exchange '{}'", String::from_utf8_lossy(source))));
        }
        if let Resource::Exchange(to) = destination {
            self.permit_telling(engine, to, None)?;
        }
        self.permit_topic(engine, vhost, Access::Read, source, key)
    }

    /// Refuses to take messages of a queue; the address for replies belongs to everybody.
    pub(crate) fn permit_read(&mut self, engine: &Engine, vhost: VhostId, queue: &[u8]) -> Outcome {
        if queue == broker::REPLY_TO {
            return Ok(());
        }
        self.permit(engine, vhost, Access::Read, Resource::Queue(queue))
    }

    /// What a new exchange or queue leads to by itself: it must be allowed to read from the one and write to the other.
    pub(crate) fn permit_leading(
        &mut self,
        engine: &Engine,
        vhost: VhostId,
        from: Resource<'_>,
        arguments: Table<'_>,
        name: &[u8],
    ) -> Outcome {
        let Some(to) = arguments.find(name).and_then(|value| value.as_longstr()) else { return Ok(()) };
        self.permit(engine, vhost, Access::Read, from)?;
        self.permit(engine, vhost, Access::Write, Resource::Exchange(to))?;
        self.permit_telling(engine, to, None)
    }

    /// Refuses messages that the user may not let subscribers of Redis hear: with this routing key, or with any.
    fn permit_telling(&self, engine: &Engine, exchange: &[u8], key: Option<&[u8]>) -> Outcome {
        if engine.may_tell(&self.user, exchange, key) {
            return Ok(());
        }
        Err(self.refused("write", &format!("exchange '{}'", String::from_utf8_lossy(exchange))))
    }

    fn refused(&self, access: &str, what: &str) -> Failure {
        let text = format!(
            "{access} access to {what} in vhost '{}' refused for user '{}'",
            self.rights.vhost, self.user
        );
        broker::Exception::new(ReplyCode::AccessRefused, text).into()
    }
}
