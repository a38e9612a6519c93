//! Visits to the engine by those who are no sessions: HTTP, the mover.

use crate::shared::{Shared, now_ms};
use leveret_cluster::{Level, Levels};
use leveret_engine::{Engine, Position};
use std::time::Duration;

impl Shared {
    /// Runs something that nobody asks about afterwards; gives the last commit, too. `None` when the server is stopping: then it is not run.
    pub(crate) fn visit<T>(&self, run: impl FnOnce(&mut Engine) -> T) -> Option<(T, Position)> {
        let mut engine = self.engine.lock();
        // What is changed before has its sync: the last one comes when nobody holds the engine any more.
        if self.is_stopping() || self.settings.alarms.is_full() {
            return None;
        }
        engine.enter(now_ms());
        let result = run(&mut engine);
        let (position, garbage) = (engine.position(), engine.take_garbage());
        let wanted = engine.broker.take_wanted();
        let threads: Vec<usize> = engine.threads_to_wake(usize::MAX).collect();
        drop(engine);
        self.fetcher.extend(wanted);
        threads.into_iter().for_each(|thread| self.mailboxes[thread].wake());
        if let Some(garbage) = garbage {
            self.reaper.take(garbage);
        }
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
