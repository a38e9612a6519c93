//! What a publisher may do before others have caught up with it: the disk, and everybody who shares the engine with it. Who
//! has used up its credit is not read from until it has some again; nobody else waits for that.
//! (RabbitMQ: credit flow)

use crate::amqp::AmqpSession;
use leveret_engine::{Engine, Position};
use std::collections::VecDeque;

/// Methods that a connection executes in one turn, and queue entries that they make: a publish to a thousand queues is as
/// much work as a thousand publishes.
pub(crate) const WORK_MAX: usize = 4096;

/// What is left of it, and what it is spent on.
pub(crate) struct Credit {
    /// Work of this turn.
    work: usize,
    /// Bytes that were published for good since the last commit in `unsynced`.
    new_bytes: usize,
    /// The same of earlier turns, with the commit that has the last of them.
    unsynced: VecDeque<(Position, usize)>,
    unsynced_bytes: usize,
    /// See `Settings::publisher_bytes_max`.
    pub(crate) bytes_max: usize,
    /// What others know: it waits for them, or for memory or disk space.
    shown: (bool, bool),
}

impl Credit {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (work, new_bytes, unsynced_bytes) = (0, 0, 0);
        Self { work, new_bytes, unsynced: VecDeque::new(), unsynced_bytes, bytes_max, shown: (false, false) }
    }

    pub(super) fn begin_turn(&mut self) {
        self.work = 0;
    }

    /// A method is executed.
    #[inline]
    pub(super) fn worked(&mut self) {
        self.work += 1;
    }

    /// A message went to so many queues; durable ones keep `kept_bytes` of it.
    #[inline]
    pub(super) fn published(&mut self, queues: usize, kept_bytes: usize) {
        self.work += queues;
        self.new_bytes += kept_bytes;
    }

    /// What was published in this turn is in this commit at the latest.
    pub(super) fn end_turn(&mut self, position: Position) {
        if self.new_bytes > 0 {
            let bytes = std::mem::take(&mut self.new_bytes);
            self.unsynced_bytes += bytes;
            self.unsynced.push_back((position, bytes));
        }
    }

    /// The disk has come so far.
    pub(super) fn release(&mut self, synced: Position) {
        while let Some(&(position, bytes)) = self.unsynced.front()
            && position <= synced
        {
            self.unsynced_bytes -= bytes;
            self.unsynced.pop_front();
        }
    }

    /// True while the disk must catch up first.
    #[inline]
    pub(crate) fn is_used_up(&self) -> bool {
        self.unsynced_bytes + self.new_bytes >= self.bytes_max
    }

    /// True when the disk should begin to catch up, so that a fast one holds nobody up.
    pub(super) fn wants_sync(&self) -> bool {
        self.unsynced_bytes >= self.bytes_max / 2
    }

    /// True when others have their turn first.
    #[inline]
    pub(super) fn ends_turn(&self) -> bool {
        self.work >= WORK_MAX || self.is_used_up()
    }

    /// Work of the last turn.
    pub(crate) fn work(&self) -> usize {
        self.work
    }
}

impl AmqpSession {
    /// Lets others see whether it waits. (RabbitMQ: a connection's states `flow` and `blocked`)
    pub(super) fn show_waits(&mut self, engine: &mut Engine) {
        let waits = (self.credit.is_used_up(), self.blocked);
        if waits == self.credit.shown {
            return;
        }
        let changed_ms = if waits.0 != self.credit.shown.0 { Some(engine.now_ms()) } else { None };
        self.credit.shown = waits;
        if let Some(link) = engine.link(self.id) {
            (link.flows, link.blocked) = waits;
            link.flowed_ms = changed_ms.unwrap_or(link.flowed_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Bytes come back with their commits, and not before.
    use super::{Credit, WORK_MAX};

    #[test]
    fn credit_comes_back_with_the_disk() {
        let mut credit = Credit::new(100);
        for position in 1..=2 {
            credit.begin_turn();
            credit.published(1, 50);
            credit.end_turn(position);
        }
        assert!(credit.is_used_up() && credit.ends_turn() && credit.wants_sync());
        credit.release(0);
        assert!(credit.is_used_up());
        credit.release(1);
        assert!(!credit.is_used_up() && credit.wants_sync());
        credit.published(1, 60);
        assert!(credit.is_used_up());
        credit.end_turn(7);
        credit.release(6);
        assert!(!credit.is_used_up());
        credit.published(1, 40);
        credit.end_turn(8);
        assert!(credit.is_used_up());
        credit.release(8);
        assert_eq!((credit.unsynced_bytes, credit.unsynced.len()), (0, 0));
    }

    #[test]
    fn a_turn_has_an_end() {
        let mut credit = Credit::new(100);
        credit.published(WORK_MAX - 1, 0);
        assert!(!credit.ends_turn());
        credit.worked();
        assert!(credit.ends_turn() && !credit.is_used_up());
        credit.begin_turn();
        assert!(!credit.ends_turn());
    }
}
