//! What a new checkpoint leaves of the files before it: those with enough messages that it has by name only stay, of those
//! with few the messages are copied, the others go. The trap: until the checkpoint has its name nothing may be removed, and what
//! is copied must be on disk before.

use crate::bodies::{BodiesWriter, bodies_name, bodies_of};
use crate::checkpoint::newest_position;
use crate::error::Error;
use crate::log::Shared;
use crate::reader::Reader;
use crate::storage::Storage;
use crate::units::{Along, Census, Kind, Tally, Unit, before, size};
use leveret_base::codec::{Name, Place};
use std::sync::Arc;

/// Messages that are copied at a time, unless one file has more: so many names are in memory.
const NAMES_MAX: u64 = 1 << 18;

/// What is left.
#[derive(Default)]
pub(crate) struct Left {
    /// The files before the checkpoint, as they are from its publishing on.
    pub(crate) units: Vec<Unit>,
    /// How many files that were there are in `units` or go.
    pub(crate) before: usize,
    /// Bytes of `units`.
    pub(crate) bytes: u64,
    /// Names that the checkpoint has.
    pub(crate) names: u64,
}

/// Gives every name of the checkpoint; can be called again and again.
pub(crate) type Names<'a> = &'a dyn Fn(&mut dyn FnMut(Name)) -> Result<(), Error>;

/// Decides what stays for a checkpoint and copies what is little; `message_len` measures the message that stands first, and
/// `rest` is called again and again.
pub(crate) fn keep(
    shared: &Arc<Shared>,
    checkpoint: u64,
    names: Names<'_>,
    message_len: fn(&[u8]) -> Option<usize>,
    rest: &mut dyn FnMut(),
) -> Result<Left, Error> {
    remove_failed(shared.storage.as_ref())?;
    let mut census = Census::new(Arc::clone(&shared.segments.lock()));
    names(&mut |name| census.count(name))?;
    let mut reader = Reader::new(Arc::clone(shared));
    let storage = shared.storage.as_ref();
    census.gaps(storage)?.refuse(checkpoint)?;
    let units = &census.units;
    let mut left = Left { before: before(units, checkpoint), names: census.names, ..Left::default() };
    let mut rewritten: Vec<(Unit, Tally)> = Vec::new();
    for (unit, tally) in census.needed(checkpoint) {
        let bytes = size(storage, &unit)?;
        // Of copies it is known how much is in them.
        let is_little = match unit.kind {
            Kind::Segment => tally.bytes < bytes / 2,
            Kind::Bodies { count, .. } => tally.count < count / 2,
        };
        if is_little {
            rewritten.push((unit, tally));
        }
        left.units.push(unit);
        left.bytes += bytes;
    }
    let mut todo = rewritten.as_slice();
    while let Some((first, _)) = todo.first() {
        let mut sum = 0;
        let fitting = todo.iter().take_while(|(_, tally)| {
            sum += tally.count;
            sum <= NAMES_MAX
        });
        let (some, behind) = todo.split_at(fitting.count().max(1));
        let last = some.last().map_or(first.ordinal, |(unit, _)| unit.ordinal);
        let mut places = collect(units, first.ordinal..=last, names)?;
        for (unit, _) in some {
            let of_unit = std::mem::take(places.get_mut(index(units, unit)).unwrap_or(&mut Vec::new()));
            let copied = copy(shared, &mut reader, checkpoint, unit, of_unit, message_len, rest)?;
            let place = left.units.iter_mut().find(|of_left| of_left.ordinal == unit.ordinal);
            if let (Some((copy, bytes)), Some(place)) = (copied, place) {
                left.bytes = (left.bytes + bytes).saturating_sub(size(storage, unit)?);
                *place = copy;
            }
        }
        todo = behind;
    }
    if left.units.iter().any(|unit| !units.contains(unit)) {
        shared.storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
    }
    Ok(left)
}

/// Removes copies that were made for a checkpoint which never came to be. What is copied for another one may be less or more, but the
/// newest copy is believed. Nobody else wants them, whatever else is kept.
fn remove_failed(storage: &dyn Storage) -> Result<(), Error> {
    let newest = newest_position(storage)?.unwrap_or(0);
    for name in storage.list().map_err(|e| Error::io("list", "the log directory", e))? {
        if bodies_of(&name).is_some_and(|(_, made_for)| made_for > newest) {
            storage.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
        }
    }
    Ok(())
}

fn index(units: &[Unit], unit: &Unit) -> usize {
    units.partition_point(|other| other.ordinal < unit.ordinal)
}

/// The names of what lies in some files, for each file.
fn collect(
    units: &[Unit],
    ordinals: std::ops::RangeInclusive<u64>,
    names: Names<'_>,
) -> Result<Vec<Vec<Place>>, Error> {
    let (mut places, mut along) = (vec![Vec::new(); units.len()], Along::default());
    names(&mut |name| {
        for i in along.around(units, name.place.position) {
            let is_wanted = units.get(i).is_some_and(|unit| ordinals.contains(&unit.ordinal));
            if let Some(places) = places.get_mut(i).filter(|_| is_wanted) {
                places.push(name.place);
            }
        }
    })?;
    Ok(places)
}

/// Copies the messages that lie in a file; `None` if that is damaged: then it stays for as long as it is needed, and whoever
/// wants what cannot be read is told.
fn copy(
    shared: &Shared,
    reader: &mut Reader,
    checkpoint: u64,
    unit: &Unit,
    mut places: Vec<Place>,
    message_len: fn(&[u8]) -> Option<usize>,
    rest: &mut dyn FnMut(),
) -> Result<Option<(Unit, u64)>, Error> {
    places.sort_unstable();
    places.dedup();
    let storage = shared.storage.as_ref();
    let mut writer = BodiesWriter::begin(storage, unit.ordinal, unit.first)?;
    for place in places {
        let found = match reader.read(place) {
            Ok(found) => found,
            Err(Error::Corrupt { .. }) => return Ok(None),
            Err(other @ (Error::Io { .. } | Error::Poisoned | Error::Refused(_))) => return Err(other),
        };
        let message = found.and_then(|bytes| message_len(bytes).and_then(|len| bytes.get(..len)));
        let Some(message) = message else { return Ok(None) };
        if writer.put(place, message)? {
            rest();
        }
    }
    let (bytes, count) = writer.finish(storage, checkpoint)?;
    let kind = Kind::Bodies { checkpoint, count };
    debug_assert_eq!(Unit { kind, ..*unit }.name(), bodies_name(unit.ordinal, checkpoint));
    Ok(Some((Unit { kind, ..*unit }, bytes)))
}
