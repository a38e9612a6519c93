//! A set of strings. Integers alone are a sorted run of them; a few short strings are one run of bytes; everything else is a
//! table of members. (Redis: intset, listpack, hashtable)

mod integers;

use super::compact::{Compact, Form};
use super::element::Element;
use super::limits;
use super::packed::{Item, Run};
use super::walk::{Slot, Step};
use crate::change::{self, put_many};
use crate::db::hash;
use crate::number::parse_integer;
use foldhash::fast::FixedState;
use leveret_base::{Table, Thin};
use std::ops::Range;

/// The members. A run that is marked has strings in the order in which they were added, any other has integers.
#[derive(Clone, Default)]
pub(crate) struct Set(Compact<Run, Members>);

/// How they are kept.
enum Kept<'a> {
    Integers(&'a Run),
    Packed(&'a Run),
    Table(&'a Members),
}

/// The strings of a run and where they lie.
fn places(run: &Run) -> impl Iterator<Item = (Range<usize>, Item<'_>)> {
    run.entries(Item::read)
}

fn find(run: &Run, member: &[u8]) -> Option<Range<usize>> {
    let wanted = Item::of(member);
    places(run).find(|(_, item)| *item == wanted).map(|(place, _)| place)
}

fn push(run: &mut Run, member: &[u8]) {
    let (end, len, item) = (run.run().len(), run.len() + 1, Item::of(member));
    item.write(run.room(end..end, item.size(), len));
}

/// A table of members and how it finds them.
#[derive(Clone)]
pub(crate) struct Members {
    table: Table<Thin>,
    hasher: FixedState,
    walk: Slot,
}

impl Members {
    fn contains(&self, member: &[u8]) -> bool {
        self.table.find(hash(&self.hasher, member), |other| other.bytes() == member).is_some()
    }

    fn insert(&mut self, member: &[u8]) -> bool {
        let hasher = &self.hasher;
        let hash_of_member = hash(hasher, member);
        if self.table.find(hash_of_member, |other| other.bytes() == member).is_some() {
            return false;
        }
        self.table.insert_unique(hash_of_member, Thin::new(&[member]), |other| hash(hasher, other.bytes()));
        self.walk.comes(hash_of_member, member);
        true
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let hash = hash(&self.hasher, member);
        let removed = self.table.remove(hash, |other| other.bytes() == member).is_some();
        if removed && let Some(walk) = self.walk.goes(hash, member) {
            let Step { db, key, out } = walk.step();
            put_many(out, change::SET_ADD, db, None, key, [member].into_iter());
        }
        removed
    }

    /// Where a checkpoint's walk through it is kept.
    pub(crate) fn walk(&mut self) -> &mut Slot {
        &mut self.walk
    }

    /// Hands over some members; true after the last ones.
    pub(crate) fn walk_on(&mut self, count: usize) -> bool {
        let Self { table, hasher, walk } = self;
        walk.step(|cursor, is_settled, Step { db, key, out }| {
            let mut members = Vec::new();
            let hash_of = |member: &Thin| hash(hasher, member.bytes());
            let next = table.scan(cursor, count, hash_of, |member| members.push(member.bytes()));
            members.retain(|member| !is_settled(member));
            put_many(out, change::SET_ADD, *db, None, key, members.into_iter());
            next
        })
    }
}

impl Set {
    fn kept(&self) -> Kept<'_> {
        match self.0.get() {
            Form::Small(run) if run.is_marked() => Kept::Packed(run),
            Form::Small(run) => Kept::Integers(run),
            Form::Large(members) => Kept::Table(members),
        }
    }

    /// The table of a large one.
    pub(crate) fn table_mut(&mut self) -> Option<&mut Members> {
        match self.0.get_mut() {
            Form::Small(_) => None,
            Form::Large(members) => Some(members),
        }
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        match self.0.get() {
            Form::Small(run) => run.len(),
            Form::Large(members) => members.table.len(),
        }
    }

    /// The bytes of a small one.
    pub(crate) fn packed_bytes(&self) -> Option<usize> {
        match self.0.get() {
            Form::Small(run) => Some(run.size()),
            Form::Large(_) => None,
        }
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        match self.kept() {
            Kept::Integers(_) => "intset",
            Kept::Packed(_) => "listpack",
            Kept::Table(_) => "hashtable",
        }
    }

    /// True for a member.
    pub(crate) fn contains(&self, member: &[u8]) -> bool {
        match self.kept() {
            Kept::Integers(run) => {
                parse_integer(member).is_some_and(|integer| integers::contains(run, integer))
            }
            Kept::Packed(run) => find(run, member).is_some(),
            Kept::Table(members) => members.contains(member),
        }
    }

    /// Adds a member; false when it was one. `hasher` is for a table that is made now.
    pub(crate) fn insert(&mut self, member: &[u8], hasher: &FixedState) -> bool {
        if let Some(members) = self.table_mut() {
            return members.insert(member);
        }
        if self.contains(member) {
            return false;
        }
        let is_short = member.len() <= limits::SET_VALUE.size();
        if let Form::Small(run) = self.0.get_mut() {
            if run.is_marked() {
                if run.len() < limits::SET_ENTRIES.size() && is_short {
                    push(run, member);
                    return true;
                }
            } else if run.len() < limits::SET_INTEGERS.size()
                && let Some(integer) = parse_integer(member)
            {
                integers::insert(run, integer);
                return true;
            }
        }
        self.convert(is_short, hasher);
        self.insert(member, hasher)
    }

    /// From integers becomes strings, if one that does not fit in is short and not one too many, or else a table.
    fn convert(&mut self, is_short: bool, hasher: &FixedState) {
        self.0 = match self.kept() {
            Kept::Integers(integers) if is_short && integers.len() < limits::SET_ENTRIES.size() => {
                let mut run = Run::default();
                run.mark();
                self.iter().for_each(|other| push(&mut run, &other));
                Compact::small(run)
            }
            Kept::Integers(_) | Kept::Packed(_) | Kept::Table(_) => {
                let mut members =
                    Members { table: Table::default(), hasher: hasher.clone(), walk: Slot::default() };
                for other in self.iter() {
                    members.insert(&other);
                }
                Compact::large(members)
            }
        };
    }

    /// Removes a member; gives whether it was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        match self.0.get_mut() {
            Form::Small(run) if run.is_marked() => {
                let Some(place) = find(run, member) else { return false };
                run.room(place, 0, run.len() - 1);
                true
            }
            Form::Small(run) => parse_integer(member).is_some_and(|integer| integers::remove(run, integer)),
            Form::Large(members) => members.remove(member),
        }
    }

    /// All members.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Element<'_>> + '_> {
        match self.kept() {
            Kept::Integers(run) => Box::new(integers::iter(run).map(Element::integer)),
            Kept::Packed(run) => Box::new(places(run).map(|(_, member)| member.element())),
            Kept::Table(members) => {
                Box::new(members.table.iter().map(|member| Element::Borrowed(member.bytes())))
            }
        }
    }

    /// Any member, each equally likely.
    pub(crate) fn random(&self, rng: &mut fastrand::Rng) -> Option<Element<'_>> {
        match self.kept() {
            Kept::Integers(run) => integers::get(run, rng.usize(..run.len().max(1))).map(Element::integer),
            Kept::Packed(_) => self.iter().nth(rng.usize(..self.len().max(1))),
            Kept::Table(members) => {
                members.table.random(|n| rng.usize(..n)).map(|member| Element::Borrowed(member.bytes()))
            }
        }
    }

    /// Visits members from `cursor` on; gives the cursor to go on from. A small set is visited as a whole.
    pub(crate) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(Element<'a>)) -> u64 {
        match self.kept() {
            Kept::Table(members) => members.table.scan(
                cursor,
                count,
                |member| hash(&members.hasher, member.bytes()),
                |member| each(Element::Borrowed(member.bytes())),
            ),
            Kept::Integers(_) | Kept::Packed(_) => {
                self.iter().for_each(each);
                0
            }
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"set");
        let mut members: Vec<Element<'_>> = self.iter().collect();
        members.sort_unstable_by(|left, right| (**left).cmp(right));
        members.iter().for_each(|member| part(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_does_what_a_set_does() {
        let mut encodings = BTreeSet::new();
        for seed in 0..60 {
            let (mut rng, hasher) = (fastrand::Rng::with_seed(seed), FixedState::with_seed(seed));
            let (mut set, mut plain) = (Set::default(), BTreeSet::<Vec<u8>>::new());
            let (range, texts) = (rng.usize(2..900), rng.u8(..3));
            for _ in 0..1500 {
                let number = rng.usize(..range);
                let member = match texts {
                    // Of all widths, from the middle outwards.
                    0 => (number as i64 * [1, -1, 100, -100_000_000_000][number % 4]).to_string(),
                    1 if rng.u8(..200) == 0 => format!("text{number}"),
                    1 => number.to_string(),
                    _ => "m".repeat(number % 70) + &number.to_string(),
                };
                match rng.u8(..5) {
                    0..=2 => {
                        assert_eq!(set.insert(member.as_bytes(), &hasher), plain.insert(member.into_bytes()));
                    }
                    3 => assert_eq!(set.remove(member.as_bytes()), plain.remove(member.as_bytes())),
                    _ => assert_eq!(set.contains(member.as_bytes()), plain.contains(member.as_bytes())),
                }
                assert_eq!(set.len(), plain.len());
            }
            encodings.insert(set.encoding());
            assert_eq!(set.iter().map(Element::into_owned).collect::<BTreeSet<_>>(), plain, "seed {seed}");
            let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, 5, |member| {
                    scanned.insert(member.into_owned());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, plain, "seed {seed}");
            let picked: BTreeSet<Vec<u8>> =
                (0..plain.len() * 20).filter_map(|_| set.random(&mut rng).map(Element::into_owned)).collect();
            assert!(picked.is_subset(&plain) && picked.len() * 10 >= plain.len() * 9, "seed {seed}");
        }
        assert_eq!(encodings.len(), 3, "{encodings:?}");
    }

    #[test]
    fn the_order_in_a_table_is_the_seeds_and_the_contents_are_not() {
        let made = |seed| {
            let (mut set, hasher) = (Set::default(), FixedState::with_seed(seed));
            let mut members = (0..300).map(|i| format!("member {i}"));
            assert!(members.all(|member| set.insert(member.as_bytes(), &hasher)));
            let order: Vec<Vec<u8>> = set.iter().map(Element::into_owned).collect();
            let mut parts = Vec::new();
            set.parts(&mut |part| parts.push(part.to_vec()));
            (order, parts)
        };
        let ((first, parts), (second, same_parts)) = (made(1), made(2));
        assert!(first != second && parts == same_parts);
    }
}
