//! The primitive changes of hashes.

use super::Txn;
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Replay of the changes of hashes.
    pub(crate) fn apply_hash(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let _ = (tag, fields);
        Err(Malformed)
    }
}
