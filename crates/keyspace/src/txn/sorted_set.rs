//! The primitive changes of sorted sets.

use super::Txn;
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Replay of the changes of sorted sets.
    pub(crate) fn apply_sorted_set(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let _ = (tag, fields);
        Err(Malformed)
    }
}
