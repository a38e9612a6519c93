//! Where the log begins that comes after a checkpoint. Segments before that are there for messages only, or not removed yet.
//! The trap: what is there for messages may have any gaps, and the log has none.

use crate::block::{self, SEGMENT_HEAD};
use crate::bodies::{self, bodies_of};
use crate::error::Error;
use crate::log::{segment_name, segment_ordinal};
use crate::reach;
use crate::recovery::fill;
use crate::storage::Storage;
use crate::units::{Kind, Unit};

/// The segments there are, in order.
pub(crate) fn ordinals(storage: &dyn Storage) -> Result<Vec<u64>, Error> {
    let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    let mut ordinals: Vec<u64> = names.iter().filter_map(|name| segment_ordinal(name)).collect();
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// The highest number of a segment that is there, or of which something is left or was cut; 0 without any.
pub(crate) fn last_ordinal(storage: &dyn Storage) -> Result<u64, Error> {
    let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    let of = |name: &String| match name.split_once(".segment.cut") {
        Some((ordinal, _)) => ordinal.parse().ok(),
        None => segment_ordinal(name).or(bodies_of(name).map(|(ordinal, _)| ordinal)),
    };
    Ok(names.iter().filter_map(of).max().unwrap_or(0))
}

/// The first position of a segment, as far as its head can be read.
pub(crate) fn first_position(storage: &dyn Storage, ordinal: u64) -> Result<Option<u64>, Error> {
    let name = segment_name(ordinal);
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    let mut head = [0; SEGMENT_HEAD];
    let len = fill(file.as_ref(), &mut head, 0).map_err(|e| Error::io("read", &name, e))?;
    Ok(block::read_segment_head(head.get(..len).unwrap_or_default(), ordinal).unwrap_or(None))
}

/// The first position of a segment, as its head or its first block tells.
fn told(storage: &dyn Storage, ordinal: u64) -> Result<Option<u64>, Error> {
    match first_position(storage, ordinal)? {
        None => reach::first_of_segment(storage, &segment_name(ordinal), ordinal),
        first => Ok(first),
    }
}

/// The first segment that is needed after a checkpoint of this position. The last record in it may go on in the next one, so
/// that one must begin with a position that is in the checkpoint, too. But where a repair has begun anew, nothing goes on: there the
/// segment before is missing.
pub(crate) fn first_needed(storage: &dyn Storage, ordinals: &[u64], restored: u64) -> Result<usize, Error> {
    for (i, &ordinal) in ordinals.iter().enumerate().rev() {
        let Some(first) = told(storage, ordinal)? else { continue };
        let before = i.checked_sub(1).and_then(|i| ordinals.get(i));
        let follows = before.and_then(|before| before.checked_add(1)) == Some(ordinal);
        if begins_anew(first, restored, follows) {
            return Ok(i);
        }
        if first <= restored {
            return unless_held(storage, ordinals, i, Unit::segment(ordinal, first), restored);
        }
    }
    Ok(0)
}

/// A segment begins right behind a checkpoint, and does not follow another one.
pub(crate) fn begins_anew(first: u64, checkpoint: u64, follows: bool) -> bool {
    !follows && checkpoint.checked_add(1) == Some(first)
}

/// The last segment that begins in a checkpoint may be there for messages only, if the one that follows cannot be read or is missing.
fn unless_held(
    storage: &dyn Storage,
    ordinals: &[u64],
    i: usize,
    segment: Unit,
    restored: u64,
) -> Result<usize, Error> {
    let next = ordinals.get(i + 1);
    let is_followed = match next {
        Some(&next) => segment.ordinal.checked_add(1) == Some(next) && told(storage, next)?.is_some(),
        None => true,
    };
    let mut copies = Vec::new();
    for name in storage.list().map_err(|e| Error::io("list", "the log directory", e))? {
        let of = bodies_of(&name)
            .filter(|(ordinal, made_for)| *ordinal > segment.ordinal && *made_for <= restored);
        copies.extend(of.map(|(ordinal, _)| (ordinal, name)));
    }
    if is_followed && copies.is_empty() {
        return Ok(i);
    }
    let is_held = match reach::ends_with(storage, &segment)? {
        Some(end) => end.last < restored,
        // Then whole copies tell: there are none of a segment that is still needed, or of one behind it.
        None => {
            let heads = copies.iter().map(|(_, name)| bodies::read_head(storage, name));
            heads.collect::<Result<Vec<_>, _>>()?.iter().any(Option::is_some)
        }
    };
    let last = copies.iter().map(|(ordinal, _)| *ordinal).max().unwrap_or(segment.ordinal);
    Ok(if is_held { ordinals.partition_point(|ordinal| *ordinal <= last) } else { i })
}

/// The last position, as far as can be told, of what lies before this segment.
pub(crate) fn end_before(storage: &dyn Storage, ordinal: u64) -> Result<u64, Error> {
    let mut last: Option<(u64, String)> = None;
    for name in storage.list().map_err(|e| Error::io("list", "the log directory", e))? {
        let of = segment_ordinal(&name).or(bodies_of(&name).map(|(ordinal, _)| ordinal));
        let of = of.filter(|of| *of < ordinal && last.as_ref().is_none_or(|(last, _)| of > last));
        if let Some(of) = of {
            last = Some((of, name));
        }
    }
    let Some((ordinal, name)) = last else { return Ok(0) };
    let unit = match bodies_of(&name) {
        None => Unit::segment(ordinal, told(storage, ordinal)?.unwrap_or(0)),
        Some((_, checkpoint)) => {
            let (first, count) =
                bodies::read_head(storage, &name)?.map_or((0, 0), |head| (head.first, head.count));
            Unit { kind: Kind::Bodies { checkpoint, count }, ..Unit::segment(ordinal, first) }
        }
    };
    Ok(reach::ends_with(storage, &unit)?.map_or(unit.first, |end| end.last))
}
