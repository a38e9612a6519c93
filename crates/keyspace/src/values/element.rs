//! An element of a collection on its way out. Integers are kept as such in small collections and have no text that could be
//! borrowed; here they are spelt without an allocation.

use crate::number::IntegerText;
use std::borrow::Cow;
use std::ops::Deref;

/// Reads as the element's bytes.
pub(crate) enum Element<'a> {
    /// As they lie in the collection.
    Borrowed(&'a [u8]),
    /// Spelt here.
    Integer(IntegerText),
}

impl<'a> Element<'a> {
    /// An integer as its decimal digits.
    pub(crate) fn integer(value: i64) -> Self {
        Element::Integer(IntegerText::new(value))
    }

    /// For whoever keeps what can be borrowed.
    pub(crate) fn into_cow(self) -> Cow<'a, [u8]> {
        match self {
            Element::Borrowed(bytes) => Cow::Borrowed(bytes),
            Element::Integer(text) => Cow::Owned(text.as_bytes().to_vec()),
        }
    }

    /// The bytes, copied.
    pub(crate) fn into_owned(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Deref for Element<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Element::Borrowed(bytes) => bytes,
            Element::Integer(text) => text.as_bytes(),
        }
    }
}
