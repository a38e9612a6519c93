//! A small hash as one run of bytes: for each field its name and its value. A run that is marked has the field's deadline
//! behind them, or 0.

use super::{Field, New};
use crate::UnixMillis;
use crate::values::compact::Small;
use crate::values::packed::{Item, Number, Run};
use std::ops::Range;

/// The fields in the order in which they were set first.
#[derive(Default, Clone)]
#[repr(transparent)]
pub(super) struct Packed(Run);

// SAFETY: it is a transparent wrapper of a run.
unsafe impl Small for Packed {}

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
        let is_timed = self.0.is_marked();
        let entries = self.0.entries(move |run| {
            let (name, name_size) = Item::read(run)?;
            let (value, value_size) = Item::read(run.get(name_size..)?)?;
            let size = name_size + value_size;
            if !is_timed {
                return Some(((name, value, 0), size));
            }
            let (deadline, deadline_size) = Number::read(run.get(size..)?)?;
            Some(((name, value, deadline_of(deadline)), size + deadline_size))
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
        if field.deadline != 0 && !self.0.is_marked() {
            self.rewrite(true);
        }
        let (at, len) = match self.place(field.name) {
            Some(place) => (place.at, self.len()),
            None => (self.0.run().len()..self.0.run().len(), self.len() + 1),
        };
        if len > len_max {
            return false;
        }
        let (name, value) = (Item::of(field.name), Item::of(field.value));
        let deadline = self.0.is_marked().then_some(Number::Decimal(field.deadline as i64, 0));
        let size = name.size() + value.size() + deadline.map_or(0, Number::size);
        let rest = value.write(name.write(self.0.room(at, size, len)));
        if let Some(deadline) = deadline {
            deadline.write(rest);
        }
        true
    }

    /// No field has a deadline any more.
    pub(super) fn forget_deadlines(&mut self) {
        if self.0.is_marked() {
            self.rewrite(false);
        }
    }

    /// All fields once more, with or without their deadlines.
    fn rewrite(&mut self, is_timed: bool) {
        let mut packed = Packed::default();
        if is_timed {
            packed.0.mark();
        }
        for Field { name, value, deadline } in self.iter() {
            packed.put(New { name: &name, value: &value, deadline }, usize::MAX);
        }
        *self = packed;
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(at) = self.place(name).map(|place| place.at) {
            self.0.room(at, 0, self.len() - 1);
        }
    }
}
