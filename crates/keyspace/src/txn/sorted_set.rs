//! The primitive changes of sorted sets.

use super::Txn;
use crate::change::{self, record_many};
use crate::event;
use crate::values::SortedSet;
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Primitive: gives members scores; the sorted set is made if it is missing.
    pub(crate) fn sorted_set_put(&mut self, key: &[u8], items: &[(f64, &[u8])]) {
        self.reap(key);
        let db = self.db;
        if let Some(out) = self.changes.buffer() {
            change::put_scores(out, db, key, items.iter().copied());
        }
        let hasher = self.keyspace.hasher.clone();
        self.change(event::SORTED_SET_PUT, key, |set: &mut SortedSet| {
            for (score, member) in items {
                set.put(*score, member, &hasher);
            }
        });
        self.keyspace.watches.filled(self.db, key);
    }

    /// Primitive: removes members; an emptied sorted set goes with its key. Gives how many there were.
    pub(crate) fn sorted_set_remove<'e>(
        &mut self,
        key: &[u8],
        members: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) -> usize {
        record_many(self, change::SORTED_SET_REMOVE, None, key, members.clone());
        self.change(event::SORTED_SET_REMOVE, key, |set: &mut SortedSet| {
            members.filter(|member| set.remove(member)).count()
        })
    }

    /// Replay of the changes of sorted sets.
    pub(crate) fn apply_sorted_set(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let (key, count) = (fields.bytes()?, fields.varint()?);
        self.collection::<SortedSet>(key).map_err(|_| Malformed)?;
        match tag {
            change::SORTED_SET_PUT => {
                let items = (0..count).map(|_| item(fields)).collect::<Result<Vec<_>, _>>()?;
                self.sorted_set_put(key, &items);
            }
            change::SORTED_SET_REMOVE => {
                let members = (0..count).map(|_| fields.bytes()).collect::<Result<Vec<_>, _>>()?;
                self.sorted_set_remove(key, members.iter().copied());
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

fn item<'a>(fields: &mut Reader<'a>) -> Result<(f64, &'a [u8]), Malformed> {
    let score = f64::from_bits(fields.varint()?.reverse_bits());
    if score.is_nan() { Err(Malformed) } else { Ok((score, fields.bytes()?)) }
}
