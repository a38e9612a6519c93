//! The primitive changes of sets.

use super::Txn;
use crate::change::{self, record_many};
use crate::event;
use crate::values::Set;
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Primitive: adds members; the set is made if it is missing. Gives how many are new.
    pub(crate) fn set_add<'e>(
        &mut self,
        key: &[u8],
        members: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) -> usize {
        self.reap(key);
        record_many(self, change::SET_ADD, None, key, members.clone());
        let hasher = self.keyspace.hasher.clone();
        self.change(event::SET_ADD, key, |set: &mut Set| {
            members.filter(|member| set.insert(member, &hasher)).count()
        })
    }

    /// Primitive: removes members; an emptied set goes with its key. Gives how many there were.
    pub(crate) fn set_remove<'e>(
        &mut self,
        key: &[u8],
        members: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) -> usize {
        record_many(self, change::SET_REMOVE, None, key, members.clone());
        self.change(event::SET_REMOVE, key, |set: &mut Set| {
            members.filter(|member| set.remove(member)).count()
        })
    }

    /// Replay of the changes of sets.
    pub(crate) fn apply_set(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let (key, count) = (fields.bytes()?, fields.varint()?);
        self.collection::<Set>(key).map_err(|_| Malformed)?;
        let members = (0..count).map(|_| fields.bytes()).collect::<Result<Vec<_>, _>>()?;
        match tag {
            change::SET_ADD => self.set_add(key, members.iter().copied()),
            change::SET_REMOVE => self.set_remove(key, members.iter().copied()),
            _ => return Err(Malformed),
        };
        Ok(())
    }
}
