//! The doorkeeper thread does what is meant to take long about passwords, beside the event loops.

use crate::shared::Shared;
use leveret_engine::SessionId;
use leveret_engine::accounts::Errand;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// What is to be done: at most one errand for each connection.
#[derive(Default)]
pub(crate) struct Doorkeeper {
    waiting: Mutex<(VecDeque<(SessionId, Errand)>, bool)>,
    signal: Condvar,
}

impl Doorkeeper {
    /// Leaves them to the thread.
    pub(crate) fn take(&self, errands: Vec<(SessionId, Errand)>) {
        self.waiting.lock().0.extend(errands);
        self.signal.notify_one();
    }

    /// The thread ends; nobody waits any more.
    pub(crate) fn stop(&self) {
        self.waiting.lock().1 = true;
        self.signal.notify_one();
    }

    fn next(&self) -> Option<(SessionId, Errand)> {
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
        while let Some((id, errand)) = self.doorkeeper.next() {
            let finding = errand.run(salt);
            let mut engine = self.engine.lock();
            engine.found(id, &errand, finding);
            let threads: Vec<usize> = engine.threads_to_wake(usize::MAX).collect();
            drop(engine);
            threads.into_iter().for_each(|thread| self.mailboxes[thread].wake());
        }
    }
}

/// Random bytes for a new password.
pub fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the system had random numbers when the server started");
    salt
}
