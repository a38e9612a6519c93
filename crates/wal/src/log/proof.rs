//! The last word of a log that is left in order.

use super::Log;
use crate::block::{BLOCK_HEAD, Part};
use crate::error::Error;
use crate::tail::{Head, Tail};
use std::sync::atomic::Ordering;

impl Log {
    /// Says in the log that everything in it is on disk, if that is so and nothing says it yet: a block without records. What is
    /// damaged afterwards is then known not to be the trace of a crash. The block itself is on disk with the next sync.
    pub fn prove_synced(&mut self) -> Result<(), Error> {
        let synced = self.shared.synced.load(Ordering::Acquire);
        let is_needed = synced == self.written && self.proved < synced && self.split == 0 && !self.is_broken;
        if !is_needed || self.open.is_none() {
            return Ok(());
        }
        if self.room() == 0 {
            self.roll(synced.saturating_add(1))?;
        }
        let first = Head { kind: 0, partition: 0, term: 0, position: synced.saturating_add(1), time_ms: 0 };
        let put = self.put(&mut Tail::default(), 0..BLOCK_HEAD, Part::Whole, first);
        self.is_broken = put.is_err();
        put
    }
}
