//! Visits to the engine by those who are no I/O loop: HTTP, the mover, the fetcher and other threads.
//! The trap: the loops sleep until what was due when they left. Whoever makes something due before that has to wake one.

use crate::io_loop::Mailbox;
use crate::shared::{Shared, now_ms};
use leveret_cluster::{Level, Levels};
use leveret_engine::{Engine, Position};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Shared {
    /// Everybody but the loops leaves the engine here; gives the last commit. What is left to be done goes to those who do it.
    pub(crate) fn leave(&self, mut engine: MutexGuard<'_, Engine>) -> Position {
        let (position, garbage, errands) = (engine.position(), engine.take_garbage(), engine.take_errands());
        let wanted = engine.broker.take_wanted();
        let mut threads: Vec<usize> = engine.threads_to_wake(usize::MAX).collect();
        let is_sooner = engine.next_deadline().is_some_and(|at| at < self.slept_until.load(Relaxed));
        drop(engine);
        if threads.is_empty() && is_sooner {
            threads.push(0);
        }
        threads.into_iter().filter_map(|thread| self.mailboxes.get(thread)).for_each(Mailbox::wake);
        self.doorkeeper.extend(errands);
        self.fetcher.extend(wanted);
        if let Some(garbage) = garbage {
            self.reaper.take(garbage);
        }
        position
    }

    /// Runs something that nobody asks about afterwards; gives the last commit, too. `None` when the server is stopping: then it is not run.
    pub(crate) fn visit<T>(&self, run: impl FnOnce(&mut Engine) -> T) -> Option<(T, Position)> {
        let mut engine = self.engine.lock();
        // What is changed before has its sync: the last one comes when nobody holds the engine any more.
        if self.is_stopping() || self.settings.alarms.is_full() {
            return None;
        }
        engine.enter(now_ms());
        let result = run(&mut engine);
        let position = self.leave(engine);
        self.write_up_to(position);
        Some((result, position))
    }

    /// Runs a change; what it did is on the disk when this returns. `None` when the server is stopping, or the disk is full: then
    /// it is not run.
    pub fn change<T>(&self, run: impl FnOnce(&mut Engine) -> T) -> Option<T> {
        let (result, position) = self.visit(run)?;
        self.wait_for_sync(position);
        Some(result)
    }

    fn wait_for_sync(&self, position: Position) {
        let mut waiting = self.visitors.lock();
        while self.levels.level(Level::Synced) < position {
            self.want_sync();
            self.visitors_signal.wait_for(&mut waiting, Duration::from_millis(100));
        }
    }
}
