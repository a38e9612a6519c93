//! Commands that were out of the ordinary: that took long, or had a long request or answer. (Redis: SLOWLOG; Valkey:
//! COMMANDLOG) A log knows neither the command nor what it measures; whatever is below its threshold pays one comparison.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) id: u64,
    pub(crate) at_ms: u64,
    /// Microseconds or bytes.
    pub(crate) amount: u64,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) name: String,
}

/// The latest of one kind.
#[derive(Debug)]
pub(crate) struct CommandLog {
    threshold: AtomicI64,
    len_max: AtomicUsize,
    /// The threshold, or more than anything can be.
    least: AtomicU64,
    /// The next id; the commands, newest first.
    entries: Mutex<(u64, VecDeque<Noted>)>,
}

impl CommandLog {
    /// An empty one that keeps 128.
    pub(crate) fn new(threshold: i64) -> Self {
        let log = Self {
            threshold: AtomicI64::new(threshold),
            len_max: AtomicUsize::new(128),
            least: AtomicU64::new(0),
            entries: Mutex::default(),
        };
        log.settle();
        log
    }

    /// From so much on a command is kept; negative is never.
    pub(crate) fn threshold(&self) -> i64 {
        self.threshold.load(Relaxed)
    }

    pub(crate) fn set_threshold(&self, threshold: i64) {
        self.threshold.store(threshold, Relaxed);
        self.settle();
    }

    /// How many are kept.
    pub(crate) fn len_max(&self) -> usize {
        self.len_max.load(Relaxed)
    }

    pub(crate) fn set_len_max(&self, len_max: usize) {
        self.len_max.store(len_max, Relaxed);
        self.settle();
        self.entries.lock().1.truncate(len_max);
    }

    fn settle(&self) {
        let least = u64::try_from(self.threshold()).ok().filter(|_| self.len_max() > 0);
        self.least.store(least.unwrap_or(u64::MAX), Relaxed);
    }

    /// The least amount that is kept; `None` is never.
    pub(crate) fn least(&self) -> Option<u64> {
        Some(self.least.load(Relaxed)).filter(|least| *least != u64::MAX)
    }

    /// True when so much may have to be kept.
    #[inline]
    pub(crate) fn concerns(&self, amount: u64) -> bool {
        amount >= self.least.load(Relaxed)
    }

    /// Keeps a command that had so much, if that is enough.
    pub(crate) fn note(&self, amount: u64, noted: impl FnOnce() -> Option<Noted>) {
        if self.concerns(amount)
            && let Some(mut noted) = noted()
        {
            let (next, entries) = &mut *self.entries.lock();
            (noted.id, noted.amount) = (*next, amount);
            *next += 1;
            entries.push_front(noted);
            entries.truncate(self.len_max());
        }
    }

    /// The commands, newest first.
    pub(crate) fn entries(&self) -> VecDeque<Noted> {
        self.entries.lock().1.clone()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    /// Forgets them.
    pub(crate) fn forget(&self) {
        self.entries.lock().1.clear();
    }
}
