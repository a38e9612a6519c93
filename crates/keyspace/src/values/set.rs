//! A set of strings.

/// The value.
#[derive(Default)]
pub(crate) struct Set {
    count: usize,
}

impl Set {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"set");
    }
}
