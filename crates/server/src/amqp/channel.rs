//! One channel: the map from delivery tags to queue entries, and the confirms that wait
//! for the disk. The queue entries themselves belong to the engine.

use crate::amqp::tx::Tx;
use leveret_amqp::{BasicAck, BasicNack, Method};
use leveret_base::{Keyed, Sorted};
use leveret_engine::Position;
use leveret_engine::broker::QueueId;
use std::collections::VecDeque;

/// A confirm that has not left.
#[derive(Clone, Copy)]
struct Confirm {
    position: Position,
    number: u64,
    /// A full queue did not take it.
    rejected: bool,
}

/// The confirm mode of a channel. (RabbitMQ: publisher confirms)
#[derive(Default)]
pub(crate) struct Confirms {
    published: u64,
    waiting: VecDeque<Confirm>,
}

impl Confirms {
    /// The next publish is confirmed once `position` is on disk; 0 waits for nothing.
    pub(crate) fn push(&mut self, position: Position, rejected: bool) {
        self.published += 1;
        self.waiting.push_back(Confirm { position, number: self.published, rejected });
    }

    /// The next confirms that may leave now, in order of publishing: as many as one method tells.
    fn release(&mut self, synced: Position) -> Option<Method<'static>> {
        let first = *self.waiting.front()?;
        let is_told = |confirm: &&Confirm| confirm.position <= synced && confirm.rejected == first.rejected;
        let count = self.waiting.iter().take_while(is_told).count();
        let Confirm { number: delivery_tag, rejected, .. } = self.waiting.drain(..count).next_back()?;
        let multiple = count > 1;
        Some(if rejected {
            Method::BasicNack(BasicNack { delivery_tag, multiple, requeue: false })
        } else {
            Method::BasicAck(BasicAck { delivery_tag, multiple })
        })
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// A delivery tag and the entry it stands for.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    tag: u64,
    pub(crate) queue: QueueId,
    pub(crate) seq: u64,
}

impl Keyed for Held {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        self.tag
    }
}

/// The number of no entry.
const NOBODYS: u64 = u64::MAX;

/// An open channel.
#[derive(Default)]
pub(crate) struct Channel {
    /// We have closed it and wait for `channel.close-ok`.
    pub(crate) closing: bool,
    pub(crate) confirms: Option<Confirms>,
    /// The open transaction of a channel in transaction mode.
    pub(crate) tx: Option<Box<Tx>>,
    /// The queue that an empty name means. (AMQP 0-9-1 1.7.2.1)
    pub(crate) last_queue: Box<[u8]>,
    /// `basic.qos` for consumers to come.
    pub(crate) prefetch: u16,
    last_tag: u64,
    unacked: Sorted<Held>,
    /// Replies that wait for the disk; whatever follows on this channel waits behind them.
    pub(crate) held: VecDeque<(Position, Vec<u8>)>,
}

/// A channel that is closed for the engine, and whose replies still wait for the disk.
pub(crate) struct Leaving {
    pub(crate) number: u16,
    pub(crate) channel: Channel,
    /// What follows the last of them.
    pub(crate) farewell: Vec<u8>,
}

impl Channel {
    /// True while a reply or a confirm waits for the disk.
    pub(crate) fn waits(&self) -> bool {
        !self.held.is_empty() || self.confirms.as_ref().is_some_and(Confirms::is_waiting)
    }

    /// Lets out what waited for the disk, as far as it has come. Gives the bytes of replies that left.
    pub(crate) fn release(&mut self, number: u16, synced: Position, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        while self.held.front().is_some_and(|(position, _)| *position <= synced)
            && let Some((_, bytes)) = self.held.pop_front()
        {
            out.extend_from_slice(&bytes);
        }
        let released = out.len() - start;
        while let Some(method) = self.confirms.as_mut().and_then(|confirms| confirms.release(synced)) {
            method.encode(number, out);
        }
        released
    }

    /// A channel that waits for `channel.close-ok` and ignores the rest.
    pub(crate) fn closing() -> Self {
        Self { closing: true, ..Self::default() }
    }

    /// A tag for a delivery; one that must be acknowledged is remembered.
    pub(crate) fn tag(&mut self, entry: Option<(QueueId, u64)>) -> u64 {
        self.last_tag += 1;
        if let Some((queue, seq)) = entry {
            self.unacked.insert(Held { tag: self.last_tag, queue, seq });
        }
        self.last_tag
    }

    /// What an acknowledgement names, oldest first; `None` is an unknown tag.
    pub(crate) fn settle(&mut self, tag: u64, multiple: bool) -> Option<Vec<Held>> {
        if !multiple {
            return self.unacked.remove(tag).map(|held| vec![held]);
        }
        if tag == 0 {
            return Some(self.take_unacked());
        }
        self.unacked.get(tag)?;
        Some(self.unacked.take_through(tag))
    }

    /// Acknowledgements that were taken back: their tags are there again.
    pub(crate) fn unsettle(&mut self, held: impl IntoIterator<Item = Held>) {
        self.unacked.extend(held);
    }

    /// These entries of a queue are not held any more. Their tags stay: a client may name them and means nothing by it.
    pub(crate) fn release_held(&mut self, queue: QueueId, seqs: &[u64]) {
        let is_gone = |held: &Held| held.queue == queue && seqs.binary_search(&held.seq).is_ok();
        for held in self.unacked.iter_mut().filter(|held| is_gone(held)) {
            held.seq = NOBODYS;
        }
        if let Some(tx) = &mut self.tx {
            tx.settled_mut().filter(|held| is_gone(held)).for_each(|held| held.seq = NOBODYS);
        }
    }

    /// Everything unacknowledged, oldest first.
    pub(crate) fn take_unacked(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.unacked).into_iter().collect()
    }
}
