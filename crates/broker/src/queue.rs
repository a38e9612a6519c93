//! One queue: entries in order of their numbers, the ones handed out, and the consumers. An entry's number is its
//! place: what comes back goes back there.

use crate::arguments::{Overflow, QueueArguments, QueueType};
use crate::body::{Away, Body, BodyRef, PageOut, Refuge};
use crate::checkpoint::Walk;
use crate::cursor::Cursor;
use crate::entries::{Entries, Entry, Memory, Ready, Returns, Tally};
use crate::seen::Seen;
use crate::stream::Stream;
use crate::txn::{LEASES, RETRIES};
use crate::{ExchangeId, QueueId, SessionId, UnixMillis, VhostId};
use leveret_base::codec::Place;
use leveret_base::{Keyed, Sorted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An entry that somebody holds. There are as many as consumers do not acknowledge, so it leaves no room unused: the fields of an
/// [`Entry`], and who holds it.
pub(crate) struct Unacked {
    pub(crate) seq: u64,
    pub(crate) body: Body,
    deadline: UnixMillis,
    read_in: u32,
    returns: Returns,
    redelivered: bool,
    pub(crate) channel: u16,
    pub(crate) session: SessionId,
    /// The consumer it was delivered to, or the number of the lease; 0 for `basic.get`.
    pub(crate) consumer: u64,
    /// Until when it may be held; 0 is for ever.
    pub(crate) until: UnixMillis,
}

const _: () = assert!(size_of::<Unacked>() == 80, "64 of them fill what an allocator gives");

impl Keyed for Unacked {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        self.seq
    }
}

impl Unacked {
    /// An entry is handed out.
    #[inline]
    pub(crate) fn new(
        entry: Entry,
        (session, channel): (SessionId, u16),
        consumer: u64,
        until: UnixMillis,
    ) -> Self {
        let Entry { seq, body, redelivered, returns, deadline, read_in } = entry;
        Self { seq, body, deadline, read_in, returns, redelivered, channel, session, consumer, until }
    }

    /// The entry, which nobody holds any more.
    #[inline]
    pub(crate) fn into_entry(self) -> Entry {
        let Self { seq, body, deadline, read_in, returns, redelivered, .. } = self;
        Entry { seq, body, redelivered, returns, deadline, read_in }
    }

    /// The entry, looked at.
    pub(crate) fn entry(&self) -> Ready<'_> {
        let Self { seq, ref body, deadline, returns, .. } = *self;
        let retry_at = if self.session == RETRIES { self.until } else { 0 };
        Ready { seq, body: body.as_ref(), returns, deadline, retry_at }
    }
}

/// So many times what stays at the head of a queue stays in memory of what consumers hold, if it had to be spilled.
const HELD_HEADS: u64 = 16;

/// So many different times there are at most in the time that a message may be held, or twice as many.
const TIMEOUT_STEPS: u64 = 128;

/// A subscription.
pub(crate) struct Consumer {
    /// Never used twice: what comes late finds nobody.
    pub(crate) id: u64,
    pub(crate) session: SessionId,
    pub(crate) channel: u16,
    pub(crate) tag: Arc<[u8]>,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    /// 0 is no limit.
    pub(crate) prefetch: u16,
    pub(crate) priority: i64,
    /// How long it may hold a message, in place of what its queue says.
    pub(crate) timeout_ms: Option<u64>,
    /// Its client can be told that it is over.
    pub(crate) hears_cancel: bool,
    pub(crate) unacked_count: usize,
    /// Where it stands in a stream.
    pub(crate) cursor: Option<Box<Cursor>>,
}

impl Consumer {
    /// True unless its own limit is reached.
    pub(crate) fn is_free(&self) -> bool {
        self.no_ack || self.prefetch == 0 || self.unacked_count < self.prefetch as usize
    }
}

