//! The primitive changes of the broker.

use super::Txn;
use crate::arguments::{QueueArguments, QueueType};
use crate::body::Body;
use crate::broker::Event;
use crate::change::Change;
use crate::death::Reason;
use crate::entries::{Entries, Entry, Memory, Ready, Returns, Tally};
use crate::exchange::{Binding, Destination, Exchange, Kind};
use crate::queue::{Queue, Unacked};
use crate::seen::Seen;
use crate::stream::Stream;
use crate::{ExchangeId, Message, QueueId, SessionId, VhostId};
use leveret_amqp::Table;
use leveret_base::Sorted;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far ahead deliveries are recorded.
const DELIVERED_AHEAD: u64 = 1024;

impl Txn<'_> {
    /// Primitive: a new exchange.
    #[allow(clippy::too_many_arguments, reason = "the fields of exchange.declare")]
    pub(crate) fn add_exchange(
        &mut self,
        vhost: VhostId,
        id: ExchangeId,
        name: &[u8],
        kind: Kind,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: &[u8],
    ) {
        let mut exchange = Exchange::new(vhost, name, kind, arguments);
        (exchange.durable, exchange.auto_delete, exchange.internal) = (durable, auto_delete, internal);
        self.broker.remembers |= exchange.seen.is_some() || exchange.history.is_some();
        self.broker.next_exchange = self.broker.next_exchange.max(id.0 + 1);
        if exchange.alternate.is_none() && !self.broker.policies.is_empty() {
            let definition = self.broker.policies_of_exchange(&exchange).definition();
            let alternate = definition.as_table().find(b"alternate-exchange");
            exchange.alternate = alternate.and_then(|value| value.as_longstr()).map(Box::from);
        }
        self.broker.exchanges.insert(id, exchange);
        if let Some(vhost) = self.broker.vhosts.get_mut(&vhost) {
            vhost.exchanges.insert(name.into(), id);
        }
        if durable {
            Change::ExchangeDeclare { vhost, id, name, kind, auto_delete, internal, arguments }
                .record(&mut self.changes);
        }
    }

    /// Primitive: removes an exchange with all bindings from and to it.
    pub(crate) fn remove_exchange(&mut self, id: ExchangeId) {
        let sources = self.take_exchange(id);
        self.remove_bindings_to(Destination::Exchange(id), sources);
    }

    /// Removes an exchange with all bindings from it; gives the exchanges that have bindings to it.
    fn take_exchange(&mut self, id: ExchangeId) -> BTreeSet<ExchangeId> {
        let Some(mut exchange) = self.broker.exchanges.remove(&id) else { return BTreeSet::new() };
        if let Some(history) = exchange.history.take() {
            let messages = history.len();
            self.broker.garbage.put(history, messages);
        }
        if let Some(vhost) = self.broker.vhosts.get_mut(&exchange.vhost) {
            vhost.exchanges.remove(&exchange.name);
        }
        if exchange.durable {
            Change::ExchangeDelete { id }.record(&mut self.changes);
        }
        for destination in exchange.destinations() {
            if let Some(bound_from) = self.bound_from(destination) {
                bound_from.remove(&id);
            }
        }
        exchange.bound_from
    }

    /// The exchanges that have bindings to a destination.
    fn bound_from(&mut self, destination: Destination) -> Option<&mut BTreeSet<ExchangeId>> {
        match destination {
            Destination::Queue(id) => self.broker.queues.get_mut(&id).map(|queue| &mut queue.bound_from),
            Destination::Exchange(id) => {
                self.broker.exchanges.get_mut(&id).map(|exchange| &mut exchange.bound_from)
            }
        }
    }

    /// Primitive: a new queue.
    #[allow(clippy::too_many_arguments, reason = "the fields of queue.declare")]
    pub(crate) fn add_queue(
        &mut self,
        vhost: VhostId,
        id: QueueId,
        name: &[u8],
        durable: bool,
        exclusive: Option<SessionId>,
        auto_delete: bool,
        arguments: &[u8],
    ) {
        let meaning = QueueArguments::of(Table::from_validated(arguments));
        let queue = Queue {
            id,
            vhost,
            name: name.into(),
            durable,
            exclusive,
            auto_delete,
            arguments: arguments.into(),
            seen: Seen::from_arguments(Table::from_validated(arguments)).ok().flatten().map(Box::new),
            ready: Entries::new(meaning.priority_max, &self.broker.in_memory),
            stream: (meaning.kind == QueueType::Stream)
                .then(|| Box::new(Stream::new(&self.broker.in_memory))),
            unacked: Sorted::default(),
            unacked_bytes: 0,
            held_memory: Memory::new(&self.broker.in_memory),
            held_away: Tally::default(),
            leased_until: BTreeSet::new(),
            timeouts: BTreeMap::new(),
            retrying: Tally::default(),
            next_seq: 1,
            delivered_through: 0,
            consumers: Vec::new(),
            turn: 0,
            is_awaited: false,
            active: None,
            expires_at: meaning.expires_ms.map(|ms| self.now_ms + ms),
            meaning,
            walk: None,
            bound_from: BTreeSet::new(),
        };
        if queue.is_logged() {
            Change::QueueDeclare { vhost, id, name, auto_delete, arguments }.record(&mut self.changes);
        }
        self.broker.next_queue = self.broker.next_queue.max(id.0 + 1);
        if let Some(session) = exclusive {
            self.broker.owned.entry(session).or_default().queues.push(id);
        }
        self.broker.queues.insert(id, queue);
        if let Some(vhost) = self.broker.vhosts.get_mut(&vhost) {
            vhost.queues.insert(name.into(), id);
        }
        if !self.broker.policies.is_empty() {
            self.follow_policies_of_queue(id);
        }
        self.broker.note_due(id);
    }

    /// Primitive: removes a queue with its messages and bindings; its consumers hear of it.
    pub(crate) fn remove_queue(&mut self, id: QueueId) {
        let Some(mut queue) = self.broker.queues.remove(&id) else { return };
        if let Some(vhost) = self.broker.vhosts.get_mut(&queue.vhost) {
            vhost.queues.remove(&*queue.name);
        }
        if queue.is_awaited {
            self.broker.note_filled(id);
        }
        for consumer in &queue.consumers {
            let event = Event::Cancel { channel: consumer.channel, consumer_tag: consumer.tag.clone() };
            self.broker.events.push((consumer.session, event));
        }
        for consumer in &queue.consumers {
            if let Some(channel) = self.broker.channels.get_mut(&(consumer.session, consumer.channel)) {
                channel.consumers.remove(&consumer.tag);
            }
        }
        for unacked in queue.unacked.iter() {
            self.free_channel(unacked.session, unacked.channel, id, unacked.seq);
        }
        if let Some(owned) = queue.exclusive.and_then(|session| self.broker.owned.get_mut(&session)) {
            owned.queues.retain(|own| *own != id);
        }
        if queue.is_logged() {
            Change::QueueDelete { id }.record(&mut self.changes);
        }
        let sources = std::mem::take(&mut queue.bound_from);
        let queue = match &mut self.broker.checkpoint {
            Some(checkpoint) => checkpoint.removed(queue),
            None => Some(queue),
        };
        if let Some(queue) = queue {
            let entries = queue.ready_counts().0 + queue.unacked.len();
            self.broker.garbage.put(queue, entries);
        }
        self.remove_bindings_to(Destination::Queue(id), sources);
    }

    /// Bindings go with what they lead to; replay does the same, so they need no changes of their own.
    /// Exchanges that go with them have one: bindings to what is transient keep them, and replay does not know those.
    /// An auto-delete exchange goes with its last binding, and so on up a chain of any length.
    fn remove_bindings_to(&mut self, destination: Destination, sources: BTreeSet<ExchangeId>) {
        let is_replay = self.is_replay();
        let mut gone = vec![(destination, sources)];
        while let Some((destination, sources)) = gone.pop() {
            for id in sources {
                let Some(exchange) = self.broker.exchanges.get_mut(&id) else { continue };
                exchange.unbind_all(destination);
                self.broker.note_bindings(id);
                let Some(exchange) = self.broker.exchanges.get(&id) else { continue };
                if exchange.auto_delete && exchange.is_unused() && !is_replay {
                    let sources = self.take_exchange(id);
                    gone.push((Destination::Exchange(id), sources));
                }
            }
        }
    }

    /// True while the log is applied.
    fn is_replay(&mut self) -> bool {
        self.changes.buffer().is_none()
    }

    /// Primitive: a binding; false when it is there.
    pub(crate) fn add_binding(&mut self, source: ExchangeId, binding: &Binding) -> bool {
        let logged = self.broker.is_logged(binding.destination)
            && self.broker.is_logged(Destination::Exchange(source));
        // A binding to nothing would never go.
        if self.bound_from(binding.destination).is_none() {
            return false;
        }
        let Some(exchange) = self.broker.exchanges.get_mut(&source) else { return false };
        if !exchange.bind(binding) {
            return false;
        }
        if logged {
            Change::Bind { source, binding }.record(&mut self.changes);
        }
        if let Some(bound_from) = self.bound_from(binding.destination) {
            bound_from.insert(source);
        }
        self.broker.note_bindings(source);
        true
    }

    /// Primitive: removes a binding, if it is there.
    pub(crate) fn remove_binding(&mut self, source: ExchangeId, binding: &Binding) {
        let is_replay = self.is_replay();
        let logged = self.broker.is_logged(binding.destination)
            && self.broker.is_logged(Destination::Exchange(source));
        let Some(exchange) = self.broker.exchanges.get_mut(&source) else { return };
        if !exchange.unbind(binding) {
            return;
        }
        // Its going is a change of its own.
        let goes = exchange.auto_delete && exchange.is_unused() && !is_replay;
        let is_last = !exchange.leads_to(binding.destination);
        if logged {
            Change::Unbind { source, binding }.record(&mut self.changes);
        }
        self.broker.note_bindings(source);
        if is_last && let Some(bound_from) = self.bound_from(binding.destination) {
            bound_from.remove(&source);
        }
        if goes {
            self.remove_exchange(source);
        }
    }

    /// Primitive: a message at the end of a queue. The caller has recorded the message itself.
    #[inline]
    pub(crate) fn enqueue(&mut self, id: QueueId, seq: u64, deadline: u64, message: &Arc<Message>) {
        self.enqueue_as(id, seq, deadline, Body::Here(message.clone()));
    }

    /// Likewise, wherever its message is.
    #[inline]
    pub(crate) fn enqueue_as(&mut self, id: QueueId, seq: u64, deadline: u64, body: Body) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        queue.next_seq = queue.next_seq.max(seq + 1);
        if queue.keeps(body.is_persistent()) {
            Change::Enqueue { queue: id, seq, deadline }.record(&mut self.changes);
        }
        let redelivered = self.broker.delivers_again;
        queue.ready.push(Entry { redelivered, ..Entry::new(seq, body, deadline) });
        if deadline != 0 {
            self.broker.note_due(id);
        }
    }

    /// Primitive: all ready entries leave the queue; gives how many. What was handed out stays, which the record says:
    /// after a restart it would be ready.
    pub(crate) fn purge(&mut self, id: QueueId) -> usize {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return 0 };
        let (count, retrying) = (queue.ready.len(), queue.retrying_seqs());
        for seq in &retrying {
            self.settle_ready(id, *seq);
        }
        if count == 0 {
            return retrying.len();
        }
        let Some(queue) = self.broker.queues.get_mut(&id) else { return 0 };
        if queue.is_logged() {
            let is_logged = |held: &&Unacked| queue.keeps(held.body.is_persistent());
            let kept: Vec<u64> = queue.unacked.iter().filter(is_logged).map(|held| held.seq).collect();
            Change::Purge { queue: id, through: queue.next_seq - 1, kept: &kept }.record(&mut self.changes);
        }
        let gone = queue.ready.take_all();
        let gone = match &mut self.broker.checkpoint {
            Some(checkpoint) => checkpoint.purged(queue, gone),
            None => Some(gone),
        };
        if let Some(gone) = gone {
            self.broker.garbage.put(gone, count);
        }
        count + retrying.len()
    }

    /// Replay of a purge.
    pub(crate) fn purge_but(&mut self, id: QueueId, through: u64, kept: &BTreeSet<u64>) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        // What waited may have waited long enough before.
        for seq in queue.retrying_seqs() {
            if seq <= through && !kept.contains(&seq) {
                queue.release(seq);
            }
        }
        let mut before = queue.ready.take_all();
        while let Some(entry) = before.pop() {
            if entry.seq > through || kept.contains(&entry.seq) {
                queue.ready.push(entry);
            }
        }
    }

    /// Primitive: a key is remembered, so that the same does not come twice.
    pub(crate) fn remember(&mut self, by: Destination, key: &[u8], until: u64, kept: bool) {
        let seen = match by {
            Destination::Queue(id) => self.broker.queues.get_mut(&id).and_then(|queue| queue.seen.as_mut()),
            Destination::Exchange(id) => {
                self.broker.exchanges.get_mut(&id).and_then(|exchange| exchange.seen.as_mut())
            }
        };
        let Some(seen) = seen else { return };
        seen.insert(key, until);
        if kept {
            Change::Seen { by, key, until }.record(&mut self.changes);
        }
    }

    /// Primitive: an entry that nobody holds leaves the queue.
    pub(crate) fn settle_ready(&mut self, id: QueueId, seq: u64) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if let Some(entry) = queue.take_unheld(seq) {
            let kept = queue.keeps(entry.body.is_persistent());
            self.record_settle(id, kept, &entry);
        }
    }

    /// Primitive: an entry comes back; where that is counted, and it has failed, it may have been once too often.
    pub(crate) fn put_back(&mut self, id: QueueId, mut entry: Entry, failed: bool) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if queue.stream.is_some() {
            // It was never away.
            return;
        }
        if queue.meaning.kind == QueueType::Quorum {
            if let Some(walk) = &mut queue.walk
                && let Some(checkpoint) = &mut self.broker.checkpoint
            {
                checkpoint.changes(id, walk, Ready::of(&entry));
            }
            let count = if failed { &mut entry.returns.failed } else { &mut entry.returns.released };
            *count = count.saturating_add(1);
            // What must be read first has another chance: then it is in memory.
            if queue.meaning.delivery_limit.is_some_and(|limit| failed && entry.returns.failed > limit)
                && !queue.is_unread_letter(&entry)
            {
                return self.depart(id, entry, Reason::DeliveryLimit);
            }
            if queue.keeps(entry.body.is_persistent()) {
                let (seq, returns) = (entry.seq, entry.returns);
                Change::Returned { queue: id, seq, returns }.record(&mut self.changes);
            }
            let retry = queue.meaning.delayed_retry;
            if let Some(ms) = retry.and_then(|retry| retry.delay_ms(failed, entry.returns.failed)) {
                return self.retry_at(id, entry, self.now_ms.saturating_add(ms));
            }
        }
        let (has_deadline, is_limited) = (entry.deadline != 0, queue.meaning.is_limited());
        queue.ready.put_back(entry);
        if has_deadline {
            self.broker.note_due(id);
        }
        if is_limited {
            self.broker.crowd(id);
        }
    }

    /// Replay of what was counted when an entry came back.
    pub(crate) fn count_returns(&mut self, id: QueueId, seq: u64, returns: Returns) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if let Some(mut entry) = queue.take_unheld(seq) {
            entry.returns = returns;
            queue.ready.put_back(entry);
        }
    }

    pub(crate) fn record_settle(&mut self, queue: QueueId, kept: bool, entry: &Entry) {
        if kept {
            Change::Settle { queue, seq: entry.seq }.record(&mut self.changes);
            if let Some(checkpoint) = &mut self.broker.checkpoint
                && let Some(walk) = self.broker.queues.get(&queue).and_then(|queue| queue.walk.as_ref())
            {
                checkpoint.leaves(queue, walk, entry);
            }
        }
    }

    /// Primitive: entries up to this number count as delivered after a restart.
    pub(crate) fn deliver_through(&mut self, id: QueueId, seq: u64) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if seq > queue.delivered_through {
            queue.delivered_through = seq;
            if queue.is_logged() {
                Change::DeliveredThrough { queue: id, seq }.record(&mut self.changes);
            }
        }
    }

    /// Records ahead, so that one delivery in many records anything.
    pub(crate) fn note_delivery(&mut self, id: QueueId, seq: u64, through: u64) {
        if seq > through {
            self.deliver_through(id, seq + DELIVERED_AHEAD);
        }
    }

    /// The channel holds one entry of the queue less; true when it has a limit of its own.
    pub(crate) fn free_channel(
        &mut self,
        session: SessionId,
        channel: u16,
        queue: QueueId,
        seq: u64,
    ) -> bool {
        let Some(channel) = self.broker.channels.get_mut(&(session, channel)) else { return false };
        channel.unacked_count = channel.unacked_count.saturating_sub(1);
        if let Some(place) = channel.holds.iter().position(|(id, _)| *id == queue) {
            let seqs = &mut channel.holds[place].1;
            seqs.remove(seq);
            if seqs.is_empty() {
                channel.holds.swap_remove(place);
            }
        }
        channel.prefetch > 0
    }
}
