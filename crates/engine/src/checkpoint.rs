//! Checkpoints: the state as it was at one position, handed over in slices as the changes that make it, while commits go
//! on. What the parts do for it is in `keyspace/src/checkpoint.rs` and `broker/src/checkpoint.rs`; accounts, parameters and
//! libraries are small and handed over at once. Whoever writes it down calls for slices, each under the lock, and
//! goes on to the end whether or not it can still be written.

use crate::engine::Engine;
use leveret_base::codec::Name;
use leveret_wal::CheckpointHead;

/// What has been handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// There is more.
    More,
    /// That was all.
    Last,
}

impl Engine {
    /// A checkpoint of what there is now begins: `into` gets the first changes. `None` while one is on its way.
    pub fn begin_checkpoint(&mut self, into: &mut Vec<u8>) -> Option<CheckpointHead> {
        assert!(self.is_between_commits(), "a checkpoint is of a whole commit");
        if self.checkpointing {
            return None;
        }
        self.checkpointing = true;
        self.accounts.hand_over(into);
        self.parameters.hand_over(into);
        self.libraries.hand_over(into);
        self.broker.begin_checkpoint(self.position());
        self.keyspace.begin_checkpoint();
        Some(CheckpointHead { position: self.position(), time_ms: self.now_ms() })
    }

    /// Appends about so many bytes of changes to `into`, and whatever had to be handed over out of turn; to `names` the
    /// messages that those changes have by name only, which the log has to keep.
    pub fn checkpoint_slice(&mut self, bytes: usize, into: &mut Vec<u8>, names: &mut Vec<Name>) -> Slice {
        let before = into.len();
        let is_broker_over = self.broker.checkpoint_slice(bytes, into, names);
        let left = bytes.saturating_sub(into.len() - before);
        let is_over = self.keyspace.checkpoint_slice(left, into) && is_broker_over;
        if is_over {
            self.checkpointing = false;
            Slice::Last
        } else {
            Slice::More
        }
    }

    /// Bytes that were handed over before something changed and that nobody has taken yet.
    pub fn checkpoint_bytes(&self) -> usize {
        self.keyspace.checkpoint_bytes() + self.broker.checkpoint_bytes()
    }

    /// True while a checkpoint is on its way.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpointing
    }

    /// Reads changes of a checkpoint into an empty engine. Pieces come in order, each of whole changes.
    pub fn restore(&mut self, changes: &[u8]) -> Result<(), String> {
        self.apply_changes(changes, None)
    }

    /// After the last piece: the state is that of this position.
    pub fn restored(&mut self, head: CheckpointHead) {
        self.broker.restored(head.position);
        self.set_restored(head);
    }
}
