//! Reading a log without changing it: what is there, and how it ends. And the one thing to do about damage, which loses
//! something and so is never done by a server: to cut there, and keep what was cut beside.

use crate::block;
use crate::bodies::bodies_of;
use crate::checkpoint::{self, CheckpointHead};
use crate::error::Error;
use crate::log::segment_name;
use crate::recovery::{self, Each, Reader, Replay, Summary, read_file};
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
    let trouble = reader.all(storage, &ordinals, |_, _| Ok(()))?;
    let ending = match trouble {
        None => Ending::Whole,
        Some((segment, offset, reason)) => {
            let mut place = behind(storage, &ordinals, &reader, &mut bytes)?;
            (place.offset, place.reason) = (offset as u64, reason);
            place.file = ordinals.get(segment).map(|&ordinal| segment_name(ordinal)).unwrap_or_default();
            let expected = reader.expected;
            let judged = reader.refuse_if_restored(&ordinals, &place.reason).and_then(|()| {
                let reason = &place.reason;
                recovery::refuse_if_synced(storage, &ordinals, segment, offset, reason, expected, &mut bytes)
            });
            match judged {
                Ok(()) => Ending::Torn(place),
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

fn read(storage: &dyn Storage, name: &str, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
    read_file(file.as_ref(), bytes).map_err(|e| Error::io("read", name, e))
}

/// What stands behind the last whole record.
fn behind(
    storage: &dyn Storage,
    ordinals: &[u64],
    reader: &Reader<'_>,
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
    };
    let first = reader.end.map_or(0, |end| end.segment);
    for (i, &ordinal) in ordinals.iter().enumerate().skip(first) {
        let name = segment_name(ordinal);
        read(storage, &name, bytes)?;
        let from = match reader.end {
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

/// Cuts a log where it ends, and keeps what was cut: the rest of the end's segment in a file of its own, later segments under
/// another name. Gives the names of these files. What is kept is on disk before anything is cut, and later segments go
/// last first, so that a crash leaves a log that can be repaired again.
pub fn repair(storage: &dyn Storage, place: &Place) -> Result<Vec<String>, Error> {
    let mut kept = Vec::new();
    let mut bytes = Vec::new();
    if let Some((name, offset)) = &place.end {
        read(storage, name, &mut bytes)?;
        let rest = bytes.get(*offset as usize..).unwrap_or_default();
        let beside = format!("{name}.cut-at-{offset}");
        let file = storage.create(&beside).map_err(|e| Error::io("create", &beside, e))?;
        file.write_at(rest, 0).map_err(|e| Error::io("write", &beside, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &beside, e))?;
        kept.push(beside);
    }
    let sync_dir = || storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e));
    sync_dir()?;
    for name in place.segments_behind.iter().rev() {
        let beside = format!("{name}.cut");
        storage.rename(name, &beside).map_err(|e| Error::io("rename", name, e))?;
        sync_dir()?;
        kept.push(beside);
    }
    if let Some((name, offset)) = &place.end {
        let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
        file.set_len(*offset).map_err(|e| Error::io("cut", name, e))?;
        file.sync_data().map_err(|e| Error::io("sync", name, e))?;
    }
    Ok(kept)
}
