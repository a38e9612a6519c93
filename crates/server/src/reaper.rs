//! The reaper thread frees what was removed from the state and consists of many allocations, beside the event loops.

use leveret_base::Garbage;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What waits to be freed.
#[derive(Default)]
pub(crate) struct Reaper {
    /// Things that are not freed yet, and those that were.
    pending: AtomicUsize,
    freed: AtomicUsize,
    waiting: Mutex<(Garbage, bool)>,
    signal: Condvar,
}

impl Reaper {
    /// Leaves it to the thread.
    pub(crate) fn take(&self, mut garbage: Garbage) {
        self.pending.fetch_add(garbage.len(), Relaxed);
        self.waiting.lock().0.append(&mut garbage);
        self.signal.notify_one();
    }

    /// How many things are not freed yet. (Redis: lazyfree_pending_objects)
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    /// How many were freed. (Redis: lazyfreed_objects)
    pub(crate) fn freed(&self) -> usize {
        self.freed.load(Relaxed)
    }

    /// Counts from zero again.
    pub(crate) fn reset_count(&self) {
        self.freed.store(0, Relaxed);
    }

    /// The thread ends; what is left goes with the process.
    pub(crate) fn stop(&self) {
        self.waiting.lock().1 = true;
        self.signal.notify_one();
    }

    /// The thread.
    pub(crate) fn run(&self) {
        loop {
            let garbage = {
                let mut waiting = self.waiting.lock();
                while waiting.0.is_empty() && !waiting.1 {
                    self.signal.wait(&mut waiting);
                }
                if waiting.1 {
                    return;
                }
                std::mem::take(&mut waiting.0)
            };
            self.done(garbage);
        }
    }

    fn done(&self, garbage: Garbage) {
        let count = garbage.len();
        drop(garbage);
        self.freed.fetch_add(count, Relaxed);
        self.pending.fetch_sub(count, Relaxed);
    }

    /// What the thread would do now.
    #[cfg(feature = "sim")]
    pub(crate) fn free(&self) {
        let garbage = std::mem::take(&mut self.waiting.lock().0);
        self.done(garbage);
    }
}
