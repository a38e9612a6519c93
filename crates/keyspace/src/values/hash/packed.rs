//! A small hash as one run of bytes: for each field its name, its value, and the deadline or 0.

use super::{Field, New};
use crate::UnixMillis;
use crate::values::packed::{Item, Number, Run};
use std::ops::Range;

/// The fields in the order in which they were set first.
#[derive(Default, Clone)]
pub(super) struct Packed(Run);

/// A field and where it lies.
struct Place<'a> {
    at: Range<usize>,
    name: Item<'a>,
    value: Item<'a>,
    deadline: UnixMillis,
}

impl<'a> Place<'a> {
    fn field(self) -> Field<'a> {
        Field { name: self.name.element(), value: self.value.element(), deadline: self.deadline }
    }
}

fn deadline_of(number: Number) -> UnixMillis {
    match number {
        Number::Decimal(deadline, _) => deadline as UnixMillis,
        Number::Float(_) => 0,
    }
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.size()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.places().map(Place::field)
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let entries = self.0.entries(|run| {
            let (name, name_size) = Item::read(run)?;
            let (value, value_size) = Item::read(run.get(name_size..)?)?;
            let (deadline, size) = Number::read(run.get(name_size + value_size..)?)?;
            Some(((name, value, deadline_of(deadline)), name_size + value_size + size))
        });
        entries.map(|(at, (name, value, deadline))| Place { at, name, value, deadline })
    }

    fn place(&self, name: &[u8]) -> Option<Place<'_>> {
        let wanted = Item::of(name);
        self.places().find(|place| place.name == wanted)
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        self.place(name).map(Place::field)
    }

    pub(super) fn deadline(&self, name: &[u8]) -> Option<UnixMillis> {
        self.place(name).map(|place| place.deadline)
    }

    /// Sets the field, in its place if it is there; false when there would be more fields than `len_max`.
    pub(super) fn put(&mut self, field: New<'_>, len_max: usize) -> bool {
        let (at, len) = match self.place(field.name) {
            Some(place) => (place.at, self.len()),
            None => (self.0.run().len()..self.0.run().len(), self.len() + 1),
        };
        if len > len_max {
            return false;
        }
        let (name, value) = (Item::of(field.name), Item::of(field.value));
        let deadline = Number::Decimal(field.deadline as i64, 0);
        let room = self.0.room(at, name.size() + value.size() + deadline.size(), len);
        deadline.write(value.write(name.write(room)));
        true
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(at) = self.place(name).map(|place| place.at) {
            self.0.room(at, 0, self.len() - 1);
        }
    }
}
