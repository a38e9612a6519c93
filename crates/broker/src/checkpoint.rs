//! The broker as it was at one moment, handed over in slices while it goes on changing; as changes, so that reading a
//! checkpoint is replay.
//!
//! Definitions are small and handed over at the beginning. Messages are walked queue by queue, in the order of their
//! numbers. An entry's number is its place for ever, so a number tells all that must be known: below the walk's place it
//! was handed over, from the limit on it came later, and between them it is handed over before it leaves. What leaves in
//! large amounts (a queue, what is purged, old segments of a stream) is kept aside until the walk is through it.
//!
//! A message that only the log has is handed over by its name, and the log keeps it. From the beginning of a checkpoint on
//! no other message that was there is let go of: what was handed over as a whole has no place in the log any more when that
//! is trimmed (`Broker::in_log_after`).
//!
//! A message in several queues is handed over once and named, so that it is one again when it is read.

mod restore;

use crate::body::BodyRef;
use crate::broker::Broker;
use crate::built_in::is_built_in;
use crate::change::Change;
use crate::entries::{Entries, Entry, Ready, Returns};
use crate::exchange::{Binding, Destination};
use crate::queue::{Queue, Unacked};
use crate::stream::{Kept, Segment};
use crate::txn::Delayed;
use crate::{Message, QueueId, UnixMillis};
use foldhash::fast::FixedState;
use leveret_base::codec::{Changes, Name};
use leveret_base::{Keyed, Sorted};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A walk through the entries of a queue, or the messages of a stream.
#[derive(Default)]
pub(crate) struct Walk {
    /// What lies below was handed over.
    next: u64,
    /// From here on everything came later.
    limit: u64,
    /// Handed over out of turn.
    handed: BTreeSet<u64>,
}

impl Walk {
    #[inline]
    pub(crate) fn is_ahead(&self, seq: u64) -> bool {
        (self.next..self.limit).contains(&seq)
    }

    /// The place is behind these.
    fn come_to(&mut self, next: u64) {
        self.next = next;
        while self.handed.first().is_some_and(|seq| *seq < next) {
            self.handed.pop_first();
        }
    }
}

/// What has gone from a queue before the walk was through it.
enum Gone {
    Entries { queue: QueueId, keeps_all: bool, ready: Box<Entries>, unacked: Sorted<Unacked>, walk: Walk },
    Segments { queue: QueueId, segments: Vec<Segment>, walk: Walk },
}

/// A checkpoint of the broker on its way.
#[derive(Default)]
pub(crate) struct Checkpoint {
    /// Changes that nobody has taken yet.
    out: Vec<u8>,
    /// Messages that those changes have by name only.
    names: Vec<Name>,
    queues: Vec<QueueId>,
    gone: VecDeque<Gone>,
    /// Where the walk through what waits in exchanges goes on, and where it ends.
    delayed_next: Option<(UnixMillis, u64)>,
    delayed_limit: u64,
    /// Messages with names, by where they lie; they stay until the end, so that nothing else comes to lie there.
    named: HashMap<usize, (u64, Arc<Message>), FixedState>,
}

/// Entries between two looks at how much was handed over: numbers, whether or not they are there.
const WINDOW: u64 = 128;
/// Windows in a slice.
const WINDOWS_MAX: usize = 40;

impl Checkpoint {
    fn message(&mut self, message: &Arc<Message>) {
        if Arc::strong_count(message) == 1 {
            return Change::Message(message).record(&mut Changes::on(&mut self.out));
        }
        let number = self.named.len() as u64;
        let (number, _) = match self.named.entry(Arc::as_ptr(message).addr()) {
            std::collections::hash_map::Entry::Occupied(known) => {
                let number = known.get().0;
                return Change::MessageAgain { number }.record(&mut Changes::on(&mut self.out));
            }
            std::collections::hash_map::Entry::Vacant(place) => place.insert((number, message.clone())),
        };
        let number = *number;
        Change::Message(message).record(&mut Changes::on(&mut self.out));
        Change::MessageNamed { number }.record(&mut Changes::on(&mut self.out));
    }

