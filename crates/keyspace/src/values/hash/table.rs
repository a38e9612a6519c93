//! A large hash: a table of fields, each one allocation.

use super::Field;
use foldhash::fast::FixedState;
use leveret_base::Table;
use std::hash::{BuildHasher, Hasher};

/// Deadline and length of the name, then name and value.
#[derive(Clone)]
struct Packed(Box<[u8]>);

const HEAD: usize = 12;

impl Packed {
    fn new(field: Field<'_>) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + field.name.len() + field.value.len());
        bytes.extend_from_slice(&field.deadline.to_le_bytes());
        bytes.extend_from_slice(&(field.name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(field.name);
        bytes.extend_from_slice(field.value);
        Self(bytes.into_boxed_slice())
    }

    fn field(&self) -> Field<'_> {
        let (head, rest) = self.0.split_first_chunk::<HEAD>().expect("the head was written first");
        let [d0, d1, d2, d3, d4, d5, d6, d7, n0, n1, n2, n3] = *head;
        let name_len = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        let (name, value) = rest.split_at(name_len);
        Field { name, value, deadline: u64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7]) }
    }
}

/// The fields.
#[derive(Clone)]
pub(super) struct FieldTable {
    table: Table<Packed>,
    hasher: FixedState,
}

fn hash(hasher: &FixedState, name: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(name);
    hasher.finish()
}

impl FieldTable {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { table: Table::default(), hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        self.table.find(hash(&self.hasher, name), |packed| packed.field().name == name).map(Packed::field)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.table.iter().map(Packed::field)
    }

    pub(super) fn put(&mut self, field: Field<'_>) {
        let (hasher, packed) = (&self.hasher, Packed::new(field));
        let hash_of_name = hash(hasher, field.name);
        match self.table.find_mut(hash_of_name, |old| old.field().name == field.name) {
            Some(old) => *old = packed,
            None => {
                self.table.insert_unique(hash_of_name, packed, |packed| hash(hasher, packed.field().name));
            }
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.table.remove(hash(&self.hasher, name), |packed| packed.field().name == name);
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(Field<'a>)) -> u64 {
        let hash_of = |packed: &Packed| hash(&self.hasher, packed.field().name);
        self.table.scan(cursor, count, hash_of, |packed| each(packed.field()))
    }

    pub(super) fn random(&self, rng: &mut fastrand::Rng) -> Option<Field<'_>> {
        self.table.random(|n| rng.usize(..n)).map(Packed::field)
    }
}
