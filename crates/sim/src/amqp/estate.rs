//! A queue of a client's own, which nobody consumes from: it is declared, filled, purged and deleted in order on one channel. After
//! a crash it must be what it was after one of these steps: not before the last one whose answer promised that.

use crate::ledger::{Certainty, Crash};

/// How many messages it has; `None` without the queue.
type Count = Option<u32>;

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Declare,
    Publish,
    Purge,
    Delete,
}

impl Deed {
    fn done(self, count: Count) -> Count {
        match self {
            Deed::Declare => Some(count.unwrap_or_default()),
            Deed::Publish => count.map(|count| count + 1),
            Deed::Purge => count.map(|_| 0),
            Deed::Delete => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Said {
    deed: Deed,
    step: u64,
    certainty: Certainty,
}

#[derive(Debug, Default)]
pub(crate) struct Estate {
    pub(crate) name: String,
    /// As the disk has it for certain.
    base: Count,
    /// What was said since, in order.
    said: Vec<Said>,
    /// A connection has ended before everything was answered: nothing more is said until somebody has looked.
    uncertain: bool,
}

impl Estate {
    pub(crate) fn new(number: usize) -> Self {
        Self { name: format!("own{number}"), ..Self::default() }
    }

    /// What may be done next; `None` while that is uncertain.
    pub(super) fn choose(&self, rng: &mut fastrand::Rng) -> Option<Deed> {
        if self.uncertain {
            return None;
        }
        Some(match (self.latest(), rng.u8(..12)) {
            (None, _) => Deed::Declare,
            (Some(count), 0..=7) if count < 40 => Deed::Publish,
            (Some(_), 8) => Deed::Declare,
            (Some(_), 9..=10) => Deed::Purge,
            (Some(_), _) => Deed::Delete,
        })
    }

    fn latest(&self) -> Count {
        self.said.iter().fold(self.base, |count, said| said.deed.done(count))
    }

    pub(super) fn say(&mut self, deed: Deed, step: u64) {
        self.said.push(Said { deed, step, certainty: Certainty::Said });
    }

    /// The answer to a step says how many messages there were.
    pub(super) fn counted(&self, step: u64, answer: u32) {
        let Some(at) = self.said.iter().position(|said| said.step == step) else { return };
        let before = self.said[..at].iter().fold(self.base, |count, said| said.deed.done(count));
        let expected = before.unwrap_or_default();
        assert_eq!(answer, expected, "{} had {before:?} messages before {:?}", self.name, self.said[at].deed);
    }

    /// Everything up to a step is as certain as this.
    pub(super) fn learn(&mut self, step: u64, certainty: Certainty) {
        for said in self.said.iter_mut().take_while(|said| said.step <= step) {
            said.certainty = said.certainty.max(certainty);
        }
        let synced = self.said.iter().take_while(|said| said.certainty == Certainty::Synced).count();
        for said in self.said.drain(..synced) {
            self.base = said.deed.done(self.base);
        }
    }

    /// Its connection is over.
    pub(super) fn left(&mut self) {
        self.uncertain |= !self.said.is_empty();
    }

    /// What is there after a crash.
    pub(crate) fn crashed(&mut self, seen: Count, crash: Crash) {
        let spared = crash.spares();
        let floor = self.said.iter().take_while(|said| said.certainty >= spared).count();
        let mut count = self.base;
        let mut is_possible = floor == 0 && count == seen;
        for (i, said) in self.said.iter().enumerate() {
            count = said.deed.done(count);
            is_possible |= i + 1 >= floor && count == seen;
        }
        assert!(
            is_possible,
            "after {crash:?} {} has {seen:?}, which it had after none of these from {floor} on: {:?} and {:?}",
            self.name, self.base, self.said
        );
        self.said.clear();
        (self.base, self.uncertain) = (seen, false);
    }
}
