//! What the fuzz targets call: nothing may panic, nor allocate much more than it was given.

use crate::rdb::load;

/// The type and value of a payload of RESTORE.
pub fn payloads(bytes: &[u8]) {
    // Refusing is right.
    let _ = load(bytes);
}
