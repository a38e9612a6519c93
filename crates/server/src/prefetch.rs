//! What the next commands will touch starts loading before the first of them is executed: the processor waits for many
//! places in memory at once instead of for one after the other. A window is small enough for its first lines to be still
//! in the nearest cache when the last ones have come.

use leveret_engine::Engine;
use leveret_engine::keyspace::DbIndex;
use leveret_resp::Batch;
use smallvec::SmallVec;

/// Keys in a window.
const KEYS: usize = 128;

/// The keys of the next commands, by their hashes.
#[derive(Default)]
pub(crate) struct Window(SmallVec<[(DbIndex, u64); KEYS]>);

impl Window {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= KEYS
    }

    /// Adds the keys of a batch's commands from `next` on, and starts loading where they would stand; gives the first command
    /// that has no part in it.
    pub(crate) fn fill(
        &mut self,
        engine: &Engine,
        db: DbIndex,
        batch: &Batch,
        input: &[u8],
        mut next: usize,
    ) -> usize {
        while next < batch.len() && !self.is_full() {
            if let Some(key) = batch.args(next, input).get(1) {
                let hash = engine.keyspace.hash(key);
                engine.keyspace.prefetch_bucket(db, hash);
                self.0.push((db, hash));
            }
            next += 1;
        }
        next
    }

    /// Starts loading the entries: what says where they are has come by now.
    pub(crate) fn load(&self, engine: &Engine) {
        for (db, hash) in &self.0 {
            engine.keyspace.prefetch_entry(*db, *hash);
        }
    }
}
