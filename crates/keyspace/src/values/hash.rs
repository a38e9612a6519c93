//! A hash: fields with a value and perhaps a deadline each. Small ones are one run of bytes, searched from its start;
//! large ones are a table of fields. The deadlines have an index beside either. Time comes in as an argument: a field
//! whose time is up is there until a change removes it, and absent for whoever asks with the time.

mod packed;
mod table;

use super::compact::{Compact, Form};
use super::element::Element;
use super::limits;
use crate::UnixMillis;
use foldhash::fast::FixedState;
use packed::Packed;
use std::collections::BTreeSet;
use table::FieldTable;

/// A field as it stands; deadline 0 is none.
pub(crate) struct Field<'a> {
    pub(crate) name: Element<'a>,
    pub(crate) value: Element<'a>,
    pub(crate) deadline: UnixMillis,
}

/// A field as it is to be.
#[derive(Clone, Copy)]
struct New<'a> {
    name: &'a [u8],
    value: &'a [u8],
    deadline: UnixMillis,
}

impl Field<'_> {
    pub(crate) fn is_overdue(&self, now_ms: UnixMillis) -> bool {
        self.deadline != 0 && self.deadline <= now_ms
    }
}

/// What most hashes do not have.
#[derive(Default, Clone)]
struct Timed {
    /// When which field goes.
    deadlines: BTreeSet<(UnixMillis, Box<[u8]>)>,
    /// Under which deadline the keyspace has noted this hash; 0 is under none.
    noted: UnixMillis,
}

/// A hash that is large or has deadlines.
#[derive(Clone)]
struct Full {
    fields: Compact<Packed, FieldTable>,
    timed: Timed,
}

/// The value.
#[derive(Clone, Default)]
pub(crate) struct Hash(Compact<Packed, Full>);

impl Hash {
    fn fields(&self) -> Form<&Packed, &FieldTable> {
        match self.0.get() {
            Form::Small(packed) => Form::Small(packed),
            Form::Large(full) => full.fields.get(),
        }
    }

    fn fields_mut(&mut self) -> Form<&mut Packed, &mut FieldTable> {
        match self.0.get_mut() {
            Form::Small(packed) => Form::Small(packed),
            Form::Large(full) => full.fields.get_mut(),
        }
    }

    fn timed(&self) -> Option<&Timed> {
        match self.0.get() {
            Form::Small(_) => None,
            Form::Large(full) => Some(&full.timed),
        }
    }

    fn full_mut(&mut self) -> &mut Full {
        if let Form::Small(packed) = self.0.get_mut() {
            let fields = Compact::small(std::mem::take(packed));
            self.0 = Compact::large(Full { fields, timed: Timed::default() });
        }
        match self.0.get_mut() {
            Form::Small(_) => unreachable!("it has just been made a full one"),
            Form::Large(full) => full,
        }
    }

    /// A small hash that has lost its last deadline is its fields again.
    fn settle(&mut self) {
        if let Form::Large(Full { fields, timed }) = self.0.get_mut()
            && let Form::Small(packed) = fields.get_mut()
            && timed.deadlines.is_empty()
            && timed.noted == 0
        {
            packed.forget_deadlines();
            self.0 = Compact::small(std::mem::take(packed));
        }
    }

    /// How many fields there are, overdue ones included.
    pub(crate) fn len(&self) -> usize {
        match self.fields() {
            Form::Small(packed) => packed.len(),
            Form::Large(table) => table.len(),
        }
    }

    /// How many fields there are at a time.
    pub(crate) fn live_count(&self, now_ms: UnixMillis) -> usize {
        let overdue = |timed: &Timed| timed.deadlines.range(..=(now_ms, MOST.into())).count();
        self.len() - self.timed().map_or(0, overdue)
    }

    /// The table of a large one.
    pub(crate) fn table_mut(&mut self) -> Option<&mut FieldTable> {
        match self.fields_mut() {
            Form::Small(_) => None,
            Form::Large(table) => Some(table),
        }
    }

