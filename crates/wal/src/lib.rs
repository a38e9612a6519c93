//! The log: records of bytes in segment files behind one storage trait. It knows what a record's head is and nothing
//! of what its changes mean; it has no clock, and no threads but the disk's, which read ahead. The format is drawn in
//! `docs/log-format.md`.

mod ahead;
mod archive;
mod block;
mod bodies;
mod checkpoint;
mod error;
pub mod faulty;
mod held;
mod inspect;
mod kept;
mod log;
mod names;
mod opened;
mod piece;
mod reach;
mod reader;
mod recovery;
mod repair;
mod rewrite;
mod spill;
mod storage;
mod sums;
mod tail;
mod units;

pub use archive::{
    Backup, BackupMade, DamagedList, Listed, Pruned, Restored, Until, backup, backups, prune, restore,
};
pub use checkpoint::{CheckpointHead, CheckpointWriter, Checkpoints, Reclaimed};
pub use error::Error;
pub use held::{Held, verify_held};
pub use inspect::{Ending, Explained, Inspection, Place, Why, explain, inspect, inspect_after};
pub use kept::{Archived, Kept, archived, set_archived};
pub use log::{Log, Options, Preparer, Syncer};
pub use piece::ReadPiece;
pub use reader::Reader;
pub use recovery::{Cut, Replay, Summary};
pub use repair::{Gap, gaps, repair, stand_in};
pub use spill::{Extent, SpillFiles, Unneeded};
pub use storage::{Disk, File, Onlooker, Storage};
pub use tail::{Head, Record, Tail};

/// The versions of segments, blocks and checkpoints that are written, and read.
pub const FORMATS: [u32; 3] = [block::FORMAT as u32, block::FORMAT as u32, checkpoint::FORMAT];

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
