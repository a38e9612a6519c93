//! A large hash: a table of fields, each one allocation.

use super::{Field, New};
use crate::UnixMillis;
use crate::change::{self, put_many};
use crate::db::hash;
use crate::values::element::Element;
use crate::values::walk::{Slot, Step};
use foldhash::fast::FixedState;
use leveret_base::{Addressed, Table, Thin};

/// A byte with the length of the name, or a mark and four bytes with it; the deadline, if the first byte says so; name and
/// value.
#[derive(Clone)]
struct Packed(Thin);

impl Addressed for Packed {
    #[inline]
    fn address(&self) -> *const u8 {
        self.0.address()
    }
}

/// The bit of the first byte that says it; the others are the length.
const HAS_DEADLINE: u8 = 1;
/// A name of this length or more.
const LONG: usize = 0x7f;

impl Packed {
    fn new(field: New<'_>) -> Self {
        let (name_len, deadline) = (field.name.len(), field.deadline.to_le_bytes());
        let deadline: &[u8] = if field.deadline == 0 { &[] } else { &deadline };
        let first = (name_len.min(LONG) as u8) << 1 | if deadline.is_empty() { 0 } else { HAS_DEADLINE };
        let long = (name_len as u32).to_le_bytes();
        let long: &[u8] = if name_len < LONG { &[] } else { &long };
        Self(Thin::new(&[&[first], long, deadline, field.name, field.value]))
    }

    #[inline]
    fn read(&self) -> New<'_> {
        let (first, mut rest) = self.0.bytes().split_first().expect("a length was written first");
        let mut name_len = usize::from(first >> 1);
        if name_len == LONG
            && let Some((long, behind)) = rest.split_first_chunk()
        {
            (name_len, rest) = (u32::from_le_bytes(*long) as usize, behind);
        }
        let mut deadline = 0;
        if first & HAS_DEADLINE != 0
            && let Some((written, behind)) = rest.split_first_chunk()
        {
            (deadline, rest) = (u64::from_le_bytes(*written), behind);
        }
        let (name, value) = rest.split_at(name_len);
        New { name, value, deadline }
    }

    fn name(&self) -> &[u8] {
        self.read().name
    }

    fn field(&self) -> Field<'_> {
        let New { name, value, deadline } = self.read();
        Field { name: Element::Borrowed(name), value: Element::Borrowed(value), deadline }
    }

    /// Becomes the same field with this value and deadline; in place when that has the size.
    fn set(&mut self, field: New<'_>) {
        let old = self.read();
        if old.value.len() == field.value.len() && old.deadline == field.deadline {
            let bytes = self.0.bytes_mut();
            let start = bytes.len() - field.value.len();
            bytes[start..].copy_from_slice(field.value);
        } else {
            *self = Packed::new(field);
        }
    }
}

/// The changes that make a field.
fn hand_over(Step { db, key, out }: &mut Step<'_>, field: New<'_>) {
    put_many(out, change::HASH_SET, *db, None, key, [field.name, field.value].into_iter());
    if field.deadline != 0 {
        put_many(out, change::HASH_DEADLINE, *db, Some(field.deadline), key, [field.name].into_iter());
    }
}

/// The fields.
#[derive(Clone)]
pub(crate) struct FieldTable {
    table: Table<Packed>,
    hasher: FixedState,
    walk: Slot,
}

impl FieldTable {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { table: Table::default(), hasher, walk: Slot::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn get(&self, name: &[u8]) -> Option<&Packed> {
        self.table.find(hash(&self.hasher, name), |packed| packed.name() == name)
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        self.get(name).map(Packed::field)
    }

    pub(super) fn deadline(&self, name: &[u8]) -> Option<UnixMillis> {
        self.get(name).map(|packed| packed.read().deadline)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.table.iter().map(Packed::field)
    }

    pub(super) fn put(&mut self, field: New<'_>) {
        let Self { table, hasher, walk } = self;
        let hash_of_name = hash(hasher, field.name);
        match table.find_mut(hash_of_name, |old| old.name() == field.name) {
            Some(old) => {
                if let Some(walk) = walk.changes(hash_of_name, field.name) {
                    hand_over(&mut walk.step(), old.read());
                }
                old.set(field);
            }
            None => {
                let hash_of = |packed: &Packed| hash(hasher, packed.name());
                table.insert_unique(hash_of_name, Packed::new(field), hash_of);
                walk.comes(hash_of_name, field.name);
            }
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        let hash = hash(&self.hasher, name);
        let removed = self.table.remove(hash, |packed| packed.name() == name);
        if let (Some(removed), Some(walk)) = (removed, self.walk.goes(hash, name)) {
            hand_over(&mut walk.step(), removed.read());
        }
    }

    /// Where a checkpoint's walk through it is kept.
    pub(crate) fn walk(&mut self) -> &mut Slot {
        &mut self.walk
    }

    /// Hands over some fields; true after the last ones.
    pub(crate) fn walk_on(&mut self, count: usize) -> bool {
        let Self { table, hasher, walk } = self;
        walk.step(|cursor, is_settled, step| {
            let hash_of = |packed: &Packed| hash(hasher, packed.name());
            table.scan(cursor, count, hash_of, |packed| {
                let field = packed.read();
                if !is_settled(field.name) {
                    hand_over(step, field);
                }
            })
        })
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(Field<'a>)) -> u64 {
        let hash_of = |packed: &Packed| hash(&self.hasher, packed.name());
        self.table.scan(cursor, count, hash_of, |packed| each(packed.field()))
    }

    pub(super) fn random(&self, rng: &mut fastrand::Rng) -> Option<Field<'_>> {
        self.table.random(|n| rng.usize(..n)).map(Packed::field)
    }
}