    fn entry(&mut self, queue: QueueId, entry: Ready<'_>) {
        let Ready { seq, body, returns, deadline, retry_at } = entry;
        match body {
            BodyRef::Here(message) => {
                self.message(message);
                Change::Enqueue { queue, seq, deadline }.record(&mut Changes::on(&mut self.out));
            }
            BodyRef::Away(away) => {
                self.names.push(Name { place: away.place, bytes: away.body_len });
                Change::EnqueueAway { queue, seq, deadline, away }.record(&mut Changes::on(&mut self.out));
            }
        }
        let changes = &mut Changes::on(&mut self.out);
        if returns != Returns::NONE {
            Change::Returned { queue, seq, returns }.record(changes);
        }
        if retry_at > 0 {
            Change::RetryAt { queue, seq, until: retry_at }.record(changes);
        }
    }

    fn body(&mut self, body: BodyRef<'_>) {
        match body {
            BodyRef::Here(message) => self.message(message),
            BodyRef::Away(away) => {
                self.names.push(Name { place: away.place, bytes: away.body_len });
                Change::MessageAway(away).record(&mut Changes::on(&mut self.out));
            }
        }
    }

    fn kept(&mut self, queue: QueueId, offset: u64, first: u64, kept: Kept<'_>) {
        if offset == first {
            Change::StreamSegment { queue, first }.record(&mut Changes::on(&mut self.out));
        }
        self.body(kept.body);
        Change::StreamKept { queue, offset, at: kept.at }.record(&mut Changes::on(&mut self.out));
    }

    fn delayed(&mut self, delayed: &Delayed) {
        let Delayed { due, number, exchange, ref body, kept } = *delayed;
        if kept {
            self.body(body.as_ref());
            Change::Delay { exchange, number, due }.record(&mut Changes::on(&mut self.out));
        }
    }

    /// What waits in an exchange is about to go on.
    pub(crate) fn takes_delayed(&mut self, delayed: &Delayed) {
        let is_ahead = self.delayed_next.is_some_and(|next| next <= delayed.key());
        if is_ahead && delayed.number < self.delayed_limit {
            self.delayed(delayed);
        }
    }

    /// An entry is about to leave for good.
    pub(crate) fn leaves(&mut self, id: QueueId, walk: &Walk, entry: &Entry) {
        if walk.is_ahead(entry.seq) && !walk.handed.contains(&entry.seq) {
            self.entry(id, Ready::of(entry));
        }
    }

    /// What is known of an entry is about to change.
    pub(crate) fn changes(&mut self, id: QueueId, walk: &mut Walk, entry: Ready<'_>) {
        if walk.is_ahead(entry.seq) && walk.handed.insert(entry.seq) {
            self.entry(id, entry);
        }
    }

    /// All ready entries of a queue have left it: they come back if nobody needs them.
    pub(crate) fn purged(&mut self, queue: &Queue, ready: Entries) -> Option<Entries> {
        let Some(walk) = &queue.walk else { return Some(ready) };
        let Walk { next, limit, ref handed, .. } = **walk;
        let walk = Walk { next, limit, handed: handed.clone() };
        let keeps_all = queue.keeps_all();
        self.gone.push_back(Gone::Entries {
            queue: queue.id,
            keeps_all,
            ready: Box::new(ready),
            unacked: Sorted::default(),
            walk,
        });
        None
    }

    /// A queue has gone: it comes back if nobody needs it.
    pub(crate) fn removed(&mut self, mut queue: Queue) -> Option<Queue> {
        let Some(walk) = queue.walk.take() else { return Some(queue) };
        let (id, keeps_all, walk) = (queue.id, queue.keeps_all(), *walk);
        self.gone.push_back(match queue.stream.take() {
            Some(mut stream) => Gone::Segments { queue: id, segments: stream.take_segments(), walk },
            None => {
                let (ready, unacked) = (Box::new(queue.ready), queue.unacked);
                Gone::Entries { queue: id, keeps_all, ready, unacked, walk }
            }
        });
        None
    }

    /// The oldest segments of a stream have gone: they come back if nobody needs them.
    pub(crate) fn truncated(
        &mut self,
        queue: QueueId,
        walk: &mut Walk,
        segments: Vec<Segment>,
    ) -> Option<Vec<Segment>> {
        let end = segments.last().map_or(0, Segment::end);
        if end <= walk.next {
            return Some(segments);
        }
        let gone = Walk { next: walk.next, limit: walk.limit.min(end), ..Walk::default() };
        walk.next = end;
        self.gone.push_back(Gone::Segments { queue, segments, walk: gone });
        None
    }

