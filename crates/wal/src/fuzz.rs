//! Entry point for arbitrary bytes as a segment: never a panic, whatever is read.

use crate::faulty::FaultyDisk;
use crate::log::segment_name;
use crate::{Log, Options};
use std::sync::Arc;

/// A whole segment file.
pub fn segment(data: &[u8]) {
    let disk = FaultyDisk::default();
    disk.set_content(&segment_name(1), data);
    if let Ok(mut log) = Log::open(Arc::new(disk), Options::default()) {
        let _ = log.replay(&mut |_| Ok(()));
    }
}