    /// The bytes of a small one.
    pub(crate) fn packed_bytes(&self) -> Option<usize> {
        match self.fields() {
            Form::Small(packed) => Some(packed.bytes()),
            Form::Large(_) => None,
        }
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        match self.fields() {
            Form::Small(_) if self.next_deadline().is_some() => "listpackex",
            Form::Small(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// One field, overdue or not.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        match self.fields() {
            Form::Small(packed) => packed.find(name),
            Form::Large(table) => table.find(name),
        }
    }

    /// One field, unless its time is up.
    pub(crate) fn find_live(&self, name: &[u8], now_ms: UnixMillis) -> Option<Field<'_>> {
        self.find(name).filter(|field| !field.is_overdue(now_ms))
    }

    /// All fields.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Field<'_>> + '_> {
        match self.fields() {
            Form::Small(packed) => Box::new(packed.iter()),
            Form::Large(table) => Box::new(table.iter()),
        }
    }

    /// Sets a field; its deadline goes, unless it is kept. Gives true when the field is new. `hasher` is for a table that is
    /// made now.
    pub(crate) fn set(
        &mut self,
        name: &[u8],
        value: &[u8],
        keep_deadline: bool,
        hasher: &FixedState,
    ) -> bool {
        let before = self.deadline(name);
        let deadline = before.filter(|_| keep_deadline).unwrap_or(0);
        self.index(name, before.unwrap_or(0), deadline);
        self.put(New { name, value, deadline }, hasher);
        before.is_none()
    }

    /// Gives a field a deadline, or takes it away with 0; a missing field stays missing.
    pub(crate) fn set_deadline(&mut self, name: &[u8], deadline: UnixMillis, hasher: &FixedState) {
        let Some(field) = self.find(name) else { return };
        let (before, value) = (field.deadline, field.value.to_vec());
        self.index(name, before, deadline);
        self.put(New { name, value: &value, deadline }, hasher);
    }

    /// Removes a field; gives whether it was there.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let Some(deadline) = self.deadline(name) else { return false };
        self.index(name, deadline, 0);
        match self.fields_mut() {
            Form::Small(packed) => packed.remove(name),
            Form::Large(table) => table.remove(name),
        }
        true
    }

    /// When the first field goes.
    pub(crate) fn next_deadline(&self) -> Option<UnixMillis> {
        self.timed()?.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Under which deadline the keyspace has noted this hash; 0 is under none.
    pub(crate) fn noted(&self) -> UnixMillis {
        self.timed().map_or(0, |timed| timed.noted)
    }

    /// It has noted it.
    pub(crate) fn set_noted(&mut self, deadline: UnixMillis) {
        if let Form::Large(full) = self.0.get_mut() {
            full.timed.noted = deadline;
            self.settle();
        }
    }

    /// Up to `count` fields whose time is up.
    pub(crate) fn overdue(&self, now_ms: UnixMillis, count: usize) -> Vec<Box<[u8]>> {
        let all = self.timed().into_iter().flat_map(|timed| &timed.deadlines);
        all.take_while(|(deadline, _)| *deadline <= now_ms)
            .take(count)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Visits fields from `cursor` on; gives the cursor to go on from. A small hash is visited as a whole.
    pub(crate) fn scan<'a>(&'a self, cursor: u64, count: usize, each: impl FnMut(Field<'a>)) -> u64 {
        match self.fields() {
            Form::Small(packed) => {
                packed.iter().for_each(each);
                0
            }
            Form::Large(table) => table.scan(cursor, count, each),
        }
    }

    /// Any field, each equally likely.
    pub(crate) fn random(&self, rng: &mut fastrand::Rng) -> Option<Field<'_>> {
        match self.fields() {
            Form::Small(packed) => packed.iter().nth(rng.usize(..packed.len().max(1))),
            Form::Large(table) => table.random(rng),
        }
    }

    /// The deadline of a field that is there.
    fn deadline(&self, name: &[u8]) -> Option<UnixMillis> {
        match self.fields() {
            Form::Small(packed) => packed.deadline(name),
            Form::Large(table) => table.deadline(name),
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"hash");
        let mut fields: Vec<Field<'_>> = self.iter().collect();
        fields.sort_unstable_by(|left, right| (*left.name).cmp(&right.name));
        for Field { name, value, deadline } in fields {
            part(&name);
            part(&value);
            part(&deadline.to_le_bytes());
        }
    }

    fn put(&mut self, field: New<'_>, hasher: &FixedState) {
        if let Form::Small(packed) = self.fields_mut() {
            let is_small = field.name.len().max(field.value.len()) <= limits::HASH_VALUE.size();
            if is_small && packed.put(field, limits::HASH_ENTRIES.size()) {
                return;
            }
            let mut table = FieldTable::new(hasher.clone());
            for Field { name, value, deadline } in packed.iter() {
                table.put(New { name: &name, value: &value, deadline });
            }
            self.full_mut().fields = Compact::large(table);
        }
        if let Form::Large(table) = self.fields_mut() {
            table.put(field);
        }
    }

    fn index(&mut self, name: &[u8], before: UnixMillis, after: UnixMillis) {
        if before == after {
            return;
        }
        let deadlines = &mut self.full_mut().timed.deadlines;
        if before != 0 {
            deadlines.remove(&(before, name.into()));
        }
        if after != 0 {
            deadlines.insert((after, name.into()));
        }
        self.settle();
    }
}

