//! The primitive changes of sets.

use super::Txn;
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Replay of the changes of sets.
    pub(crate) fn apply_set(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let _ = (tag, fields);
        Err(Malformed)
    }
}
