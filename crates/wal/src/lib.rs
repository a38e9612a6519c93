//! The log: records of bytes in segment files behind one storage trait. It knows what a record's head is and nothing
//! of what its changes mean; it has no threads and no clock. The format is drawn in `docs/log-format.md`.

mod block;
mod bodies;
mod checkpoint;
mod error;
pub mod faulty;
mod held;
mod inspect;
mod log;
mod names;
mod reader;
mod recovery;
mod rewrite;
mod storage;
mod tail;
mod units;

pub use checkpoint::{CheckpointHead, CheckpointWriter, Checkpoints, Reclaimed};
pub use error::Error;
pub use held::{Held, files_held, verify_held};
pub use inspect::{Ending, Explained, Inspection, Place, Why, explain, inspect, repair};
pub use log::{Log, Options, Preparer, Syncer};
pub use reader::Reader;
pub use recovery::{Cut, Replay, Summary};
pub use storage::{Disk, File, Onlooker, Storage};
pub use tail::{Head, Record, Tail};

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
