//! The doorkeeper thread compares passwords with hashes that are meant to take long, beside the event loops.

use crate::shared::Shared;
use leveret_engine::SessionId;
use leveret_engine::accounts::Check;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// What waits to be compared: at most one check for each connection.
#[derive(Default)]
pub(crate) struct Doorkeeper {
    waiting: Mutex<(VecDeque<(SessionId, Check)>, bool)>,
    signal: Condvar,
}

impl Doorkeeper {
    /// Leaves them to the thread.
    pub(crate) fn take(&self, checks: Vec<(SessionId, Check)>) {
        self.waiting.lock().0.extend(checks);
        self.signal.notify_one();
    }

    /// The thread ends; nobody waits any more.
    pub(crate) fn stop(&self) {
        self.waiting.lock().1 = true;
        self.signal.notify_one();
    }

    fn next(&self) -> Option<(SessionId, Check)> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.1 {
                return None;
            }
            if let Some(next) = waiting.0.pop_front() {
                return Some(next);
            }
            self.signal.wait(&mut waiting);
        }
    }
}

impl Shared {
    /// The thread.
    pub(crate) fn keep_the_door(&self) {
        while let Some((id, check)) = self.doorkeeper.next() {
            let fits = check.run();
            let mut engine = self.engine.lock();
            engine.found(id, &check, fits);
            let threads: Vec<usize> = engine.threads_to_wake(usize::MAX).collect();
            drop(engine);
            threads.into_iter().for_each(|thread| self.mailboxes[thread].wake());
        }
    }
}
