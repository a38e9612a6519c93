//! The primitive changes of lists.

use super::Txn;
use crate::change::{self, record};
use crate::values::{End, List};

impl Txn<'_> {
    /// Primitive: pushes elements one after the other; the list is made if it is missing.
    pub(crate) fn list_push<'e>(
        &mut self,
        end: End,
        key: &[u8],
        elements: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) {
        self.reap(key);
        if let Some(out) = self.changes.buffer() {
            change::record_push(out, end, self.db, key, elements.clone());
        }
        self.change(key, |list: &mut List| elements.for_each(|element| list.push(end, element)));
        self.keyspace.watches.filled(self.db, key);
    }

    /// Primitive: takes up to `count` elements; an emptied list goes with its key.
    pub(crate) fn list_pop(&mut self, end: End, key: &[u8], count: usize, mut each: impl FnMut(&[u8])) {
        let taken = self.change(key, |list: &mut List| {
            let mut taken = 0;
            while taken < count
                && let Some(element) = list.pop(end)
            {
                each(&element);
                taken += 1;
            }
            taken
        });
        if taken > 0 {
            let tag = if end == End::Left { change::LIST_POP_LEFT } else { change::LIST_POP_RIGHT };
            record!(self, tag, number taken as u64, bytes key);
        }
    }
}
