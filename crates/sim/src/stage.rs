//! What a client may use when it is its turn, and what all of them share.

use crate::jobs::Jobs;
use crate::ledger::{Certainty, Copy, Crash, Ledger, Queue};
use crate::relay::Relay;
use leveret_server::sim::Machine;
use std::collections::BTreeSet;

/// Lent to a client for one step.
pub(crate) struct Stage<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) rng: &'a mut fastrand::Rng,
    pub(crate) now_ms: u64,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) shared: &'a mut Shared,
    pub(crate) log: &'a mut Journal,
    /// Answers wait for the disk.
    pub(crate) always: bool,
    /// Writes may be refused for lack of space.
    pub(crate) may_be_full: bool,
    /// Redis clients send scripts, too.
    pub(crate) runs_scripts: bool,
    /// Commands that a client says before it waits for an answer.
    pub(crate) depth_max: usize,
    /// With more messages around nothing is published.
    pub(crate) messages_max: usize,
    pub(crate) clients_count: usize,
    /// Commands of Redis clients that others have seen.
    pub(crate) seen: Vec<(usize, u64)>,
}

impl Stage<'_> {
    /// Something has happened.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        self.log.note(self.now_ms, what);
    }

    /// An AMQP client gets a message.
    pub(crate) fn deliver(&mut self, copy: Copy, from: Queue, holder: u32) {
        let certainty = self.spared_by_full(Certainty::Done);
        self.ledger.delivered(copy, from, holder, self.now_ms, certainty);
    }

    /// What is executed on a full disk may be written later or never.
    pub(crate) fn spared_by_full(&self, certainty: Certainty) -> Certainty {
        if self.may_be_full && certainty == Certainty::Done { Certainty::Said } else { certainty }
    }

    /// What an answer to a Redis client promises.
    pub(crate) fn certainty(&self) -> Certainty {
        if self.always { Certainty::Synced } else { Certainty::Done }
    }
}

/// All that has happened, as a number; and as lines, if somebody wants to read them.
pub(crate) struct Journal {
    digest: u64,
    pub(crate) events: u64,
    pub(crate) is_told: bool,
}

impl Journal {
    pub(crate) fn new(is_told: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, events: 0, is_told }
    }

    #[allow(clippy::print_stdout, reason = "it was asked for")]
    pub(crate) fn note(&mut self, now_ms: u64, what: impl FnOnce() -> String) {
        let what = what();
        for byte in what.bytes().chain(now_ms.to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.events += 1;
        if self.is_told {
            println!("{:>6} {what}", now_ms % 1_000_000);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

/// What all Redis clients have in common, a counter that they count up and a list of jobs; and the messages of the runners.
#[derive(Default)]
pub(crate) struct Shared {
    /// What it was when the server started.
    base: i64,
    /// How often they have said it since, how often it has been answered, and the highest answers.
    pub(crate) said: i64,
    answers: BTreeSet<i64>,
    highest_synced: i64,
    pub(crate) jobs: Jobs,
    pub(crate) relay: Relay,
}

impl Shared {
    fn highest(&self) -> i64 {
        self.answers.last().copied().unwrap_or(self.base)
    }

    fn is_possible(&self, count: i64) -> bool {
        (self.base..=self.base + self.said).contains(&count)
    }

    /// Somebody was answered this count.
    pub(crate) fn counted(&mut self, count: i64, synced: bool) {
        assert!(
            count > self.base && self.is_possible(count),
            "{count} was counted from {} in {} times",
            self.base,
            self.said
        );
        assert!(self.answers.insert(count), "{count} was counted twice");
        if synced {
            self.highest_synced = self.highest_synced.max(count);
        }
    }

    /// What it is after a crash.
    pub(crate) fn crashed(&mut self, count: i64, crash: Crash) {
        let floor = match crash {
            Crash::Power => self.highest_synced.max(self.base),
            Crash::Killed | Crash::Stopped => self.highest(),
        };
        assert!(
            count >= floor && self.is_possible(count),
            "after {crash:?} {count} is counted, not from {floor} on"
        );
        let (jobs, relay) = (std::mem::take(&mut self.jobs), std::mem::take(&mut self.relay));
        *self = Self { base: count, highest_synced: count, jobs, relay, ..Self::default() };
    }
}