/// One queue.
pub(crate) struct Queue {
    pub(crate) id: QueueId,
    pub(crate) vhost: VhostId,
    pub(crate) name: Arc<[u8]>,
    pub(crate) durable: bool,
    /// The session it belongs to.
    pub(crate) exclusive: Option<SessionId>,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: Box<[u8]>,
    pub(crate) meaning: QueueArguments,
    /// What it has seen, if it takes nothing twice.
    pub(crate) seen: Option<Box<Seen>>,
    /// What nobody holds.
    pub(crate) ready: Entries,
    /// What a stream keeps, in place of ready entries.
    pub(crate) stream: Option<Box<Stream>>,
    /// What somebody holds.
    pub(crate) unacked: Sorted<Unacked>,
    /// Bytes of the bodies in it.
    pub(crate) unacked_bytes: u64,
    /// What of it is in memory.
    pub(crate) held_memory: Memory,
    /// How many are not, and the bytes of their bodies.
    pub(crate) held_away: Tally,
    /// When leases and waits end, and of which entries.
    pub(crate) leased_until: BTreeSet<(UnixMillis, u64)>,
    /// Until when channels may hold entries, and how many until then.
    pub(crate) timeouts: BTreeMap<UnixMillis, usize>,
    /// What of all that is held waits to come again.
    pub(crate) retrying: Tally,
    pub(crate) next_seq: u64,
    /// Entries up to this number may have been delivered before a restart; recorded ahead.
    pub(crate) delivered_through: u64,
    pub(crate) consumers: Vec<Consumer>,
    /// Whose turn it is.
    pub(crate) turn: usize,
    /// The only one that is served, of a queue with a single active consumer.
    pub(crate) active: Option<u64>,
    /// Somebody who does not consume waits for messages.
    pub(crate) is_awaited: bool,
    /// When the queue goes, while nobody uses it.
    pub(crate) expires_at: Option<UnixMillis>,
    /// A checkpoint's walk through its entries.
    pub(crate) walk: Option<Box<Walk>>,
    /// The exchanges that have bindings to it.
    pub(crate) bound_from: BTreeSet<ExchangeId>,
}

impl Queue {
    pub(crate) fn is_logged(&self) -> bool {
        self.durable && self.exclusive.is_none()
    }

    /// Until when a channel may hold what it is given now, if its consumer may for so long; 0 is for ever. A little later, so that
    /// few different times are known of a long queue.
    #[inline]
    pub(crate) fn held_until(&self, timeout_ms: Option<u64>, now_ms: UnixMillis) -> UnixMillis {
        match timeout_ms {
            None => 0,
            Some(ms) => now_ms.saturating_add(ms).next_multiple_of((ms / TIMEOUT_STEPS).next_power_of_two()),
        }
    }

    /// An entry is handed out; true if it is to come back when nothing else is.
    #[inline]
    pub(crate) fn hold(&mut self, held: Unacked) -> bool {
        let mut is_due = false;
        if held.session == RETRIES {
            self.retrying.len += 1;
            self.retrying.bytes += held.body.len();
            self.leased_until.insert((held.until, held.seq));
        } else if held.until != 0 {
            let count = self.timeouts.entry(held.until).or_default();
            *count += 1;
            is_due = *count == 1;
        }
        self.unacked_bytes += held.body.len();
        if self.stream.is_none() {
            match held.body.as_ref() {
                BodyRef::Here(message) => self.held_memory.add(message.size() as u64),
                // What comes back and waits may have been let go of before.
                BodyRef::Away(away) => {
                    self.held_away.len += 1;
                    self.held_away.bytes += u64::from(away.body_len);
                }
            }
        }
        self.unacked.insert(held);
        is_due
    }

    /// It is not held until then any more.
    #[inline]
    pub(crate) fn forget_until(&mut self, session: SessionId, until: UnixMillis, seq: u64) {
        if until == 0 {
            return;
        }
        if session == LEASES || session == RETRIES {
            self.leased_until.remove(&(until, seq));
        } else if let Some(count) = self.timeouts.get_mut(&until) {
            *count -= 1;
            if *count == 0 {
                self.timeouts.remove(&until);
            }
        }
    }

    /// An entry is held no more.
    #[inline]
    pub(crate) fn release(&mut self, seq: u64) -> Option<Unacked> {
        let held = self.unacked.remove(seq)?;
        self.unacked_bytes -= held.body.len();
        if held.session == RETRIES {
            self.retrying.len -= 1;
            self.retrying.bytes -= held.body.len();
        }
        if self.stream.is_none() {
            match held.body.as_ref() {
                BodyRef::Here(message) => self.held_memory.subtract(message.size() as u64),
                BodyRef::Away(away) => {
                    self.held_away.len -= 1;
                    self.held_away.bytes -= u64::from(away.body_len);
                }
            }
        }
        self.forget_until(held.session, held.until, seq);
        Some(held)
    }

