//! Who orders commits, and how durable a position is: a question with an answer, never a fact of memory. Today a
//! process alone; the trait is what a quorum will answer as well. It knows no protocol and keeps no threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The kernel has its bytes: a killed process loses nothing.
    Written,
    /// The disk has them: a power cut loses nothing.
    Synced,
    /// A majority of the nodes has them on disk.
    Quorum,
}

/// Answers which commits have reached a level.
pub trait Levels: Send + Sync {
    /// The last commit of that level; all before it have reached it too.
    fn level(&self, level: Level) -> u64;
}

/// One process that orders commits by itself: its own disk is the quorum.
#[derive(Debug, Default)]
pub struct Alone {
    written: AtomicU64,
    synced: AtomicU64,
}

impl Alone {
    /// Everything up to `position` is on disk: after recovery.
    pub fn recovered(position: u64) -> Self {
        Self { written: AtomicU64::new(position), synced: AtomicU64::new(position) }
    }

    /// The kernel has everything up to `position`.
    pub fn set_written(&self, position: u64) {
        self.written.fetch_max(position, Ordering::Release);
    }

    /// The disk has everything up to `position`.
    pub fn set_synced(&self, position: u64) {
        self.synced.fetch_max(position, Ordering::Release);
    }
}

impl Levels for Alone {
    fn level(&self, level: Level) -> u64 {
        match level {
            Level::Written => self.written.load(Ordering::Acquire),
            Level::Synced | Level::Quorum => self.synced.load(Ordering::Acquire),
        }
    }
}
