//! Messages on their way: publish, get, settle, expire.

use super::delays::delay;
use super::departures::Shed;
use super::duplicates::{Known, taken};
use super::{LEASES, Txn};
use crate::arguments::QueueType;
use crate::broker::Vhost;
use crate::built_in::{is_heard, is_own_source};
use crate::change::Change;
use crate::death::Reason;
use crate::exception::{Exception, shown};
use crate::exchange::{Destination, Exchange, Keys};
use crate::queue::Unacked;
use crate::{Broker, ExchangeId, Message, QueueId, SessionId, VhostId};
use leveret_amqp::{Properties, ReplyCode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of a published message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// How many queues took it.
    pub queues: usize,
    /// A durable queue took a persistent message: the confirm waits for the disk.
    pub durable: bool,
    /// A full queue did not take it.
    pub rejected: bool,
    /// It is heard in Redis, if anybody listens there.
    pub told: bool,
}

/// A message got by `basic.get`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where from.
    pub queue: QueueId,
    /// Its number there.
    pub seq: u64,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The message.
    pub message: Arc<Message>,
    /// Ready messages left.
    pub message_count: usize,
}

/// What `basic.get` gives.
#[derive(Debug, Clone)]
pub enum Got {
    /// Nothing is ready.
    Empty,
    /// The first message.
    Message(Delivery),
    /// The first message is being read from the log; then it can be had.
    OnDisk,
}

impl Got {
    fn at_once(self) -> Option<Delivery> {
        match self {
            Got::Empty => None,
            Got::Message(delivery) => Some(delivery),
            Got::OnDisk => panic!("messages are let go of only where somebody fetches them"),
        }
    }
}

/// How a message is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Done.
    Ack,
    /// Back to its place: it has failed, which a quorum queue counts.
    Requeue,
    /// Back to its place as it was. (RabbitMQ: basic.nack, basic.recover)
    Release,
    /// Rejected for good.
    Drop,
}

/// What an exchange does with a message beside routing it.
enum Visit {
    Passed,
    /// It has to wait there.
    Waits,
    /// It stays there, too, for what is bound later.
    Kept,
}

/// Where a message goes from one exchange.
fn visit(
    exchange: &mut Exchange,
    vhosts: &BTreeMap<VhostId, Vhost>,
    routed: u64,
    keys: &Keys<'_>,
    route: &mut Vec<Destination>,
) -> Visit {
    exchange.visited = routed;
    if exchange.delays && delay(keys.headers).is_some() {
        return Visit::Waits;
    }
    let before = route.len();
    exchange.route(keys, route);
    // Only for what its own bindings do not want; a missing one is no mistake. (RabbitMQ: alternate exchanges)
    if route.len() == before
        && let Some(name) = &exchange.alternate
        && let Some(vhost) = vhosts.get(&exchange.vhost)
    {
        route.extend(vhost.exchanges.get(name).copied().map(Destination::Exchange));
    }
    if exchange.history.is_some() { Visit::Kept } else { Visit::Passed }
}

fn each_once(route: &mut Vec<Destination>) {
    if route.len() > 1 {
        route.sort_unstable();
        route.dedup();
    }
}