    /// One window of a queue's entries; true when there is none.
    fn walk_entries(
        &mut self,
        id: QueueId,
        keeps_all: bool,
        ready: &Entries,
        unacked: &Sorted<Unacked>,
        walk: &mut Walk,
    ) -> bool {
        let held = unacked.first_from(walk.next).map(|held| held.seq);
        let Some(start) = ready.first_from(walk.next).into_iter().chain(held).min() else { return true };
        if start >= walk.limit {
            return true;
        }
        let end = (start + WINDOW).min(walk.limit);
        let held = unacked.range_from(start).map(Unacked::entry);
        for entry in ready.between(start, end).chain(held.take_while(|held| held.seq < end)) {
            if (keeps_all || entry.body.is_persistent()) && !walk.handed.contains(&entry.seq) {
                self.entry(id, entry);
            }
        }
        walk.come_to(end);
        false
    }

    /// Some messages of a stream; true when there is none.
    fn walk_segments<'a>(
        &mut self,
        id: QueueId,
        segments: impl Iterator<Item = &'a Segment>,
        walk: &mut Walk,
    ) -> bool {
        let mut segments = segments.skip_while(|segment| segment.end() <= walk.next);
        let Some(segment) = segments.next() else { return true };
        let start = segment.first().max(walk.next);
        if start >= walk.limit {
            return true;
        }
        let end = (start + WINDOW).min(segment.end()).min(walk.limit);
        for offset in start..end {
            if let Some(kept) = segment.entry(offset) {
                self.kept(id, offset, segment.first(), kept);
            }
        }
        walk.next = end;
        false
    }
}

impl Broker {
    /// A checkpoint of what is there now begins. What is due to definitions takes as long as there are many.
    /// `position` is that of the last commit.
    pub fn begin_checkpoint(&mut self, position: u64) {
        assert!(self.checkpoint.is_none(), "one checkpoint ends before the next one begins");
        let mut checkpoint = Checkpoint {
            delayed_next: Some((0, 0)),
            delayed_limit: self.next_delayed,
            ..Checkpoint::default()
        };
        self.in_log_after = position;
        self.generation += 1;
        self.hand_over_definitions(&mut checkpoint.out);
        for (&exchange, with_history) in self.exchanges.iter().filter(|(_, exchange)| exchange.durable) {
            let recent = with_history.history.iter().flat_map(|history| history.iter());
            for recent in recent.filter(|recent| recent.kept) {
                checkpoint.message(&recent.message);
                Change::RecentKept { exchange }.record(&mut Changes::on(&mut checkpoint.out));
            }
        }
        for queue in self.queues.values_mut().filter(|queue| queue.is_logged()) {
            let walk = match &queue.stream {
                Some(stream) => {
                    Walk { next: stream.first_offset(), limit: stream.next_offset(), ..Walk::default() }
                }
                None => Walk { limit: queue.next_seq, ..Walk::default() },
            };
            let has_any = queue.stream.is_some() || !queue.ready.is_empty() || !queue.unacked.is_empty();
            if has_any {
                queue.walk = Some(Box::new(walk));
                checkpoint.queues.push(queue.id);
            }
        }
        checkpoint.queues.sort_unstable();
        self.checkpoint = Some(Box::new(checkpoint));
    }

    fn hand_over_definitions(&self, out: &mut Vec<u8>) {
        let changes = &mut Changes::on(out);
        // A broker has this one from the beginning.
        let first = crate::VhostId(0);
        if !self.vhosts.contains_key(&first) {
            (0..Broker::PREDECLARED_COUNT)
                .for_each(|id| Change::ExchangeDelete { id: crate::ExchangeId(id) }.record(changes));
            Change::VhostDelete { id: first }.record(changes);
        }
        let mut predeclared = BTreeSet::new();
        for (&id, vhost) in &self.vhosts {
            let first = vhost.exchanges.get(&b""[..]).copied().expect("a vhost has the default exchange");
            predeclared.extend((first.0..).take(Broker::PREDECLARED_COUNT as usize));
            Change::VhostPut { id, name: &vhost.name, first, about: &vhost.about }.record(changes);
        }
        for (key, policy) in &self.policies {
            Change::PolicyPut { key, policy }.record(changes);
        }
        let mut exchanges: Vec<_> = self.exchanges.iter().filter(|(_, exchange)| exchange.durable).collect();
        exchanges.sort_unstable_by_key(|(id, _)| **id);
        for &(&id, exchange) in &exchanges {
            if !predeclared.contains(&id.0) && !is_built_in(id) {
                exchange.declaration(id).record(changes);
            }
        }
        let mut queues: Vec<_> = self.queues.values().filter(|queue| queue.is_logged()).collect();
        queues.sort_unstable_by_key(|queue| queue.id);
        for queue in &queues {
            let Queue { id, vhost, auto_delete, next_seq, delivered_through, .. } = **queue;
            let (name, arguments) = (&queue.name, &queue.arguments);
            Change::QueueDeclare { vhost, id, name, auto_delete, arguments }.record(changes);
            Change::QueueAt { queue: id, next_seq, delivered_through }.record(changes);
            if let Some(seen) = &queue.seen {
                let by = Destination::Queue(id);
                seen.iter().for_each(|(key, until)| Change::Seen { by, key, until }.record(changes));
            }
        }
        for &(&source, exchange) in &exchanges {
            for (destination, (key, arguments)) in exchange.bindings() {
                if self.is_logged(destination) {
                    let binding = Binding { destination, key: key.clone(), arguments: arguments.clone() };
                    Change::Bind { source, binding: &binding }.record(changes);
                }
            }
            if let Some(seen) = &exchange.seen {
                let by = Destination::Exchange(source);
                seen.iter().for_each(|(key, until)| Change::Seen { by, key, until }.record(changes));
            }
        }
        if let Some(secret) = &self.reply_secret {
            Change::ReplySecret(secret).record(changes);
        }
        let next = [self.next_vhost, self.next_exchange, self.next_queue];
        Change::NextNumbers(next).record(changes);
    }

