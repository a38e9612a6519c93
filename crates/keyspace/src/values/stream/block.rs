//! A run of entries, packed. An entry is the length of what follows, the distance of its milliseconds to those of the block's
//! first entry, its number (the distance too while the milliseconds are the same), then 0 and its values if it has the names
//! that the first entry had, or else the count of its fields and names and values in turn.

use super::EntryId;
use crate::values::element::Element;
use crate::values::packed::Item;
use leveret_base::codec::{Reader, put_varint};
use std::ops::Range;

/// Entries one behind the other; never without one.
#[derive(Clone)]
pub(super) struct Block {
    base: EntryId,
    last: EntryId,
    /// The names of the first entry's fields.
    names: Box<[u8]>,
    names_count: usize,
    len: u32,
    /// Entries that were in it; they count for how many it may have.
    gone: u32,
    run: Vec<u8>,
}

/// One entry.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Its name.
    pub(crate) id: EntryId,
    /// How many fields it has.
    pub(crate) len: usize,
    /// Where the names stand, if not among the values.
    names: Option<&'a [u8]>,
    items: &'a [u8],
}

/// Appends an element.
fn put(run: &mut Vec<u8>, bytes: &[u8]) {
    let (item, start) = (Item::of(bytes), run.len());
    run.resize(start + item.size(), 0);
    item.write(&mut run[start..]);
}

fn take<'a>(run: &mut &'a [u8]) -> Option<Item<'a>> {
    let (item, size) = Item::read(run)?;
    *run = run.get(size..)?;
    Some(item)
}

impl<'a> Entry<'a> {
    /// Names with values.
    pub(crate) fn fields(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let Entry { mut names, mut items, len, .. } = self;
        std::iter::from_fn(move || {
            let name = match &mut names {
                Some(names) => take(names)?,
                None => take(&mut items)?,
            };
            Some((name.element(), take(&mut items)?.element()))
        })
        .take(len)
    }
}

impl Block {
    /// A block of one entry, whose fields are given as names and values in turn.
    pub(super) fn new<'e>(id: EntryId, fields: impl Iterator<Item = &'e [u8]> + Clone) -> Self {
        let (mut names, mut names_count) = (Vec::new(), 0);
        for name in fields.clone().step_by(2) {
            put(&mut names, name);
            names_count += 1;
        }
        let names = names.into_boxed_slice();
        let mut block = Block { base: id, last: id, names, names_count, len: 0, gone: 0, run: Vec::new() };
        block.push(id, fields);
        block
    }

    /// Adds an entry behind the last one.
    pub(super) fn push<'e>(&mut self, id: EntryId, fields: impl Iterator<Item = &'e [u8]> + Clone) {
        // The length is known last; mostly it is a byte.
        let start = self.run.len();
        self.run.push(0);
        let has_names = self.has_names(fields.clone().step_by(2));
        let (run, ms) = (&mut self.run, id.ms - self.base.ms);
        put_varint(run, ms);
        put_varint(run, if ms == 0 { id.seq - self.base.seq } else { id.seq });
        if has_names {
            put_varint(run, 0);
            fields.skip(1).step_by(2).for_each(|value| put(run, value));
        } else {
            put_varint(run, fields.clone().count() as u64 / 2);
            fields.for_each(|part| put(run, part));
        }
        let len = run.len() - start - 1;
        if len < 0x80 {
            run[start] = len as u8;
        } else {
            let mut size = Vec::new();
            put_varint(&mut size, len as u64);
            run.splice(start..=start, size);
        }
        self.len += 1;
        self.last = id;
    }

    fn has_names<'e>(&self, mut names: impl Iterator<Item = &'e [u8]>) -> bool {
        let mut run = &*self.names;
        while let Some(item) = take(&mut run) {
            if names.next().is_none_or(|name| Item::of(name) != item) {
                return false;
            }
        }
        names.next().is_none()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.len.into()
    }

    /// No entry comes before it.
    pub(super) fn base(&self) -> EntryId {
        self.base
    }

    /// The last entry's name.
    pub(super) fn last(&self) -> EntryId {
        self.last
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.names.len() + self.run.capacity()
    }

    /// True when `size` more bytes belong into another block.
    pub(super) fn is_full(&self, size: usize, entries_max: u64, bytes_max: usize) -> bool {
        self.names.len() + self.run.len() + size >= bytes_max
            || u64::from(self.len) + u64::from(self.gone) >= entries_max
    }

    /// Gives back what was reserved for more.
    pub(super) fn close(&mut self) {
        self.run.shrink_to_fit();
    }

    fn read(&self, at: usize) -> Option<(Range<usize>, Entry<'_>)> {
        let rest = self.run.get(at..)?;
        let mut reader = Reader::new(rest);
        let size = usize::try_from(reader.varint().ok()?).ok()?;
        let end = at + rest.len() - reader.left() + size;
        let (ms, seq) = (reader.varint().ok()?, reader.varint().ok()?);
        let own = usize::try_from(reader.varint().ok()?).ok()?;
        let id = EntryId { ms: self.base.ms + ms, seq: if ms == 0 { self.base.seq + seq } else { seq } };
        let (len, names) = if own == 0 { (self.names_count, Some(&*self.names)) } else { (own, None) };
        let items = self.run.get(self.run.len() - reader.left()..end)?;
        Some((at..end, Entry { id, len, names, items }))
    }

    fn places(&self) -> impl Iterator<Item = (Range<usize>, Entry<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (place, entry) = self.read(at)?;
            at = place.end;
            Some((place, entry))
        })
    }

    /// The entries, first one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.places().map(|(_, entry)| entry)
    }

    /// Likewise, last one first.
    pub(super) fn iter_back(&self) -> impl Iterator<Item = Entry<'_>> {
        let entries: Vec<Entry<'_>> = self.iter().collect();
        entries.into_iter().rev()
    }

    /// Removes the entries that are chosen, which stand one behind the other, and gives how many they were.
    fn remove_run(&mut self, is_chosen: impl Fn(EntryId) -> bool) -> u64 {
        let (mut place, mut count) = (0..0, 0);
        for (at, _) in self
            .places()
            .skip_while(|(_, entry)| !is_chosen(entry.id))
            .take_while(|(_, entry)| is_chosen(entry.id))
        {
            place = if count == 0 { at } else { place.start..at.end };
            count += 1;
        }
        self.run.drain(place);
        (self.len, self.gone) = (self.len - count, self.gone + count);
        if is_chosen(self.last) {
            self.last = self.iter().last().map_or(self.base, |entry| entry.id);
        }
        count.into()
    }

    /// Removes one entry; gives whether it was there.
    pub(super) fn remove(&mut self, id: EntryId) -> bool {
        self.remove_run(|other| other == id) == 1
    }

    /// Removes everything up to an entry, and gives how many those were.
    pub(super) fn remove_through(&mut self, id: EntryId) -> u64 {
        self.remove_run(|other| other <= id)
    }
}