impl Txn<'_> {
    /// Routes and enqueues; to a queue only once. (AMQP 0-9-1 1.8.3.7)
    pub fn publish(&mut self, vhost: VhostId, message: &Arc<Message>) -> Result<Published, Exception> {
        let mut route = std::mem::take(&mut self.broker.route);
        route.clear();
        let routed = self.route(vhost, message, false, &mut route);
        let published = routed.map(|()| {
            if self.broker.remembers || !self.broker.delaying.is_empty() {
                self.deliver_once(vhost, &route, message)
            } else {
                self.deliver_seen(&route, message, false)
            }
        });
        self.broker.route = route;
        published
    }

    /// Delivers a message as everybody but its publisher sees it; `recorded` says whether the log has it.
    #[inline(always)]
    pub(super) fn deliver_seen(
        &mut self,
        route: &[Destination],
        message: &Arc<Message>,
        recorded: bool,
    ) -> Published {
        let stripped = message.without_bcc().map(Arc::new);
        let recorded = recorded && stripped.is_none();
        let message = stripped.as_ref().unwrap_or(message);
        let mut published = self.deliver(route, message, recorded);
        if route.is_empty() && message.exchange().is_empty() {
            published = self.reply(message);
        }
        published
    }

    /// Likewise, where it may be a duplicate, has to wait, or is kept.
    #[cold]
    fn deliver_once(&mut self, vhost: VhostId, route: &[Destination], message: &Arc<Message>) -> Published {
        let known = self.known_by_exchange(vhost, message);
        if let Known::Duplicate = known {
            return taken(message);
        }
        let waiting = self.broker.delaying.len();
        // With its header BCC: it is routed once more.
        let recorded = self.stop_over(message);
        let mut published = self.deliver_seen(route, message, recorded);
        published.queues += waiting;
        published.durable |= recorded;
        if published.queues > 0 && !published.rejected {
            self.remember_new(&known);
        }
        published
    }

    /// Refuses what `publish` would refuse.
    pub fn check_publish(&mut self, vhost: VhostId, message: &Message) -> Result<(), Exception> {
        self.route(vhost, message, false, &mut Vec::new())
    }

    /// Enqueues in every queue of the route that takes it; `recorded` says whether the log has the message.
    #[inline(always)]
    pub(super) fn deliver(
        &mut self,
        route: &[Destination],
        message: &Arc<Message>,
        mut recorded: bool,
    ) -> Published {
        let mut published = Published::default();
        for &destination in route {
            let id = match destination {
                Destination::Queue(id) => id,
                Destination::Exchange(id) => {
                    published.told |= self.tell(id, message);
                    continue;
                }
            };
            let Some(queue) = self.broker.queues.get(&id) else { continue };
            let (kept, seq) = (queue.keeps(message.persistent), queue.next_seq);
            let (is_limited, has_seen) = (queue.meaning.is_limited(), queue.seen.is_some());
            if queue.stream.is_some() {
                published.queues += 1;
                published.durable |= kept;
                if !has_seen || self.is_new(id, message) {
                    self.append_published(id, message, &mut recorded);
                }
                continue;
            }
            let ttl = [queue.meaning.ttl_ms, message.ttl_ms()].into_iter().flatten().min();
            if is_limited && self.rejects(id, message) {
                published.queues += 1;
                published.rejected = true;
                continue;
            }
            published.queues += 1;
            published.durable |= kept;
            if has_seen && !self.is_new(id, message) {
                continue;
            }
            if kept && !recorded {
                Change::Message(message).record(&mut self.changes);
                recorded = true;
            }
            let deadline = ttl.map_or(0, |ms| self.now_ms.saturating_add(ms));
            self.enqueue(id, seq, deadline, message);
            self.dispatch(id);
            if ttl == Some(0) {
                // Only a consumer that was ready could have it.
                let entry = self.broker.queues.get_mut(&id).and_then(|queue| queue.ready.take(seq));
                if let Some(entry) = entry {
                    self.depart(id, entry, Reason::Expired);
                }
            }
            if is_limited {
                self.broker.crowd(id);
            }
            self.page_out(id);
        }
        published
    }

    /// Where a message goes; an internal exchange takes it only from within.
    #[inline(always)]
    pub(super) fn route(
        &mut self,
        vhost: VhostId,
        message: &Message,
        from_within: bool,
        route: &mut Vec<Destination>,
    ) -> Result<(), Exception> {
        self.broker.delaying.clear();
        self.broker.keeping.clear();
        if message.exchange().is_empty() {
            route.extend(self.find_queue(vhost, message.routing_key()).map(Destination::Queue));
            for key in message.more_keys()? {
                route.extend(self.find_queue(vhost, key).map(Destination::Queue));
            }
            each_once(route);
            return Ok(());
        }
        self.route_by_name(vhost, message, from_within, route)
    }

    fn route_by_name(
        &mut self,
        vhost: VhostId,
        message: &Message,
        from_within: bool,
        route: &mut Vec<Destination>,
    ) -> Result<(), Exception> {
        let id = self.exchange_id(vhost, message.exchange())?;
        let internal = self.broker.exchanges.get(&id).is_some_and(|exchange| exchange.internal);
        if internal && (!from_within || is_own_source(id)) {
            let text = format!(
                "cannot publish to internal exchange '{}' in vhost '{}'",
                shown(message.exchange()),
                self.vhost_name(vhost)
            );
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        self.route_from(id, message, route)
    }

    /// Where a message goes from an exchange, whatever its own is.
    pub(super) fn route_from(
        &mut self,
        id: ExchangeId,
        message: &Message,
        route: &mut Vec<Destination>,
    ) -> Result<(), Exception> {
        let Broker { exchanges, vhosts, routed, delaying, keeping, .. } = &mut *self.broker;
        let Some(exchange) = exchanges.get_mut(&id) else { return Ok(()) };
        delaying.clear();
        keeping.clear();
        let keys = Keys {
            key: message.routing_key(),
            more: message.more_keys()?,
            headers: message.headers(),
            properties: Properties::from_validated(message.properties()),
        };
        *routed += 1;
        match visit(exchange, vhosts, *routed, &keys, route) {
            Visit::Passed => {}
            Visit::Waits => delaying.push(id),
            Visit::Kept => keeping.push(id),
        }
        // Exchanges that exchanges lead to, each once; then each queue once.
        let mut next = 0;
        while let Some(&destination) = route.get(next) {
            next += 1;
            // An alternate exchange may be called as the one that tells of keys, and tells nothing there.
            if let Destination::Exchange(id) = destination
                && !is_own_source(id)
                && let Some(exchange) = exchanges.get_mut(&id)
                && exchange.visited != *routed
            {
                match visit(exchange, vhosts, *routed, &keys, route) {
                    Visit::Passed => {}
                    Visit::Waits => delaying.push(id),
                    Visit::Kept => keeping.push(id),
                }
            }
        }
        if is_heard(id) {
            route.push(Destination::Exchange(id));
        }
        // The exchanges themselves stay in it: some are heard in Redis, the others take nothing.
        each_once(route);
        Ok(())
    }

    /// Takes the first message, where all are in memory. (AMQP 0-9-1 1.8.3.10)
    pub fn get(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        channel: u16,
        queue: &[u8],
        no_ack: bool,
    ) -> Result<Option<Delivery>, Exception> {
        self.get_or_fetch(vhost, session, channel, queue, no_ack).map(Got::at_once)
    }

    /// The queue, if its messages can be got one by one.
    pub(super) fn gettable(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        name: &[u8],
    ) -> Result<QueueId, Exception> {
        let queue = self.queue_for(vhost, session, name)?;
        if queue.stream.is_some() {
            return Err(self.not_of_streams("basic.get", vhost, name));
        }
        let (id, meaning) = (queue.id, &queue.meaning);
        if meaning.single_active && meaning.kind == QueueType::Quorum {
            return Err(Exception::new(
                ReplyCode::ResourceLocked,
                format!(
                    "cannot obtain access to locked queue '{}' in vhost '{}'. basic.get operations are not supported by <<\"quorum\">> queues with single active consumer",
                    shown(name),
                    self.vhost_name(vhost)
                ),
            ));
        }
        Ok(id)
    }

    /// Takes the first message, or asks for it: then the session hears when it can be had.
    pub fn get_or_fetch(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        channel: u16,
        queue: &[u8],
        no_ack: bool,
    ) -> Result<Got, Exception> {
        let id = self.gettable(vhost, session, queue)?;
        let is_on_disk = match self.expire_first(id) {
            Shed::All => self.must_fetch(id),
            Shed::Some => return Ok(Got::Empty),
            Shed::UpToDisk => true,
        };
        if is_on_disk {
            self.get_later(id, session);
            return Ok(Got::OnDisk);
        }
        let Some(queue) = self.broker.queues.get_mut(&id) else { return Ok(Got::Empty) };
        let Some(entry) = queue.ready.pop() else { return Ok(Got::Empty) };
        let kept = queue.keeps(entry.body.is_persistent());
        let (seq, through, message_count) = (entry.seq, queue.delivered_through, queue.ready.len());
        let delivery = Delivery {
            queue: id,
            seq,
            redelivered: entry.redelivered,
            message: entry.delivered(),
            message_count,
        };
        if no_ack {
            self.record_settle(id, kept, &entry);
        } else {
            // A lease says itself when it ends.
            let timeout_ms = queue.meaning.consumer_timeout_ms.filter(|_| session != LEASES);
            let until = queue.held_until(timeout_ms, self.now_ms);
            if queue.hold(Unacked::new(entry, (session, channel), 0, until)) {
                self.broker.note_due(id);
            }
            self.let_go_of_held(id, seq);
            self.hold_in_channel(session, channel, id, seq);
            self.note_delivery(id, seq, through);
        }
        self.fetch_ahead(id);
        Ok(Got::Message(delivery))
    }

    /// Settles an entry that the channel holds; anything else is late and ignored.
    pub fn settle(&mut self, session: SessionId, channel: u16, id: QueueId, seq: u64, how: How) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if !queue.unacked.get(seq).is_some_and(|held| held.session == session && held.channel == channel) {
            return;
        }
        let Some(held) = queue.release(seq) else { return };
        let (consumer, entry) = (held.consumer, held.into_entry());
        if let Some(consumer) = queue.consumers.iter_mut().find(|c| c.id == consumer) {
            consumer.unacked_count = consumer.unacked_count.saturating_sub(1);
        }
        if queue.stream.is_some() {
            // However it is settled: there is room for another. (RabbitMQ: streams)
            self.free_channel(session, channel, id, seq);
            return self.dispatch(id);
        }
        match how {
            How::Ack => {
                let kept = queue.keeps(entry.body.is_persistent());
                self.record_settle(id, kept, &entry);
            }
            // It got its dead letter exchange since it was let go of: it is rejected when it comes next.
            How::Drop if queue.is_unread_letter(&entry) => self.put_back(id, entry, false),
            How::Drop => self.depart(id, entry, Reason::Rejected),
            How::Requeue => self.put_back(id, entry, true),
            How::Release => self.put_back(id, entry, false),
        }
        let limited = self.free_channel(session, channel, id, seq);
        self.dispatch(id);
        if limited {
            // Its limit may have held back its other queues.
            self.dispatch_channel(session, channel);
        }
    }

    /// Removes all ready messages; gives how many. (AMQP 0-9-1 1.7.2.7)
    pub fn queue_purge(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        name: &[u8],
    ) -> Result<usize, Exception> {
        let queue = self.queue_for(vhost, session, name)?;
        if queue.stream.is_some() {
            return Err(self.not_of_streams("queue.purge", vhost, name));
        }
        let id = queue.id;
        Ok(self.purge(id))
    }
}
