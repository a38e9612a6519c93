//! What the fuzz targets call: nothing may panic, nor allocate much more than it was given.

use crate::rdb::{Family, Reader, load};

/// The type and value of a payload of RESTORE.
pub fn payloads(bytes: &[u8]) {
    // Refusing is right.
    let _ = load(Family::Redis, bytes);
    let _ = load(Family::Valkey, bytes);
}

/// A whole snapshot: it is read to its end or refused, and nothing of it is larger than what was read.
pub fn snapshots(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some(_)) = reader.next_item() {
        while let Ok(Some(piece)) = reader.piece() {
            std::hint::black_box(piece.len());
        }
        assert!(reader.offset() <= bytes.len() as u64, "more was read than there is");
    }
}
