//! Reading a log without changing it: what is there, and how it ends.

use crate::block;
use crate::bodies::bodies_of;
use crate::checkpoint::{self, CheckpointHead};
use crate::error::Error;
use crate::log::segment_name;
use crate::reach;
use crate::recovery::{self, Each, Reader, Replay, Summary, Trouble, read_file};
use crate::storage::Storage;
use crate::tail::Record;
use crate::units::{self, Census, Tally, Unit};
use std::sync::Arc;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The checkpoint that the log goes on from.
    pub checkpoint: Option<CheckpointHead>,
    /// How many segment files there are.
    pub segments: u64,
    /// The records that can be read.
    pub summary: Summary,
    /// How the log ends.
    pub ending: Ending,
}

/// How a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With its last record.
    Whole,
    /// With what a crash has left of something that was never confirmed; a server that starts cuts it.
    Torn(Place),
    /// Something that had been on disk is not what it was; a server refuses to start.
    Damaged(Place),
}

/// Where it ends, and what stands behind that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment that cannot be read on.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
    /// The last segment with a whole record, and where that ends; `None` when no record can be read.
    pub end: Option<(String, u64)>,
    /// Bytes behind the end.
    pub bytes_behind: u64,
    /// Segments behind the end's.
    pub segments_behind: Vec<String>,
    /// The last position that can still be made out behind the end.
    pub last_behind: Option<u64>,
    /// The log ends before what its checkpoint has: after a repair it begins anew with this position.
    pub begins_anew: Option<u64>,
    /// Messages behind the end that the checkpoint has by name only, counted once for each queue.
    pub messages: u64,
}

/// Reads everything and changes nothing.
pub fn inspect(
    storage: &dyn Storage,
    each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Inspection, Error> {
    let checkpoint = checkpoint::newest(storage, &mut |_| Ok(()), &mut |_| ())?.map(|(head, _)| head);
    inspect_after(storage, checkpoint, &mut Each(each))
}

/// Reads what comes after a checkpoint that was read, and changes nothing.
pub fn inspect_after(
    storage: &dyn Storage,
    checkpoint: Option<CheckpointHead>,
    replay: &mut dyn Replay,
) -> Result<Inspection, Error> {
    let restored = checkpoint.map_or(0, |head| head.position);
    let mut ordinals = recovery::ordinals(storage)?;
    // What comes before it is only not removed yet.
    ordinals.drain(..recovery::first_needed(storage, &ordinals, restored)?);
    let mut reader = Reader::new(replay, restored);
    let mut bytes = Vec::new();
    let ending = match reader.all(storage, &ordinals, |_, _| Ok(()))? {
        None => Ending::Whole,
        Some(trouble) => {
            let mut place = behind(storage, &ordinals, end_of(&trouble, &reader), &mut bytes)?;
            (place.file, place.offset) = (trouble.file.clone(), trouble.offset as u64);
            if let Some(checkpoint) = checkpoint.filter(|_| trouble.is_before_checkpoint) {
                place.begins_anew = restored.checked_add(1);
                place.messages = named_behind(storage, checkpoint, &reader)?;
            }
            match recovery::refuse(storage, &ordinals, &trouble, reader.expected, &mut bytes) {
                Ok(()) => Ending::Torn(Place { reason: trouble.reason, ..place }),
                Err(Error::Corrupt { reason, .. }) => Ending::Damaged(Place { reason, ..place }),
                Err(other @ (Error::Io { .. } | Error::Poisoned | Error::Refused(_))) => return Err(other),
            }
        }
    };
    Ok(Inspection { checkpoint, segments: ordinals.len() as u64, summary: reader.summary, ending })
}

/// A file of a log and why it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Why it is there.
    pub why: Why,
}

/// Why a file of a log is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The state at this position: a start begins with it.
    Newest(u64),
    /// An older state. It or the newest one is only not removed yet.
    Older(u64),
    /// The checkpoint has everything that it has; it is only not removed yet.
    InCheckpoint,
    /// Likewise, but an archive has not got it.
    ForArchive,
    /// The checkpoint has so many messages in it by name only, counted once for each queue, and their contents have about so many
    /// bytes.
    Holds {
        /// How many.
        messages: u64,
        /// Bytes.
        bytes: u64,
    },
    /// These positions come after the checkpoint, the first one perhaps with its end only.
    After(u64, u64),
    /// From this position on; it is the one that is written to.
    Last(u64),
    /// Its head cannot be read.
    Unreadable,
}