    /// Takes out an entry that nobody holds, whether or not it waits.
    pub(crate) fn take_unheld(&mut self, seq: u64) -> Option<Entry> {
        if let Some(entry) = self.ready.take(seq) {
            return Some(entry);
        }
        self.unacked.get(seq).filter(|held| held.session == RETRIES)?;
        self.release(seq).map(Unacked::into_entry)
    }

    /// The numbers of the entries that wait.
    pub(crate) fn retrying_seqs(&self) -> Vec<u64> {
        if self.retrying.len == 0 {
            return Vec::new();
        }
        self.unacked.iter().filter(|held| held.session == RETRIES).map(|held| held.seq).collect()
    }

    /// Lets go of the message of an entry that is held, if that may go.
    pub(crate) fn let_go_of_held(&mut self, seq: u64, may: PageOut<'_>) {
        let Some(held) = self.unacked.get_mut(seq) else { return };
        let Body::Here(message) = &held.body else { return };
        let gone = match may.refuge(message, held.read_in) {
            Some(Refuge::Log(place)) => Some((place, None)),
            // What comes back soon would be written again and again.
            Some(Refuge::Spill) if self.held_memory.bytes() > may.head_bytes * HELD_HEADS => {
                may.spill.and_then(|spill| spill.add_one(message)).map(|(place, run)| (place, Some(run)))
            }
            Some(Refuge::Spill) | None => None,
        };
        let Some((place, run)) = gone else { return };
        let Some(away) = Away::of(message, place) else { return };
        self.held_memory.subtract(message.size() as u64);
        self.held_away.len += 1;
        self.held_away.bytes += u64::from(away.body_len);
        held.body = Body::away(away, run);
    }

    /// True when a message is there that is only on disk, at this place.
    pub(crate) fn is_away_at(&self, seq: u64, place: Place) -> bool {
        let is_there = |body: BodyRef<'_>| matches!(body, BodyRef::Away(away) if away.place == place);
        match &self.stream {
            Some(stream) => stream.entry(seq).is_some_and(|kept| is_there(kept.body)),
            None => self.ready.between(seq, seq + 1).any(|entry| is_there(entry.body)),
        }
    }

    /// True when an entry becomes a letter if it leaves, and cannot yet because its message must be read first.
    pub(crate) fn is_unread_letter(&self, entry: &Entry) -> bool {
        self.meaning.dead_letters.is_some() && entry.body.here().is_none()
    }

    /// When something has to be done about it.
    pub(crate) fn next_due(&self) -> Option<UnixMillis> {
        let message = self.ready.next_deadline().map(|(at, _)| at);
        let leased = self.leased_until.first().map(|(at, _)| *at);
        let held = self.timeouts.first_key_value().map(|(at, _)| *at);
        let stream = self.stream.as_ref().and_then(|stream| stream.next_due(&self.meaning.retention));
        message.into_iter().chain(leased).chain(held).chain(self.expires_at).chain(stream).min()
    }

    /// Messages that are ready, or all that a stream keeps, and the bytes they have.
    pub(crate) fn ready_counts(&self) -> (usize, u64) {
        match &self.stream {
            Some(stream) => (stream.len(), stream.bytes()),
            None => (self.ready.len(), self.ready.bytes()),
        }
    }

    /// Messages that wait for an acknowledgement; a stream waits for none. (RabbitMQ: streams)
    pub(crate) fn unacked_count(&self) -> usize {
        if self.stream.is_some() { 0 } else { self.unacked.len() - self.retrying.len }
    }

    /// Whether the log has such a message of this queue. (RabbitMQ: quorum queues and streams keep transient ones, too)
    pub(crate) fn keeps(&self, is_persistent: bool) -> bool {
        self.is_logged() && (is_persistent || self.keeps_all())
    }

    /// Whether transient messages are messages like others.
    pub(crate) fn keeps_all(&self) -> bool {
        self.meaning.kind != QueueType::Classic
    }

