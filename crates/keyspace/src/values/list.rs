//! A list: runs of elements. A small list is one of them in an allocation of just its size, a large one a deque of them.

mod chain;
mod chunk;

use super::compact::{Compact, Form};
use super::element::Element;
use super::limits;
use super::packed::{Item, Run};
use chain::Chain;
use chunk::Chunk;
use std::ops::Range;

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The head: LPUSH, LPOP.
    Left,
    /// The tail: RPUSH, RPOP.
    Right,
}

/// Whether a chunk may take the element as well; one that holds a single element may be larger than the limit.
fn has_room(chunk: &Chunk, element: Item<'_>) -> bool {
    let (count, bytes) = limits::of_chunk();
    chunk.is_empty() || (chunk.len() < count && chunk.bytes() + element.size() <= bytes)
}

/// Elements of a small list: its run is moved whenever it grows, and gone through to its end.
const SMALL_LEN: usize = 64;
/// And its bytes.
const SMALL_BYTES: usize = 1024;

/// Whether a list of so much is a small one.
fn is_small(len: usize, bytes: usize) -> bool {
    let (len_max, bytes_max) = limits::of_chunk();
    len <= len_max.min(SMALL_LEN) && bytes <= bytes_max.min(SMALL_BYTES)
}

/// The elements, head first.
#[derive(Clone, Default)]
pub(crate) struct List(Compact<Run, Chain>);

impl From<Chain> for List {
    fn from(chain: Chain) -> Self {
        if chain.len() == 0 {
            return Self::default();
        }
        match chain.one() {
            Some(chunk) if is_small(chunk.len(), chunk.bytes()) => {
                let mut run = Run::default();
                run.room(0..0, chunk.bytes(), chunk.len()).copy_from_slice(chunk.run());
                List(Compact::small(run))
            }
            Some(_) | None => List(Compact::large(chain)),
        }
    }
}

/// Where the last element of a small list lies.
fn last(run: &Run) -> Option<Range<usize>> {
    run.entries(Item::read).last().map(|(place, _)| place)
}

impl List {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        match self.0.get() {
            Form::Small(run) => run.len(),
            Form::Large(chain) => chain.len(),
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
        match self.0.get() {
            Form::Large(chain) if !chain.is_one() => "quicklist",
            Form::Small(_) | Form::Large(_) => "listpack",
        }
    }

    /// Adds one element.
    pub(crate) fn push(&mut self, end: End, element: &[u8]) {
        match self.0.get_mut() {
            Form::Large(chain) => chain.push(end, element),
            Form::Small(run) => {
                let (item, bytes, len) = (Item::of(element), run.run().len(), run.len() + 1);
                if !is_small(len, bytes + item.size()) {
                    return self.edit(|chain| chain.push(end, element));
                }
                let at = if end == End::Left { 0 } else { bytes };
                item.write(run.room(at..at, item.size(), len));
            }
        }
    }

    /// Hands over one element and removes it; gives whether there was one.
    pub(crate) fn pop(&mut self, end: End, each: impl FnOnce(&[u8])) -> bool {
        match self.0.get_mut() {
            Form::Large(chain) => chain.pop(end, each),
            Form::Small(run) => {
                let place = match end {
                    End::Left => run.entries(Item::read).next().map(|(place, _)| place),
                    End::Right => last(run),
                };
                let Some(place) = place else { return false };
                if let Some((item, _)) = run.run().get(place.clone()).and_then(Item::read) {
                    each(&item.element());
                }
                let len = run.len() - 1;
                run.room(place, 0, len);
                true
            }
        }
    }

