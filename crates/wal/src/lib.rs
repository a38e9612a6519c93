//! The log: records of bytes in segment files behind one storage trait. It knows what a record's head is and nothing
//! of what its changes mean; it has no threads and no clock. The format is drawn in `docs/log-format.md`.

mod block;
mod error;
pub mod faulty;
mod log;
mod reader;
mod recovery;
mod storage;
mod tail;

pub use error::Error;
pub use log::{Log, Options, Preparer, Syncer};
pub use reader::Reader;
pub use recovery::{Cut, Summary};
pub use storage::{Disk, File, Storage};
pub use tail::{Head, Record, Tail};

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(test)]
mod tests;
