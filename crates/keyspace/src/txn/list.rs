//! The primitive changes of lists. Elements in the middle are named by their index at that moment.

use super::Txn;
use crate::change::{self, begin, record};
use crate::event;
use crate::values::{End, List};
use leveret_base::codec::{Malformed, Reader, put_bytes, put_varint};

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
        let event = if end == End::Left { event::PUSH_LEFT } else { event::PUSH_RIGHT };
        self.change(event, key, |list: &mut List| elements.for_each(|element| list.push(end, element)));
        self.keyspace.watches.filled(self.db, key);
    }

    /// Primitive: takes up to `count` elements; an emptied list goes with its key.
    pub(crate) fn list_pop(&mut self, end: End, key: &[u8], count: usize, mut each: impl FnMut(&[u8])) {
        let event = if end == End::Left { event::POP_LEFT } else { event::POP_RIGHT };
        let taken = self.change(event, key, |list: &mut List| {
            let mut taken = 0;
            while taken < count && list.pop(end, &mut each) {
                taken += 1;
            }
            taken
        });
        if taken > 0 {
            let tag = if end == End::Left { change::LIST_POP_LEFT } else { change::LIST_POP_RIGHT };
            record!(self, tag, number taken as u64, bytes key);
        }
    }

    /// Primitive: replaces one element.
    pub(crate) fn list_set(&mut self, key: &[u8], index: usize, element: &[u8]) {
        record!(self, change::LIST_SET, number index as u64, bytes key, bytes element);
        self.change(event::LIST_SET, key, |list: &mut List| list.set(index, element));
    }

    /// Primitive: puts an element in front of the one at `index`, or at the end.
    pub(crate) fn list_insert(&mut self, key: &[u8], index: usize, element: &[u8]) {
        record!(self, change::LIST_INSERT, number index as u64, bytes key, bytes element);
        self.change(event::LIST_INSERT, key, |list: &mut List| list.insert(index, element));
    }

    /// Primitive: removes the elements at these indexes, which ascend.
    pub(crate) fn list_remove(&mut self, key: &[u8], indexes: &[usize]) {
        let db = self.db;
        if let Some(out) = self.changes.buffer() {
            begin(out, change::LIST_REMOVE, db);
            put_bytes(out, key);
            put_varint(out, indexes.len() as u64);
            indexes.iter().for_each(|index| put_varint(out, *index as u64));
        }
        self.change(event::LIST_REMOVE, key, |list: &mut List| {
            list.remove(indexes);
        });
    }

    /// Primitive: keeps `len` elements from `start` on; an emptied list goes with its key.
    pub(crate) fn list_trim(&mut self, key: &[u8], start: usize, len: usize) {
        record!(self, change::LIST_TRIM, number start as u64, number len as u64, bytes key);
        self.change(event::LIST_TRIM, key, |list: &mut List| list.trim(start, len));
    }

    /// Replay of the changes of single elements.
    pub(crate) fn apply_list(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let index = |fields: &mut Reader<'_>| fields.varint().map(|index| index as usize);
        match tag {
            change::LIST_SET | change::LIST_INSERT => {
                let (index, key, element) = (index(fields)?, fields.bytes()?, fields.bytes()?);
                self.collection::<List>(key).map_err(|_| Malformed)?;
                if tag == change::LIST_SET {
                    self.list_set(key, index, element);
                } else {
                    self.list_insert(key, index, element);
                }
            }
            change::LIST_REMOVE => {
                let (key, count) = (fields.bytes()?, fields.varint()?);
                let indexes = (0..count).map(|_| index(fields)).collect::<Result<Vec<_>, _>>()?;
                self.collection::<List>(key).map_err(|_| Malformed)?;
                if !indexes.is_sorted_by(|a, b| a < b) {
                    return Err(Malformed);
                }
                self.list_remove(key, &indexes);
            }
            change::LIST_TRIM => {
                let (start, len, key) = (index(fields)?, index(fields)?, fields.bytes()?);
                self.collection::<List>(key).map_err(|_| Malformed)?;
                self.list_trim(key, start, len);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}
