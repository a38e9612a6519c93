//! A sorted set: members in the order of their scores, found by member, score and rank.

/// The value.
#[derive(Default)]
pub(crate) struct SortedSet {
    count: usize,
}

impl SortedSet {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"sorted_set");
    }
}
