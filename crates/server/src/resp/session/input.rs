//! What has arrived and is not executed yet: bytes, and the commands found in the first of them.

use super::RespSession;
use crate::prefetch::Window;
use leveret_engine::Engine;

/// Commands looked at before they are executed.
const BATCH_MAX: usize = 16 * 1024;
/// What a client may send while it does not read its answers.
const INPUT_MAX: usize = 256 * 1024 * 1024;
/// Input buffers larger than this are given back when they are empty.
const INPUT_KEPT: usize = 64 * 1024;

impl RespSession {
    /// Finds the commands in what has arrived. Outside the lock.
    pub(crate) fn decode(&mut self) {
        if self.has_work() {
            self.undecoded = true;
            return;
        }
        self.settle_input();
        // Until it has said who it is each command decides how the next one is read.
        self.decoder.limits.authenticated = self.authenticated;
        self.decoder.limits.commands_max = if self.authenticated { BATCH_MAX } else { 1 };
        match self.decoder.decode(self.input.get_mut(self.start..).unwrap_or_default(), &mut self.batch) {
            Ok(consumed) => self.consumed = consumed,
            Err(error) => self.error = Some(error),
        }
        self.undecoded = self.batch.len() == BATCH_MAX;
    }

    /// True when more has arrived than was looked at.
    pub(crate) fn is_undecoded(&self) -> bool {
        self.undecoded
    }

    /// True when there is room for what cannot be executed yet.
    pub(crate) fn keeps_input(&self) -> bool {
        self.input_bytes() < INPUT_MAX
    }

    /// Bytes that are not executed.
    pub(crate) fn input_bytes(&self) -> usize {
        self.input.len() - self.start
    }

    /// Bytes of memory behind what is not executed: the input, and the commands of a transaction.
    pub(crate) fn held_bytes(&self) -> usize {
        self.input.capacity() + self.multi.as_ref().map_or(0, |multi| multi.bytes)
    }

    /// Drops the bytes of executed commands.
    fn settle_input(&mut self) {
        self.batch.clear();
        (self.done, self.prefetched) = (0, 0);
        self.start += std::mem::take(&mut self.consumed);
        // What is left is moved when it is the smaller part: so a byte is moved once at most.
        if self.start > self.input.len() / 2 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        if self.input.is_empty() && self.input.capacity() > INPUT_KEPT {
            self.input = Vec::new();
        }
    }

    /// Adds the keys of the commands that will be executed next.
    pub(crate) fn prefetch(&mut self, engine: &Engine, window: &mut Window) {
        let arrived = self.input.get(self.start..).unwrap_or_default();
        self.prefetched = window.fill(engine, self.db, &self.batch, arrived, self.done);
    }

    /// True when there is something for `execute`.
    pub(crate) fn has_work(&self) -> bool {
        self.done < self.batch.len() || self.error.is_some()
    }
}
