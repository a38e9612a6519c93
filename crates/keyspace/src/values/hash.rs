//! A hash: fields with a value and perhaps a deadline each.

/// The value.
#[derive(Default)]
pub(crate) struct Hash {
    count: usize,
}

impl Hash {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"hash");
    }
}
