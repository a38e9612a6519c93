//! The reaper thread frees what was removed from the state and consists of many allocations, beside the event loops.

use leveret_base::Garbage;
use parking_lot::{Condvar, Mutex};

/// What waits to be freed.
#[derive(Default)]
pub(crate) struct Reaper {
    waiting: Mutex<(Garbage, bool)>,
    signal: Condvar,
}

impl Reaper {
    /// Leaves it to the thread.
    pub(crate) fn take(&self, mut garbage: Garbage) {
        self.waiting.lock().0.append(&mut garbage);
        self.signal.notify_one();
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
            drop(garbage);
        }
    }
}