/// Tells of every checkpoint, every segment and what is left of some why it is there. Only heads are read, and names of messages.
pub fn explain(storage: &dyn Storage) -> Result<Vec<Explained>, Error> {
    let size = |name: &str| {
        let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
        file.size().map_err(|e| Error::io("read", name, e))
    };
    let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    let mut checkpoints: Vec<u64> =
        names.iter().filter_map(|name| checkpoint::checkpoint_position(name)).collect();
    checkpoints.sort_unstable();
    let newest = checkpoints.last().copied();
    let mut explained = Vec::new();
    for position in checkpoints {
        let file = checkpoint::checkpoint_name(position);
        let why = if Some(position) == newest { Why::Newest(position) } else { Why::Older(position) };
        explained.push(Explained { bytes: size(&file)?, file, why });
    }
    let held = match newest {
        Some(newest) => held(storage, newest)?.needed(newest).collect(),
        None => Vec::new(),
    };
    let holds = |unit: &dyn Fn(&Unit) -> bool| {
        let known = held.iter().find(|(known, _)| unit(known));
        known.map(|(_, Tally { count, bytes, .. })| Why::Holds { messages: *count, bytes: *bytes })
    };
    let kept = storage.kept().map_err(|e| Error::io("read", "what is kept", e))?;
    let waits = |ordinal| kept.archived.as_ref().is_some_and(|archived| archived.first <= ordinal);
    for file in names.into_iter().filter(|name| bodies_of(name).is_some()) {
        let why = holds(&|unit| unit.name() == file).unwrap_or(Why::InCheckpoint);
        explained.push(Explained { bytes: size(&file)?, file, why });
    }
    let ordinals = recovery::ordinals(storage)?;
    let firsts = ordinals.iter().map(|&ordinal| recovery::first_position(storage, ordinal));
    let firsts = firsts.collect::<Result<Vec<_>, _>>()?;
    for (i, &ordinal) in ordinals.iter().enumerate() {
        let file = segment_name(ordinal);
        // Of those whose heads cannot be read others know more.
        let next = firsts.iter().skip(i + 1).copied().flatten().next();
        let is_it = |unit: &Unit| unit.is_segment() && unit.ordinal == ordinal;
        let why = match (firsts.get(i).copied().flatten(), next) {
            (None, _) => holds(&is_it).unwrap_or(Why::Unreadable),
            (Some(first), None) => Why::Last(first),
            (Some(_), Some(next)) if newest.is_some_and(|newest| next <= newest) => {
                let why = if waits(ordinal) { Why::ForArchive } else { Why::InCheckpoint };
                holds(&is_it).unwrap_or(why)
            }
            (Some(first), Some(next)) => Why::After(first, next.saturating_sub(1).max(first)),
        };
        explained.push(Explained { bytes: size(&file)?, file, why });
    }
    Ok(explained)
}

/// What the names of a checkpoint say of the files before it.
pub(crate) fn held(storage: &dyn Storage, checkpoint: u64) -> Result<Census, Error> {
    let mut census = Census::new(Arc::new(units::list(storage, checkpoint)?));
    let name = checkpoint::checkpoint_name(checkpoint);
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    let head = CheckpointHead { position: checkpoint, time_ms: 0 };
    checkpoint::each_name(file.as_ref(), &name, head, &mut |name| census.count(name))?;
    Ok(census)
}

/// How many messages a checkpoint names behind the place where the log ends before it.
fn named_behind(storage: &dyn Storage, head: CheckpointHead, reader: &Reader<'_>) -> Result<u64, Error> {
    let from = match (reader.end, held(storage, head.position)?.needed(head.position).last()) {
        (Some(_), _) => reader.expected,
        // What comes before it is there.
        (None, Some((unit, _))) => {
            reach::ends_with(storage, &unit)?.map_or(unit.first, |end| end.last.saturating_add(1))
        }
        (None, None) => 0,
    };
    checkpoint::count_names(storage, head.position, |position| position >= from)
}

pub(crate) fn read(storage: &dyn Storage, name: &str, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
    read_file(file.as_ref(), bytes).map_err(|e| Error::io("read", name, e))
}

/// Where a repair would cut: the segment, and the place in it if something of it stays.
fn end_of(trouble: &Trouble, reader: &Reader<'_>) -> (usize, Option<recovery::Place>) {
    let Trouble { segment, offset, .. } = *trouble;
    match reader.end {
        // All that comes before it is there for messages.
        _ if trouble.is_before_checkpoint => {
            (segment, (offset > 0).then_some(recovery::Place { segment, offset }))
        }
        Some(end) => (end.segment, Some(end)),
        None => (0, None),
    }
}

/// What stands behind the last whole record.
fn behind(
    storage: &dyn Storage,
    ordinals: &[u64],
    (first, end): (usize, Option<recovery::Place>),
    bytes: &mut Vec<u8>,
) -> Result<Place, Error> {
    let mut place = Place {
        file: String::new(),
        offset: 0,
        reason: String::new(),
        end: None,
        bytes_behind: 0,
        segments_behind: Vec::new(),
        last_behind: None,
        begins_anew: None,
        messages: 0,
    };
    for (i, &ordinal) in ordinals.iter().enumerate().skip(first) {
        let name = segment_name(ordinal);
        read(storage, &name, bytes)?;
        let from = match end {
            Some(end) if end.segment == i => {
                place.end = Some((name, end.offset as u64));
                end.offset
            }
            Some(_) | None => {
                place.segments_behind.push(name);
                0
            }
        };
        // Zeros at the end of a file were never anything.
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        place.bytes_behind += used.saturating_sub(from) as u64;
        place.last_behind = place.last_behind.max(block::last_position(bytes, from, ordinal));
    }
    Ok(place)
}
