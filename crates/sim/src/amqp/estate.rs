//! A queue of a client's own, which nobody consumes from: it is declared, bound, filled, purged and deleted in order on one
//! channel. After a crash it must be what it was after one of these steps: not before the last one whose answer promised that.

use crate::ledger::{Certainty, Crash};

/// How many messages it has, and whether it is bound; `None` without the queue.
type State = Option<(u32, bool)>;

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Declare,
    Publish,
    Purge,
    Bind,
    Unbind,
    Delete,
}

impl Deed {
    fn done(self, state: State) -> State {
        match self {
            Deed::Declare => Some(state.unwrap_or_default()),
            Deed::Publish => state.map(|(count, is_bound)| (count + 1, is_bound)),
            Deed::Purge => state.map(|(_, is_bound)| (0, is_bound)),
            Deed::Bind => state.map(|(count, _)| (count, true)),
            Deed::Unbind => state.map(|(count, _)| (count, false)),
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
    base: State,
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
        Some(match (self.latest(), rng.u8(..16)) {
            (None, _) => Deed::Declare,
            (Some((count, _)), 0..=7) if count < 40 => Deed::Publish,
            (Some(_), 8) => Deed::Declare,
            (Some(_), 9..=10) => Deed::Purge,
            (Some(_), 11..=12) => Deed::Bind,
            (Some(_), 13..=14) => Deed::Unbind,
            (Some(_), _) => Deed::Delete,
        })
    }

    fn latest(&self) -> State {
        self.said.iter().fold(self.base, |state, said| said.deed.done(state))
    }

    pub(super) fn say(&mut self, deed: Deed, step: u64) {
        self.said.push(Said { deed, step, certainty: Certainty::Said });
    }

    /// The answer to a step says how many messages there were.
    pub(super) fn counted(&self, step: u64, answer: u32) {
        let Some(at) = self.said.iter().position(|said| said.step == step) else { return };
        let before = self.said[..at].iter().fold(self.base, |state, said| said.deed.done(state));
        let (expected, _) = before.unwrap_or_default();
        assert_eq!(answer, expected, "{} was {before:?} before {:?}", self.name, self.said[at].deed);
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
    pub(crate) fn crashed(&mut self, seen: State, crash: Crash) {
        let spared = crash.spares();
        let floor = self.said.iter().take_while(|said| said.certainty >= spared).count();
        let mut state = self.base;
        let mut is_possible = floor == 0 && state == seen;
        for (i, said) in self.said.iter().enumerate() {
            state = said.deed.done(state);
            is_possible |= i + 1 >= floor && state == seen;
        }
        assert!(
            is_possible,
            "after {crash:?} {} is {seen:?}, which it was after none of these from {floor} on: {:?} and {:?}",
            self.name, self.base, self.said
        );
        self.said.clear();
        (self.base, self.uncertain) = (seen, false);
    }
}
