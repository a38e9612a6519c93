//! Field tables and arrays as the bytes they arrived in: validated once, walked without allocation, never rewritten.
//! The trap: a name may occur twice; the first one counts, as in RabbitMQ, and all of them are kept.

use crate::read::Reader;
use crate::{DecodeError, Value};
use std::fmt;

/// How deep tables and arrays may be nested in a table.
pub const DEPTH_MAX: usize = 64;

/// A validated table; the bytes are its fields, without the length in front.
#[derive(Clone, Copy, Default)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

/// A validated array; the bytes are its values, without the length in front.
#[derive(Clone, Copy, Default)]
pub struct Array<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Checks `bytes` to the last field.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() { Ok(Self::default()) } else { Self::parse_nested(bytes, DEPTH_MAX + 1) }
    }

    pub(crate) fn parse_nested(bytes: &'a [u8], depth: usize) -> Result<Self, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::Malformed)?;
        let mut reader = Reader::new(bytes);
        while !reader.rest().is_empty() {
            reader.shortstr_unchecked()?;
            Value::read(&mut reader, depth)?;
        }
        Ok(Self { bytes })
    }

    /// Takes bytes that `raw` gave, for example from the log. Other bytes end the iteration early, nothing worse.
    pub fn from_validated(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The fields as they arrived, without the length in front.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let name = reader.shortstr_unchecked().ok()?;
            Some((name, Value::read_validated(&mut reader)?))
        })
    }

    /// The value of the first field of that name.
    pub fn find(&self, name: &[u8]) -> Option<Value<'a>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

impl<'a> Array<'a> {
    pub(crate) fn parse_nested(bytes: &'a [u8], depth: usize) -> Result<Self, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::Malformed)?;
        let mut reader = Reader::new(bytes);
        while !reader.rest().is_empty() {
            Value::read(&mut reader, depth)?;
        }
        Ok(Self { bytes })
    }

    /// Takes bytes that `raw` gave.
    pub fn from_validated(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The values as they arrived, without the length in front.
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// True without values.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || Value::read_validated(&mut reader))
    }
}

/// Tables are equal when their fields are, in whatever order; fields of one name keep theirs.
impl PartialEq for Table<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.bytes == other.bytes {
            return true;
        }
        // Sorted by name alone, once per table: comparing each field with each, or values while sorting, would let a
        // declare with many nested tables cost seconds.
        let sorted = |table: &Self| {
            let mut fields: Vec<_> = table.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            fields
        };
        sorted(self) == sorted(other)
    }
}

impl Eq for Table<'_> {}

impl PartialEq for Array<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Array<'_> {}

impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (String::from_utf8_lossy(name), value)))
            .finish()
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