    /// Bytes that were handed over and that nobody has taken.
    pub fn checkpoint_bytes(&self) -> usize {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.out.len())
    }

    /// Hands over about so many bytes more and appends everything to `into`; true at the end.
    pub fn checkpoint_slice(&mut self, bytes: usize, into: &mut Vec<u8>, names: &mut Vec<Name>) -> bool {
        let Some(mut checkpoint) = self.checkpoint.take() else { return true };
        let mut is_over = false;
        for _ in 0..WINDOWS_MAX {
            if checkpoint.out.len() >= bytes || is_over {
                break;
            }
            is_over = self.walk(&mut checkpoint);
        }
        into.append(&mut checkpoint.out);
        names.append(&mut checkpoint.names);
        if is_over {
            let count = checkpoint.named.len();
            self.garbage.put(checkpoint.named, count);
        } else {
            self.checkpoint = Some(checkpoint);
        }
        is_over
    }

    /// One window; true at the end.
    fn walk(&mut self, checkpoint: &mut Checkpoint) -> bool {
        // What has gone first: the rest of a stream comes behind it.
        if let Some(mut gone) = checkpoint.gone.pop_front() {
            let is_over = match &mut gone {
                Gone::Entries { queue, keeps_all, ready, unacked, walk } => {
                    checkpoint.walk_entries(*queue, *keeps_all, ready, unacked, walk)
                }
                Gone::Segments { queue, segments, walk } => {
                    checkpoint.walk_segments(*queue, segments.iter(), walk)
                }
            };
            match (is_over, gone) {
                (false, gone) => checkpoint.gone.push_front(gone),
                (true, Gone::Entries { ready, unacked, .. }) => {
                    let count = ready.len() + unacked.len();
                    self.garbage.put((ready, unacked), count);
                }
                (true, Gone::Segments { segments, .. }) => {
                    let count = crate::stream::messages_count(&segments);
                    self.garbage.put(segments, count);
                }
            }
        } else if let Some(&id) = checkpoint.queues.last() {
            let queue = self.queues.get_mut(&id);
            let Some((queue, mut walk)) = queue.and_then(|queue| queue.walk.take().map(|walk| (queue, walk)))
            else {
                checkpoint.queues.pop();
                return false;
            };
            let is_over = match &queue.stream {
                Some(stream) => checkpoint.walk_segments(id, stream.segments(), &mut walk),
                None => {
                    checkpoint.walk_entries(id, queue.keeps_all(), &queue.ready, &queue.unacked, &mut walk)
                }
            };
            if is_over {
                checkpoint.queues.pop();
            } else {
                queue.walk = Some(walk);
            }
        } else if let Some(next) = checkpoint.delayed_next {
            let mut last = None;
            for delayed in self.delayed.range_from(next).take(WINDOW as usize) {
                last = Some(delayed.key());
                if delayed.number < checkpoint.delayed_limit {
                    checkpoint.delayed(delayed);
                }
            }
            checkpoint.delayed_next = last.map(|(due, number)| (due, number + 1));
        } else {
            return true;
        }
        false
    }
}
