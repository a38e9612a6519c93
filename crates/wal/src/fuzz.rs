//! The reader's entry for a fuzzer: any bytes may stand in a segment.

use crate::block::segment_head;
use crate::faulty::FaultyDisk;
use crate::log::{Log, Options, segment_name};
use std::sync::Arc;

/// Takes bytes as a segment: once as they are, once behind a valid head. Never panics; memory stays near the input's.
pub fn fuzz(data: &[u8]) {
    let behind_head: Vec<u8> = segment_head(1, 1).iter().chain(data).copied().collect();
    for bytes in [data, &behind_head] {
        let disk = FaultyDisk::new(0);
        disk.put(&segment_name(1), bytes);
        let mut log = Log::open(Arc::new(disk), Options::default()).expect("the options are valid");
        let mut seen = 0;
        // A refusal is as good an answer as records.
        if let Ok(summary) = log.replay(&mut |record| {
            seen += record.changes.len();
            Ok(())
        }) {
            assert!(
                seen <= bytes.len() && summary.bytes <= bytes.len() as u64,
                "more was read than there is"
            );
        }
    }
}
