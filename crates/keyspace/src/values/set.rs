//! A set of strings. Integers alone are a sorted array; a few short strings are one run of bytes; everything else is a
//! table of members. (Redis: intset, listpack, hashtable)

use super::limits;
use crate::number::{IntegerText, parse_integer};
use foldhash::fast::FixedState;
use leveret_base::Table;
use leveret_base::codec::{Reader, put_bytes};
use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

/// The members.
#[derive(Clone)]
pub(crate) enum Set {
    /// Ascending.
    Integers(Vec<i64>),
    /// In the order in which they were added.
    Packed(Packed),
    Table(Table<Box<[u8]>>),
}

/// Members one behind the other, each with its length in front.
#[derive(Default, Clone)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

impl Packed {
    fn places(&self) -> impl Iterator<Item = (usize, usize, &[u8])> {
        let (mut reader, total) = (Reader::new(&self.bytes), self.bytes.len());
        std::iter::from_fn(move || {
            let start = total - reader.left();
            let member = reader.bytes().ok()?;
            Some((start, total - reader.left(), member))
        })
    }

    fn find(&self, member: &[u8]) -> Option<(usize, usize)> {
        self.places().find(|(_, _, other)| *other == member).map(|(start, end, _)| (start, end))
    }
}

impl Default for Set {
    fn default() -> Self {
        Set::Integers(Vec::new())
    }
}

/// Any number: it decides the order in a table, which nothing depends on.
const SEED: u64 = 0x6c65_7665_7265_7422;

fn hash(member: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(member);
    hasher.finish()
}

fn text(integer: i64) -> Cow<'static, [u8]> {
    Cow::Owned(IntegerText::new(integer).as_bytes().to_vec())
}

impl Set {
    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Set::Integers(integers) => integers.len(),
            Set::Packed(packed) => packed.len,
            Set::Table(table) => table.len(),
        }
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Set::Integers(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    /// True for a member.
    pub(crate) fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Integers(integers) => {
                parse_integer(member).is_some_and(|integer| integers.binary_search(&integer).is_ok())
            }
            Set::Packed(packed) => packed.find(member).is_some(),
            Set::Table(table) => table.find(hash(member), |other| **other == *member).is_some(),
        }
    }

    /// Adds a member; false when it was one.
    pub(crate) fn insert(&mut self, member: &[u8]) -> bool {
        if self.contains(member) {
            return false;
        }
        match (&mut *self, parse_integer(member)) {
            (Set::Integers(integers), Some(integer)) if integers.len() < limits::SET_INTEGERS.size() => {
                let place = integers.binary_search(&integer).unwrap_or_else(|place| place);
                integers.insert(place, integer);
            }
            (Set::Packed(packed), _)
                if packed.len < limits::SET_ENTRIES.size() && member.len() <= limits::SET_VALUE.size() =>
            {
                put_bytes(&mut packed.bytes, member);
                packed.len += 1;
            }
            (Set::Table(table), _) => table.insert_unique(hash(member), member.into(), |other| hash(other)),
            (Set::Integers(_) | Set::Packed(_), _) => {
                self.convert(member);
                return self.insert(member);
            }
        }
        true
    }

    /// Becomes what has room for the member.
    fn convert(&mut self, member: &[u8]) {
        let small = matches!(self, Set::Integers(integers) if integers.len() < limits::SET_ENTRIES.size())
            && member.len() <= limits::SET_VALUE.size();
        let mut packed = Packed::default();
        let mut table = Table::default();
        for other in self.iter() {
            if small {
                put_bytes(&mut packed.bytes, &other);
                packed.len += 1;
            } else {
                table.insert_unique(hash(&other), other.into_owned().into_boxed_slice(), |other| hash(other));
            }
        }
        *self = if small { Set::Packed(packed) } else { Set::Table(table) };
    }

    /// Removes a member; gives whether it was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Integers(integers) => {
                let place = parse_integer(member).and_then(|integer| integers.binary_search(&integer).ok());
                place.map(|place| integers.remove(place)).is_some()
            }
            Set::Packed(packed) => {
                let Some((start, end)) = packed.find(member) else { return false };
                packed.bytes.drain(start..end);
                packed.len -= 1;
                true
            }
            Set::Table(table) => table.remove(hash(member), |other| **other == *member).is_some(),
        }
    }

    /// All members.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Cow<'_, [u8]>> + '_> {
        match self {
            Set::Integers(integers) => Box::new(integers.iter().map(|integer| text(*integer))),
            Set::Packed(packed) => Box::new(packed.places().map(|(_, _, member)| Cow::Borrowed(member))),
            Set::Table(table) => Box::new(table.iter().map(|member| Cow::Borrowed(&**member))),
        }
    }

    /// Any member, each equally likely.
    pub(crate) fn random(&self, rng: &mut fastrand::Rng) -> Option<Cow<'_, [u8]>> {
        match self {
            Set::Table(table) => table.random(|n| rng.usize(..n)).map(|member| Cow::Borrowed(&**member)),
            Set::Integers(_) | Set::Packed(_) => self.iter().nth(rng.usize(..self.len().max(1))),
        }
    }

    /// Visits members from `cursor` on; gives the cursor to go on from. A small set is visited as a whole.
    pub(crate) fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Cow<'_, [u8]>)) -> u64 {
        match self {
            Set::Table(table) => table.scan(
                cursor,
                count,
                |member| hash(member),
                |member| {
                    each(Cow::Borrowed(member));
                },
            ),
            Set::Integers(_) | Set::Packed(_) => {
                self.iter().for_each(each);
                0
            }
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"set");
        let mut members: Vec<Cow<'_, [u8]>> = self.iter().collect();
        members.sort_unstable();
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
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut set, mut plain) = (Set::default(), BTreeSet::<Vec<u8>>::new());
            let (range, texts) = (rng.usize(2..900), rng.u8(..3));
            for _ in 0..1500 {
                let number = rng.usize(..range);
                let member = match texts {
                    0 => number.to_string(),
                    1 if rng.u8(..200) == 0 => format!("text{number}"),
                    1 => number.to_string(),
                    _ => "m".repeat(number % 70) + &number.to_string(),
                };
                match rng.u8(..5) {
                    0..=2 => assert_eq!(set.insert(member.as_bytes()), plain.insert(member.into_bytes())),
                    3 => assert_eq!(set.remove(member.as_bytes()), plain.remove(member.as_bytes())),
                    _ => assert_eq!(set.contains(member.as_bytes()), plain.contains(member.as_bytes())),
                }
                assert_eq!(set.len(), plain.len());
            }
            encodings.insert(set.encoding());
            assert_eq!(set.iter().map(Cow::into_owned).collect::<BTreeSet<_>>(), plain, "seed {seed}");
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
                (0..plain.len() * 20).filter_map(|_| set.random(&mut rng).map(Cow::into_owned)).collect();
            assert!(picked.is_subset(&plain) && picked.len() * 10 >= plain.len() * 9, "seed {seed}");
        }
        assert_eq!(encodings.len(), 3, "{encodings:?}");
    }
}