    /// One element.
    pub(crate) fn get(&self, index: usize) -> Option<Element<'_>> {
        match self.0.get() {
            Form::Small(run) => elements(run).nth(index),
            Form::Large(chain) => chain.get(index),
        }
    }

    /// Replaces one element.
    pub(crate) fn set(&mut self, index: usize, element: &[u8]) {
        self.edit(|chain| {
            if index < chain.len() {
                chain.remove(&[index]);
                chain.insert(index, element);
            }
        });
    }

    /// Puts an element in front of the one at `index`, or at the end.
    pub(crate) fn insert(&mut self, index: usize, element: &[u8]) {
        self.edit(|chain| chain.insert(index, element));
    }

    /// Removes the elements at these indexes, which ascend.
    pub(crate) fn remove(&mut self, indexes: &[usize]) {
        self.edit(|chain| chain.remove(indexes));
    }

    /// Keeps `len` elements from `start` on.
    pub(crate) fn trim(&mut self, start: usize, len: usize) {
        self.edit(|chain| chain.trim(start, len));
    }

    /// What is rare is written once: a small list becomes a chain for a moment.
    fn edit<T>(&mut self, edit: impl FnOnce(&mut Chain) -> T) -> T {
        match self.0.get_mut() {
            Form::Large(chain) => edit(chain),
            Form::Small(run) => {
                let mut chain = Chain::from(Chunk::from_run(run.run(), run.len()));
                let result = edit(&mut chain);
                *self = chain.into();
                result
            }
        }
    }

    /// Hands over the elements from `first` to `last`, both included.
    pub(crate) fn range(&self, first: usize, last: usize, mut each: impl FnMut(&[u8])) {
        let left = (last + 1).saturating_sub(first);
        match self.0.get() {
            Form::Small(run) => elements(run).skip(first).take(left).for_each(|element| each(&element)),
            Form::Large(chain) => chain.range(first, left, each),
        }
    }

    /// The elements of one part of a large list, by its place from the left.
    pub(crate) fn part(&self, place: usize) -> Option<Vec<Element<'_>>> {
        match self.0.get() {
            Form::Small(_) => None,
            Form::Large(chain) => chain.part(place).map(Iterator::collect),
        }
    }

    /// All elements from one end to the other.
    pub(crate) fn iter(&self, from: End) -> Elements<'_> {
        match (self.0.get(), from) {
            (Form::Small(run), End::Left) => Box::new(elements(run)),
            (Form::Small(run), End::Right) => Box::new(elements(run).collect::<Vec<_>>().into_iter().rev()),
            (Form::Large(chain), _) => chain.iter(from),
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"list");
        self.iter(End::Left).for_each(|element| part(&element));
    }
}

/// All elements of a small list.
fn elements(run: &Run) -> impl Iterator<Item = Element<'_>> {
    run.entries(Item::read).map(|(_, item)| item.element())
}

/// Elements on their way out.
type Elements<'a> = Box<dyn Iterator<Item = Element<'a>> + 'a>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn a_list_does_what_a_deque_does() {
        for seed in 0..80 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut list, mut plain) = (List::default(), VecDeque::<Vec<u8>>::new());
            let len_max = [8, 300, 3000, 20_000][rng.usize(..4)];
            for _ in 0..400 {
                let len = rng.usize(..len_max);
                let element = match rng.u8(..3) {
                    0 => vec![rng.u8(..); len],
                    1 => vec![b'1' + rng.u8(..9); len % 20],
                    _ => rng.i32(-300..70_000).to_string().into_bytes(),
                };
                let end = if rng.bool() { End::Left } else { End::Right };
                let index = rng.usize(..=plain.len());
                match rng.u8(..12) {
                    0..=4 => {
                        list.push(end, &element);
                        if end == End::Left { plain.push_front(element) } else { plain.push_back(element) }
                    }
                    5 | 6 => {
                        let popped = if end == End::Left { plain.pop_front() } else { plain.pop_back() };
                        let mut taken = None;
                        assert_eq!(list.pop(end, |element| taken = Some(element.to_vec())), popped.is_some());
                        assert_eq!(taken, popped, "seed {seed}");
                    }
                    7 => {
                        list.insert(index, &element);
                        plain.insert(index, element);
                    }
                    8 if index < plain.len() => {
                        list.set(index, &element);
                        plain[index] = element;
                    }
                    9 => {
                        let mut indexes: Vec<usize> = (index..plain.len()).collect();
                        indexes.retain(|_| rng.u8(..5) == 0);
                        list.remove(&indexes);
                        indexes.iter().rev().for_each(|index| drop(plain.remove(*index)));
                    }
                    10 if rng.u8(..10) == 0 => {
                        let len = rng.usize(..=plain.len());
                        list.trim(index, len);
                        plain = plain.into_iter().skip(index).take(len).collect();
                    }
                    _ => {
                        assert_eq!(
                            list.get(index).as_deref(),
                            plain.get(index).map(Vec::as_slice),
                            "seed {seed}"
                        );
                        let last = index + rng.usize(..20);
                        let expected = plain.iter().skip(index).take(last - index + 1).cloned();
                        let mut range = Vec::new();
                        list.range(index, last, |element| range.push(element.to_vec()));
                        assert!(range.into_iter().eq(expected), "seed {seed}");
                    }
                }
                assert_eq!(list.len(), plain.len());
            }
            assert!(list.iter(End::Left).map(Element::into_owned).eq(plain.iter().cloned()), "seed {seed}");
            assert!(
                list.iter(End::Right).map(Element::into_owned).eq(plain.iter().rev().cloned()),
                "seed {seed}"
            );
            if let Form::Large(chain) = list.0.get() {
                chain.check();
            }
        }
    }
}
