//! Everything that changes the broker, within one commit. Operations check first; then they call primitives, which
//! mutate and record in one call and never refuse.

mod consumers;
mod definitions;
mod delays;
mod departures;
mod duplicates;
mod history;
mod leases;
mod messages;
mod overflow;
mod paging;
mod policies;
mod primitives;
mod replies;
mod returns;
mod streams;
mod timeouts;
mod vhosts;

pub use consumers::Consume;
pub use definitions::{Declared, ExchangeDeclare, QueueDeclare};
pub(crate) use delays::Delayed;
pub use delays::Scheduled;
pub(crate) use leases::LEASES;
pub use leases::{Lease, Peeked};
pub use messages::{Delivery, Got, How, Published};
pub use replies::REPLY_TO;
pub(crate) use replies::Replies;
pub(crate) use returns::Returning;
pub(crate) use timeouts::RETRIES;

use crate::exception::{Exception, shown};
use crate::queue::Queue;
use crate::{Broker, ExchangeId, QueueId, SessionId, UnixMillis, VhostId};
use leveret_amqp::ReplyCode;
use leveret_base::codec::Changes;

/// Exclusive access at one moment, inside one commit.
pub struct Txn<'a> {
    pub(crate) broker: &'a mut Broker,
    pub(crate) now_ms: UnixMillis,
    pub(crate) changes: Changes<'a>,
    /// So many messages may still leave unread in this commit.
    slice: usize,
}

impl<'a> Txn<'a> {
    /// A transaction; its changes go to `changes`.
    pub fn new(broker: &'a mut Broker, now_ms: UnixMillis, changes: Changes<'a>) -> Self {
        Self { broker, now_ms, changes, slice: departures::SLICE }
    }

    fn vhost_name(&self, vhost: VhostId) -> String {
        self.broker.vhosts.get(&vhost).map(|v| shown(&v.name).into_owned()).unwrap_or_default()
    }

    fn exchange_id(&self, vhost: VhostId, name: &[u8]) -> Result<ExchangeId, Exception> {
        self.broker.vhosts.get(&vhost).and_then(|v| v.exchanges.get(name)).copied().ok_or_else(|| {
            Exception::new(
                ReplyCode::NotFound,
                format!("no exchange '{}' in vhost '{}'", shown(name), self.vhost_name(vhost)),
            )
        })
    }

    fn find_queue(&self, vhost: VhostId, name: &[u8]) -> Option<QueueId> {
        self.broker.vhosts.get(&vhost)?.queues.get(name).copied()
    }

    /// The queue, if it is there and not another session's own.
    fn queue_for(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        name: &[u8],
    ) -> Result<&mut Queue, Exception> {
        let vhost_name = self.vhost_name(vhost);
        let missing = || {
            Exception::new(ReplyCode::NotFound, format!("no queue '{}' in vhost '{vhost_name}'", shown(name)))
        };
        let id = self.find_queue(vhost, name).ok_or_else(missing)?;
        let queue = self.broker.queues.get_mut(&id).ok_or_else(missing)?;
        if queue.exclusive.is_some_and(|owner| owner != session) {
            return Err(locked(name, &vhost_name));
        }
        // Using a queue keeps it from expiring.
        if let Some(ms) = queue.meaning.expires_ms {
            queue.expires_at = Some(self.now_ms + ms);
        }
        Ok(queue)
    }
}

pub(crate) fn locked(name: &[u8], vhost: &str) -> Exception {
    Exception::new(
        ReplyCode::ResourceLocked,
        format!(
            "cannot obtain exclusive access to locked queue '{}' in vhost '{vhost}'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.",
            shown(name)
        ),
    )
}
