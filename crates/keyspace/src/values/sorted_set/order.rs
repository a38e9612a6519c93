//! The order of a large sorted set, in two levels: a row of chunks of at most 256 items, and beside it, so that a search or a
//! sum reads little memory, the last score and the length of each. A place is found by two binary searches; a rank is the
//! sum of the lengths before, most of them summed up already (`lens.rs`). An insertion moves one chunk's items at most. A
//! skip list costs a random height and several pointers for each member; a counted B-tree would make the sum logarithmic, at
//! the price of three times the code.
//!
//! The trap: the items belong to the table beside the order, and none may be freed before it has left the order.

use super::in_order;
use super::lens::Lens;
use leveret_base::prefetch::prefetch;
use leveret_base::thin::Alias;
use std::cmp::Ordering;

/// Small in tests, which have more chunks so.
const CHUNK_MAX: usize = if cfg!(test) { 16 } else { 256 };
/// Neighbours that have no more together become one.
const MERGED_MAX: usize = CHUNK_MAX / 2;
/// Bytes of an item before its member: the score.
pub(super) const SCORE: usize = 8;

#[derive(Clone)]
struct Chunk {
    scores: [f64; CHUNK_MAX],
    items: [Option<Alias>; CHUNK_MAX],
}

impl Chunk {
    fn empty() -> Box<Self> {
        Box::new(Self { scores: [0.0; CHUNK_MAX], items: [None; CHUNK_MAX] })
    }
}

/// Chunk, and place in it.
type Place = (usize, usize);

