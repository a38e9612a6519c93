//! A small hash as one run of bytes: for each field its length and bytes, likewise the value, and the deadline or 0.

use super::Field;
use leveret_base::codec::{Reader, put_bytes, put_varint};

/// The fields in the order in which they were set first.
#[derive(Default, Clone)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.places().map(|(_, _, field)| field)
    }

    /// Every field with where it begins and ends.
    fn places(&self) -> impl Iterator<Item = (usize, usize, Field<'_>)> {
        let mut reader = Reader::new(&self.bytes);
        let total = self.bytes.len();
        std::iter::from_fn(move || {
            let start = total - reader.left();
            let (name, value) = (reader.bytes().ok()?, reader.bytes().ok()?);
            let deadline = reader.varint().ok()?;
            Some((start, total - reader.left(), Field { name, value, deadline }))
        })
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        self.iter().find(|field| field.name == name)
    }

    /// Sets the field, in its place if it is there.
    pub(super) fn put(&mut self, field: Field<'_>) {
        let mut written = Vec::with_capacity(field.name.len() + field.value.len() + 4);
        put_bytes(&mut written, field.name);
        put_bytes(&mut written, field.value);
        put_varint(&mut written, field.deadline);
        let place =
            self.places().find(|(_, _, old)| old.name == field.name).map(|(start, end, _)| start..end);
        match place {
            Some(place) => drop(self.bytes.splice(place, written)),
            None => {
                self.bytes.reserve_exact(written.len());
                self.bytes.extend_from_slice(&written);
                self.len += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        let place = self.places().find(|(_, _, old)| old.name == name).map(|(start, end, _)| start..end);
        if let Some(place) = place {
            self.bytes.drain(place);
            self.len -= 1;
        }
    }
}