    /// What counts towards its limits: what is ready, and what waits to come again.
    fn tally(&self) -> Tally {
        Tally { len: self.ready.len() + self.retrying.len, bytes: self.ready.bytes() + self.retrying.bytes }
    }

    /// True when one more body of that size does not fit.
    pub(crate) fn would_overflow(&self, bytes: usize) -> bool {
        self.would_overflow_after(0, 0, bytes)
    }

    /// Likewise, after so many messages and bytes more.
    pub(crate) fn would_overflow_after(&self, count_before: u64, bytes_before: u64, bytes: usize) -> bool {
        let meaning = &self.meaning;
        let Tally { len, bytes: bytes_there } = self.tally();
        meaning.length_max.is_some_and(|max| len as u64 + count_before >= max)
            || meaning.bytes_max.is_some_and(|max| bytes_there + bytes_before + bytes as u64 > max)
    }

    /// True when its head must go.
    pub(crate) fn is_overfull(&self) -> bool {
        let meaning = &self.meaning;
        if let Some(stream) = &self.stream {
            return stream.is_overfull(&meaning.retention);
        }
        let Tally { len, bytes } = self.tally();
        meaning.overflow == Overflow::DropHead
            && !self.ready.is_empty()
            && (meaning.length_max.is_some_and(|max| len as u64 > max)
                || meaning.bytes_max.is_some_and(|max| bytes > max))
    }

    /// True when its first entry's time is over. One whose time is up this very moment may still be had.
    pub(crate) fn is_first_expired(&self, now_ms: UnixMillis) -> bool {
        self.ready.next_deadline().is_some_and(|(at, _)| at < now_ms)
            && self.ready.first().is_some_and(|entry| entry.deadline != 0 && entry.deadline < now_ms)
    }

    /// Chooses who is served, if it is one only.
    pub(crate) fn choose_active(&mut self) {
        if self.meaning.single_active {
            self.active_consumer();
        }
    }

    /// How many entries its consumers would take now by their own limits.
    pub(crate) fn credit(&self) -> u64 {
        let of_one = |consumer: &Consumer| match consumer.no_ack || consumer.prefetch == 0 {
            true => u64::from(u32::MAX),
            false => (consumer.prefetch as usize).saturating_sub(consumer.unacked_count) as u64,
        };
        self.consumers.iter().map(of_one).sum()
    }

    /// The consumer that gets the next entry: of those with credit the highest priority, in turn.
    pub(crate) fn next_consumer(&mut self, has_credit: impl Fn(&Consumer) -> bool) -> Option<usize> {
        let only = if self.meaning.single_active { self.active_consumer() } else { None };
        if only.is_some_and(|only| self.is_giving_way(only)) {
            return None;
        }
        let count = self.consumers.len();
        let mut best: Option<usize> = None;
        for i in 0..count {
            let i = (self.turn + i) % count;
            let consumer = &self.consumers[i];
            if only.is_none_or(|only| only == i)
                && consumer.is_free()
                && best.is_none_or(|best| consumer.priority > self.consumers[best].priority)
                && has_credit(consumer)
            {
                best = Some(i);
            }
        }
        if let Some(best) = best {
            self.turn = (best + 1) % count;
        }
        best
    }

    /// True for the consumer of a quorum queue that is served and has a lower priority than another: that one's turn comes when all
    /// that was delivered is settled. (RabbitMQ: rabbit_fifo, quiescing)
    fn is_giving_way(&self, active: usize) -> bool {
        self.meaning.kind == QueueType::Quorum
            && self.consumers.get(active).is_some_and(|active| {
                self.consumers.iter().any(|consumer| consumer.priority > active.priority)
            })
    }

    /// The one that is served, chosen when there is none: the first of the highest priority.
    #[cold]
    fn active_consumer(&mut self) -> Option<usize> {
        if let Some(i) = self.consumers.iter().position(|consumer| Some(consumer.id) == self.active)
            && (self.consumers[i].unacked_count > 0 || !self.is_giving_way(i))
        {
            return Some(i);
        }
        let all = self.consumers.iter().enumerate();
        let (i, chosen) = all.min_by_key(|(i, consumer)| (std::cmp::Reverse(consumer.priority), *i))?;
        self.active = Some(chosen.id);
        Some(i)
    }
}