/// Scores with the items they belong to, in order.
#[derive(Default)]
pub(super) struct Order {
    /// None is empty.
    #[allow(clippy::vec_box, reason = "a chunk moves as a pointer; only in tests it is small")]
    chunks: Vec<Box<Chunk>>,
    lens: Lens,
    lasts: Vec<f64>,
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.lens.total()
    }

    fn len_of(&self, chunk: usize) -> usize {
        self.lens.get(chunk)
    }

    /// The member at a place.
    pub(super) fn member(&self, (chunk, place): Place) -> &[u8] {
        let item = self.chunks.get(chunk).and_then(|chunk| *chunk.items.get(place)?);
        item.map_or(&[], |item| member_of(self, item))
    }

    fn score(&self, (chunk, place): Place) -> Option<f64> {
        self.chunks.get(chunk)?.scores.get(place).copied()
    }

    /// The first place for which `before` is false; it must be true up to there. Both levels ask it about scores that lie
    /// side by side, so that members are touched only by those who look at them.
    fn place(&self, before: impl Fn(f64, Place) -> bool) -> Place {
        let (mut low, mut high) = (0, self.lasts.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.lasts[middle], (middle, self.len_of(middle).saturating_sub(1))) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let chunk = low;
        let Some(scores) = self.chunks.get(chunk).map(|chunk| &chunk.scores) else { return (chunk, 0) };
        (low, high) = (0, self.len_of(chunk));
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(scores[middle], (chunk, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (chunk, low)
    }

    /// Where an item is, or would be.
    pub(super) fn place_of(&self, score: f64, member: &[u8]) -> Place {
        self.place(|other, at| in_order(other, score, || self.member(at).cmp(member)) == Ordering::Less)
    }

    /// How many items have a score for which `before` is true, which is so for all or none above one.
    pub(super) fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        self.rank(self.place(|score, _| before(score)))
    }

    /// The same by member.
    pub(super) fn count_members(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.rank(self.place(|_, at| before(self.member(at))))
    }

    /// How many items are before a place.
    pub(super) fn rank(&self, (chunk, place): Place) -> usize {
        place + self.lens.before(chunk)
    }

    /// Adds an item whose member is not there.
    pub(super) fn insert(&mut self, score: f64, item: Alias, member: &[u8]) {
        let (mut chunk, mut place) = self.place_of(score, member);
        // What comes after everything belongs to the last chunk.
        if chunk == self.chunks.len() {
            match chunk.checked_sub(1) {
                Some(last) => (chunk, place) = (last, self.len_of(last)),
                None => self.add_chunk(0, Chunk::empty(), 0),
            }
        }
        if self.len_of(chunk) == CHUNK_MAX {
            // Ascending insertions leave full chunks behind.
            let at = if place == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
            self.split(chunk, at);
            if place >= at {
                (chunk, place) = (chunk + 1, place - at);
            }
        }
        let len = self.len_of(chunk);
        let Chunk { scores, items } = &mut *self.chunks[chunk];
        scores.copy_within(place..len, place + 1);
        items.copy_within(place..len, place + 1);
        (scores[place], items[place]) = (score, Some(item));
        self.resized(chunk, len + 1);
    }

    /// Gives an item another score: in its place, if it stays there.
    pub(super) fn rescore(&mut self, before: f64, score: f64, item: Alias, member: &[u8]) {
        let (chunk, place) = self.place_of(before, member);
        let after_left = place > 0 && self.score((chunk, place - 1)).is_some_and(|left| left < score);
        let before_right = place + 1 < self.len_of(chunk)
            && self.score((chunk, place + 1)).is_some_and(|right| score < right);
        if after_left && before_right {
            self.chunks[chunk].scores[place] = score;
        } else {
            self.remove((chunk, place));
            self.insert(score, item, member);
        }
    }

    /// Removes the item at a place.
    pub(super) fn remove(&mut self, (chunk, place): Place) {
        let len = self.len_of(chunk);
        let Some(Chunk { scores, items }) = self.chunks.get_mut(chunk).map(|chunk| &mut **chunk) else {
            return;
        };
        scores.copy_within(place + 1..len, place);
        items.copy_within(place + 1..len, place);
        if len == 1 {
            self.chunks.remove(chunk);
            self.lens.remove(chunk);
            self.lasts.remove(chunk);
            return;
        }
        self.resized(chunk, len - 1);
        if len <= MERGED_MAX {
            self.merge(chunk);
            self.merge(chunk.saturating_sub(1));
        }
    }

    fn resized(&mut self, chunk: usize, len: usize) {
        self.lens.set(chunk, len);
        self.lasts[chunk] = self.chunks[chunk].scores[len - 1];
    }

    fn add_chunk(&mut self, at: usize, chunk: Box<Chunk>, len: usize) {
        self.lasts.insert(at, len.checked_sub(1).map_or(0.0, |last| chunk.scores[last]));
        self.lens.insert(at, len);
        self.chunks.insert(at, chunk);
    }

    /// Moves what a full chunk has from a place on to a new one behind it.
    fn split(&mut self, chunk: usize, at: usize) {
        let mut behind = Chunk::empty();
        let before = &self.chunks[chunk];
        behind.scores[..CHUNK_MAX - at].copy_from_slice(&before.scores[at..]);
        behind.items[..CHUNK_MAX - at].copy_from_slice(&before.items[at..]);
        self.add_chunk(chunk + 1, behind, CHUNK_MAX - at);
        self.resized(chunk, at);
    }

    /// Makes one chunk of two if both are small: otherwise a set that has shrunk would keep a chunk for each of a few items.
    fn merge(&mut self, chunk: usize) {
        let (len, more) = (self.len_of(chunk), self.len_of(chunk + 1));
        if more == 0 || len + more > MERGED_MAX {
            return;
        }
        let behind = self.chunks.remove(chunk + 1);
        self.lens.remove(chunk + 1);
        self.lasts.remove(chunk + 1);
        let before = &mut self.chunks[chunk];
        before.scores[len..len + more].copy_from_slice(&behind.scores[..more]);
        before.items[len..len + more].copy_from_slice(&behind.items[..more]);
        self.resized(chunk, len + more);
    }

    /// The items with ranks from `start` up to `end`, which is at most the last one's.
    pub(super) fn range(&self, start: usize, end: usize) -> Walk<'_> {
        let left = end.saturating_sub(start);
        Walk { order: self, place: if left > 0 { self.lens.find(start) } else { (0, 0) }, left, back: false }
    }

    /// The same, last one first.
    pub(super) fn range_back(&self, start: usize, end: usize) -> Walk<'_> {
        let left = end.saturating_sub(start);
        Walk { order: self, place: if left > 0 { self.lens.find(end - 1) } else { (0, 0) }, left, back: true }
    }
}

/// A walk over items.
pub(super) struct Walk<'a> {
    order: &'a Order,
    place: Place,
    left: usize,
    back: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (f64, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        /// Members that are on their way while one is read.
        const AHEAD: usize = 4;
        self.left = self.left.checked_sub(1)?;
        let (chunk, place) = self.place;
        let Chunk { scores, items } = &**self.order.chunks.get(chunk)?;
        let ahead = if self.back { place.wrapping_sub(AHEAD) } else { place + AHEAD };
        if let Some(Some(item)) = items.get(ahead) {
            prefetch(item.address());
        }
        self.place = match self.back {
            false if place + 1 < self.order.len_of(chunk) => (chunk, place + 1),
            false => (chunk + 1, 0),
            true if place > 0 => (chunk, place - 1),
            true => (chunk.wrapping_sub(1), self.order.len_of(chunk.wrapping_sub(1)).saturating_sub(1)),
        };
        Some((*scores.get(place)?, member_of(self.order, (*items.get(place)?)?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The member of one of the order's items.
#[inline]
fn member_of(_: &Order, item: Alias) -> &[u8] {
    // SAFETY: an item lives at least as long as it is in an order, and is changed only by whoever has the order to change.
    unsafe { item.bytes() }.get(SCORE..).unwrap_or_default()
}
