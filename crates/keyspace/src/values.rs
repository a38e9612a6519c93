//! The values that do not fit into an entry: long strings and collections. They know neither their key nor the log.

mod list;

use leveret_base::blocks::Blocks;

pub(crate) use list::{End, List};

/// A value of its own allocation.
pub(crate) enum Object {
    /// A string beyond the inline limit.
    Blob(Blocks),
    /// A list, never empty.
    List(List),
}

impl Object {
    /// Of about how many allocations it consists.
    pub(crate) fn allocations(&self) -> usize {
        match self {
            // Large blocks cost more than small elements.
            Object::Blob(blocks) => blocks.len() / 1024,
            Object::List(list) => list.len(),
        }
    }
}
