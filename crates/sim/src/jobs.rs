//! A list that all Redis clients share as a queue of work: some push jobs, some wait for them. No job is handed out twice, and
//! none is lost but those whose answer was on its way when its client or the server went.

use crate::ledger::{Certainty, Crash};
use std::collections::{BTreeMap, BTreeSet};

/// Jobs by number.
#[derive(Default)]
pub(crate) struct Jobs {
    last: u64,
    /// Those that may be there, and how certain it is that they were pushed.
    pushed: BTreeMap<u64, Certainty>,
    /// Those of them that somebody was handed, and how certain it is that they have left.
    taken: BTreeMap<u64, Certainty>,
    /// So many may have been handed out to clients that have not heard of it.
    unheard: usize,
}

impl Jobs {
    /// A new one, which is about to be pushed.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn push(&mut self, job: u64) {
        self.pushed.insert(job, Certainty::Said);
    }

    pub(crate) fn pushed(&mut self, job: u64, certainty: Certainty) {
        if let Some(known) = self.pushed.get_mut(&job) {
            *known = certainty.max(*known);
        }
    }

    /// It was not pushed and never will be.
    pub(crate) fn never(&mut self, job: u64, spared: Certainty) {
        self.pushed.remove(&job);
        let taken = self.taken.remove(&job);
        assert!(taken.is_none_or(|taken| taken < spared), "job {job} was handed out and was never pushed");
    }

    /// Somebody is handed one.
    pub(crate) fn took(&mut self, job: u64, certainty: Certainty) {
        assert!(
            self.pushed.contains_key(&job),
            "job {job} is handed out and was never pushed, or has left before"
        );
        assert!(self.taken.insert(job, certainty).is_none(), "job {job} is handed out twice");
    }

    /// Clients that have waited for so many will not hear of them.
    pub(crate) fn not_heard(&mut self, count: usize) {
        self.unheard += count;
    }

    /// What is in the list after a crash.
    pub(crate) fn crashed(&mut self, seen: &[u64], crash: Crash) {
        let spared = crash.spares();
        let there: BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(there.len(), seen.len(), "a job is there twice after {crash:?}: {seen:?}");
        for job in seen {
            assert!(self.pushed.contains_key(job), "job {job} is there after {crash:?} and should not be");
            let taken = self.taken.get(job);
            assert!(
                taken.is_none_or(|taken| *taken < spared),
                "job {job} was handed out and is back after {crash:?}"
            );
        }
        let is_lost = |(job, certainty): &(&u64, &Certainty)| {
            **certainty >= spared && !there.contains(job) && !self.taken.contains_key(job)
        };
        let lost: Vec<u64> = self.pushed.iter().filter(is_lost).map(|(job, _)| *job).collect();
        assert!(
            lost.len() <= self.unheard,
            "jobs {lost:?} are lost after {crash:?}, and only {} clients have not heard of theirs",
            self.unheard
        );
        self.pushed = there.into_iter().map(|job| (job, Certainty::Synced)).collect();
        self.taken.clear();
        self.unheard = 0;
    }
}
