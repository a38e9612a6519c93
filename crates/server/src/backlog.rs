//! What a thread has still to do, in order, until it is told to end.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Things to do.
pub(crate) struct Backlog<T> {
    /// Beside whether the thread is to end.
    waiting: Mutex<(VecDeque<T>, bool)>,
    signal: Condvar,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), signal: Condvar::new() }
    }
}

impl<T> Backlog<T> {
    /// Leaves them to the thread.
    pub(crate) fn extend(&self, more: Vec<T>) {
        if more.is_empty() {
            return;
        }
        self.waiting.lock().0.extend(more);
        self.signal.notify_one();
    }

    /// The thread ends; nothing more is done.
    pub(crate) fn stop(&self) {
        self.waiting.lock().1 = true;
        self.signal.notify_one();
    }

    /// Waits for the next one; `None` at the end.
    pub(crate) fn next(&self) -> Option<T> {
        loop {
            if let Some(next) = self.next_within(None)? {
                return Some(next);
            }
        }
    }

    /// Likewise, for so long at most; `Some(None)` when there was nothing.
    #[allow(clippy::option_option, reason = "the end is something else than nothing for now")]
    pub(crate) fn next_within(&self, time: Option<Duration>) -> Option<Option<T>> {
        let until = time.map(|time| Instant::now() + time);
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.1 {
                return None;
            }
            if let Some(next) = waiting.0.pop_front() {
                return Some(Some(next));
            }
            match until {
                None => self.signal.wait(&mut waiting),
                Some(until) => {
                    if self.signal.wait_until(&mut waiting, until).timed_out() {
                        return Some(None);
                    }
                }
            }
        }
    }
}