/// No field's name comes after it: 0xff fills more than any name's first bytes can.
const MOST: &[u8] = &[0xff; 256];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_hash_does_what_a_map_does() {
        for seed in 0..60 {
            let (mut rng, hasher) = (fastrand::Rng::with_seed(seed), FixedState::with_seed(seed));
            let (mut hash, mut plain) = (Hash::default(), BTreeMap::<Vec<u8>, (Vec<u8>, u64)>::new());
            let (names, long) = (rng.usize(2..400), rng.u8(..4) == 0);
            for step in 0..1000u64 {
                let name = rng.usize(..names);
                let name = format!("f{}{name}", "x".repeat(if long { name % 150 } else { 0 })).into_bytes();
                match rng.u8(..10) {
                    0..=4 => {
                        let len = if long { rng.usize(..100) } else { rng.usize(..20) };
                        let value = if rng.bool() { vec![b'v'; len] } else { len.to_string().into_bytes() };
                        let keep = rng.bool();
                        let before = plain.get(&name).map(|(_, deadline)| *deadline);
                        assert_eq!(hash.set(&name, &value, keep, &hasher), before.is_none());
                        plain.insert(name, (value, before.filter(|_| keep).unwrap_or(0)));
                    }
                    5 | 6 => assert_eq!(hash.remove(&name), plain.remove(&name).is_some()),
                    7 => {
                        let deadline = rng.u64(..50);
                        hash.set_deadline(&name, deadline, &hasher);
                        plain.entry(name).and_modify(|(_, at)| *at = deadline);
                    }
                    8 => {
                        let found = hash.find(&name).map(|field| (field.value.to_vec(), field.deadline));
                        assert_eq!(found, plain.get(&name).cloned());
                    }
                    _ => {
                        let now = step % 50;
                        let overdue = plain.values().filter(|(_, at)| *at != 0 && *at <= now).count();
                        assert_eq!(hash.live_count(now), plain.len() - overdue, "seed {seed}");
                        assert_eq!(hash.overdue(now, usize::MAX).len(), overdue);
                        let first = plain.values().map(|(_, at)| *at).filter(|at| *at != 0).min();
                        assert_eq!(hash.next_deadline(), first);
                    }
                }
                assert_eq!(hash.len(), plain.len());
            }
            let all: BTreeMap<_, _> = hash
                .iter()
                .map(|field| (field.name.to_vec(), (field.value.to_vec(), field.deadline)))
                .collect();
            assert_eq!(all, plain, "seed {seed}");
            let mut scanned = std::collections::BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = hash.scan(cursor, 5, |field| {
                    scanned.insert(field.name.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert!(scanned.iter().eq(plain.keys()), "seed {seed}");
            if !plain.is_empty() {
                let picked = hash.random(&mut rng).unwrap();
                assert!(plain.contains_key(&*picked.name));
            }
        }
    }
}
