//! Messages whose bytes are only on disk, because there is too much of them: whoever comes to one stops there and asks for
//! it. It is read by somebody else, and with it the queue goes on. Nothing passes what stands before it.

use super::Txn;
use super::delays::DELAYED;
use super::departures::Shed;
use crate::body::{BodyRef, PageOut};
use crate::broker::{Broker, Event, Wanted};
use crate::queue::Queue;
use crate::{Message, QueueId, SessionId};
use std::sync::Arc;

/// So much of each queue stays in memory though there is too much of it, but never more than a small part of what may be there.
const HEAD_BYTES: u64 = 64 * 1024;

impl Broker {
    /// A queue that may let go of something, and what.
    fn paging(&mut self, id: QueueId) -> Option<(&mut Queue, PageOut<'_>)> {
        let queue = self.queues.get_mut(&id)?;
        let may = PageOut {
            after: self.in_log_after,
            generation: self.generation,
            is_logged: queue.is_logged(),
            keeps_all: queue.keeps_all(),
            head_bytes: HEAD_BYTES.min(self.memory_bytes_max.unwrap_or(0) / 1024),
            spill: self.spill.as_ref().filter(|spill| spill.is_open()),
        };
        self.has_paged = true;
        Some((queue, may))
    }
}

impl Txn<'_> {
    /// Asks for what stands first in a queue, if it is not in memory; true if so.
    #[inline]
    pub(super) fn must_fetch(&mut self, id: QueueId) -> bool {
        self.broker.has_paged && self.ask_for_first(id)
    }

    fn ask_for_first(&mut self, id: QueueId) -> bool {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return false };
        if queue.ready.is_first_here() {
            return false;
        }
        let wanted = queue.ready.wanted(false);
        self.broker.wanted.extend(wanted.map(|messages| Wanted { queue: id, messages }));
        true
    }

    /// Asks for what an entry stands among, if its message is not in memory; true if so.
    pub(super) fn must_fetch_one(&mut self, id: QueueId, seq: u64) -> bool {
        if !self.broker.has_paged {
            return false;
        }
        let Some(queue) = self.broker.queues.get_mut(&id) else { return false };
        let wanted = queue.ready.around(seq);
        let is_away = !wanted.is_empty();
        let wanted = queue.ready.ask(wanted);
        self.broker.wanted.extend(wanted.map(|messages| Wanted { queue: id, messages }));
        is_away
    }

    /// Asks for what comes next in a queue that is read.
    #[inline]
    pub(super) fn fetch_ahead(&mut self, id: QueueId) {
        if !self.broker.has_paged {
            return;
        }
        let wanted = self.broker.queues.get_mut(&id).and_then(|queue| queue.ready.wanted(true));
        self.broker.wanted.extend(wanted.map(|messages| Wanted { queue: id, messages }));
    }

    /// Lets go of what came last to a queue, if there is too much in memory.
    #[inline]
    pub(crate) fn page_out(&mut self, id: QueueId) {
        if self.broker.is_memory_full()
            && let Some((queue, may)) = self.broker.paging(id)
        {
            match &mut queue.stream {
                Some(stream) => stream.page_out(may),
                None => queue.ready.page_out(may),
            }
        }
    }

    /// Lets go of a message that has just been handed out, if there is too much in memory. Where it may become a letter it stays.
    #[inline]
    pub(super) fn let_go_of_held(&mut self, id: QueueId, seq: u64) {
        if self.broker.is_memory_full()
            && let Some((queue, may)) = self.broker.paging(id)
            && queue.meaning.dead_letters.is_none()
        {
            queue.let_go_of_held(seq, may);
        }
    }

    /// A session wants to get a message that is being read.
    pub(super) fn get_later(&mut self, id: QueueId, session: SessionId) {
        if !self.broker.getting.contains(&(id, session)) {
            self.broker.getting.push((id, session));
        }
    }

    /// Messages that were wanted, in the order in which they were, as far as they could be read; the queue goes on. What has left
    /// it meanwhile may be missing. Gives what must be tried again, for it is still wanted and nobody asks for it once more.
    pub fn fetched(&mut self, wanted: &Wanted, messages: &[(u64, Arc<Message>)]) -> Option<Wanted> {
        let id = wanted.queue;
        if id == DELAYED {
            return self.fetched_delayed(wanted, messages);
        }
        let is_unread = self.broker.queues.get(&id).is_some_and(|queue| {
            let first = wanted.messages.first();
            first.is_some_and(|(seq, place)| {
                messages.first().is_none_or(|(read, _)| read != seq) && queue.is_away_at(*seq, *place)
            })
        });
        if is_unread {
            return Some(wanted.clone());
        }
        let Broker { getting, events, queues, checkpoint, filled, generation, .. } = &mut *self.broker;
        getting.retain(|(of, session)| {
            if *of == id {
                events.push((*session, Event::Fetched));
            }
            *of != id
        });
        let queue = queues.get_mut(&id)?;
        if queue.is_awaited {
            filled.push(id);
        }
        let first = wanted.messages.first().map(|(seq, _)| *seq);
        if let Some(stream) = &mut queue.stream {
            // What it has of them stays what the log has, and checkpoints have it by name.
            stream.page_in(first.unwrap_or(0), messages, queue.consumers.len());
            self.dispatch(id);
            return None;
        }
        // A checkpoint on its way may still have them by name only, however soon they leave.
        let keeps_all = queue.keeps_all();
        if let (Some(checkpoint), Some(walk)) = (checkpoint, &mut queue.walk)
            && let (Some((first, _)), Some((last, _))) = (wanted.messages.first(), wanted.messages.last())
        {
            let is_named = |body: BodyRef<'_>| body.here().is_none() && (keeps_all || body.is_persistent());
            for entry in queue.ready.between(*first, last + 1).filter(|entry| is_named(entry.body)) {
                checkpoint.changes(id, walk, entry);
            }
        }
        queue.ready.page_in(first, messages, *generation);
        self.broker.note_due(id);
        // What is too much was read to become letters, not to be handed out.
        if self.trim(id) == Shed::Some {
            self.broker.crowded.push(id);
        }
        self.dispatch(id);
        None
    }
}
