//! From backups to a log that a server can start with, as it was at one position or time. It begins with the newest checkpoint
//! that is not behind that point, takes what the first backup with this checkpoint has, then the segments of later ones as
//! long as nothing is missing between them, and cuts behind the last record that is wanted.

use super::listing::{Backup, BodiesCopy, DamagedList, Listed, SegmentCopy, backups};
use super::walk::Walk;
use crate::block::{self, BLOCK_HEAD, Found, Part, SEGMENT_HEAD};
use crate::bodies::bodies_name;
use crate::checkpoint::{self, CheckpointHead, checkpoint_name};
use crate::error::Error;
use crate::log::segment_name;
use crate::recovery::{begins_anew, first_needed, ordinals, read_file};
use crate::storage::Storage;
use crate::units::{self, Census};
use std::sync::Arc;

/// Up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything.
    End,
    /// Up to and with this position.
    Position(u64),
    /// Up to and with what was committed at this time, in milliseconds since 1970.
    Time(u64),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The last position that is there.
    pub position: u64,
    /// When that was committed, or when the checkpoint was made; 0 when nothing is there.
    pub time_ms: u64,
    /// The position of the checkpoint that it begins with.
    pub checkpoint: Option<u64>,
    /// Segments copied.
    pub segments: usize,
    /// Bytes copied.
    pub bytes: u64,
    /// The last position of all backups, and when it was committed.
    pub last: (u64, u64),
}

/// What has to be copied for a point.
struct Plan<'a> {
    base: &'a Backup,
    has_checkpoint: bool,
    segments: Vec<SegmentCopy>,
}

/// Makes in `into`, which is empty, the log up to a point. What it copies it compares with the checksums.
pub fn restore(archive: &dyn Storage, into: &dyn Storage, until: Until) -> Result<Restored, Error> {
    let listed = backups(archive)?;
    let Some(last) = listed.whole.last() else {
        return match listed.damaged.into_iter().next() {
            Some(damaged) => Err(damaged.error),
            None => Err(Error::Refused("there is no backup in this directory".into())),
        };
    };
    let newest = listed.damaged.last().filter(|damaged| until == Until::End && damaged.number > last.number);
    if let Some(DamagedList { error, .. }) = newest {
        return Err(Error::Refused(format!(
            "the last backup cannot be read ({error}). The one before has everything up to --to-position {}",
            last.position
        )));
    }
    let plan = plan(&listed, last, until)?;
    let mut bytes = 0;
    let mut checkpoint = None;
    if let Some(copy) = plan.base.checkpoint.filter(|_| plan.has_checkpoint) {
        bytes += fetch(archive, into, &checkpoint_name(copy.position), copy.bytes, copy.crc)?;
        for BodiesCopy { ordinal, made_for, bytes: len, crc } in &plan.base.bodies {
            bytes += fetch(archive, into, &bodies_name(*ordinal, *made_for), *len, *crc)?;
        }
        checkpoint = Some(copy.position);
    }
    for SegmentCopy { ordinal, bytes: len, crc, .. } in &plan.segments {
        bytes += fetch(archive, into, &segment_name(*ordinal), *len, *crc)?;
    }
    into.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
    let checkpoint = checkpoint.map(|position| read_checkpoint(into, position)).transpose()?;
    let restored = checkpoint.map_or(0, |head| head.position);
    let (position, time_ms) = last_wanted(into, restored, until)?;
    if let (Until::Position(wanted), true) = (until, until != Until::Position(position)) {
        let why = format!("the log of the backup ends at position {position} and not at {wanted}");
        return Err(Error::corrupt("the backup", 0, why));
    }
    if until == Until::End && position != last.position {
        let why = format!("the log of the backup ends at position {position} and not at {}", last.position);
        return Err(Error::corrupt("the backup", 0, why));
    }
    cut_behind(into, position)?;
    Ok(Restored {
        position,
        time_ms: time_ms.max(checkpoint.map_or(0, |head| head.time_ms)),
        checkpoint: checkpoint.map(|head| head.position),
        segments: ordinals(into)?.len(),
        bytes,
        last: (last.position, last.time_ms),
    })
}

/// Reads a checkpoint, and sees whether everything is there that it has by name only.
fn read_checkpoint(into: &dyn Storage, position: u64) -> Result<CheckpointHead, Error> {
    let mut census = Census::new(Arc::new(units::list(into, position)?));
    let name = checkpoint_name(position);
    let (head, _) = checkpoint::read(into, &name, &mut |_| Ok(()), &mut |name| census.count(name))?;
    census.check(position, into)?;
    Ok(head)
}

/// Copies what the list says, and compares.
fn fetch(archive: &dyn Storage, into: &dyn Storage, name: &str, len: u64, crc: u32) -> Result<u64, Error> {
    let (bytes, actual) = super::copy(archive, into, name, Some(len))?;
    if bytes != len {
        return Err(Error::corrupt(
            name,
            bytes as usize,
            format!("the copy in the backup has {bytes} bytes of {len}"),
        ));
    }
    if actual != crc {
        return Err(Error::corrupt(
            name,
            0,
            "the copy in the backup is not what was copied: its checksum is wrong",
        ));
    }
    Ok(bytes)
}

fn plan<'a>(listed: &'a Listed, last: &'a Backup, until: Until) -> Result<Plan<'a>, Error> {
    let backups = &listed.whole;
    let is_reached = |backup: &Backup| match until {
        Until::End => backup.number == last.number,
        Until::Position(position) => backup.position >= position,
        Until::Time(time_ms) => backup.taken_ms >= time_ms,
    };
    if !is_reached(last) {
        return Err(Error::Refused(match until {
            Until::End => "the last backup is not there".into(),
            Until::Position(_) => format!("the last backup ends at position {}", last.position),
            Until::Time(_) => "the last backup was made before that time".into(),
        }));
    }
    let is_before = |backup: &&Backup| {
        backup.checkpoint.is_some_and(|copy| match until {
            Until::End => true,
            Until::Position(position) => copy.position <= position,
            Until::Time(time_ms) => copy.time_ms <= time_ms,
        })
    };
    let newest = backups.iter().filter(is_before).filter_map(|backup| backup.checkpoint()).max();
    let base = match (until, newest) {
        (Until::End, _) => Some(last),
        (_, Some(newest)) => backups.iter().find(|backup| backup.checkpoint() == Some(newest)),
        (_, None) => backups.first().filter(|first| is_from_the_beginning(first)),
    };
    let Some(base) = base else {
        return Err(Error::Refused(match backups.first().and_then(|first| first.checkpoint) {
            Some(copy) => format!(
                "the backups begin with the state at position {}, which is behind that point",
                copy.position
            ),
            None => "the first of these backups has no beginning".into(),
        }));
    };
    let mut plan = Plan { base, has_checkpoint: newest.is_some(), segments: base.segments.clone() };
    let mut reached = base;
    for next in backups.iter().filter(|next| next.number > base.number) {
        if is_reached(reached) {
            break;
        }
        if !next.continues || listed.is_damaged_between(reached, next) && !joins(reached, next) {
            return Err(Error::Refused(format!(
                "nothing of what came between position {} and {} was saved: the log had lost it before the next backup was made. \
                 The last point before is --to-position {}",
                reached.position,
                next.checkpoint().unwrap_or(next.position),
                reached.position
            )));
        }
        for copy in &next.segments {
            match plan.segments.iter_mut().find(|known| known.ordinal == copy.ordinal) {
                Some(known) if known.bytes < copy.bytes => *known = *copy,
                Some(_) => {}
                None => plan.segments.push(*copy),
            }
        }
        reached = next;
    }
    plan.segments.sort_unstable_by_key(|copy| copy.ordinal);
    Ok(plan)
}

/// A backup has every segment from the last one of an earlier backup on.
fn joins(before: &Backup, next: &Backup) -> bool {
    let Some((first, last)) = before.segments.last().zip(next.segments.last()) else { return false };
    (first.ordinal..=last.ordinal).all(|ordinal| next.segments.iter().any(|copy| copy.ordinal == ordinal))
}

/// Nothing of the log had gone yet. Some old segments may be there for messages that only they have, and others not.
fn is_from_the_beginning(first: &Backup) -> bool {
    let is_next = |pair: &[SegmentCopy]| match pair {
        [before, next] => before.ordinal.checked_add(1) == Some(next.ordinal),
        _ => true,
    };
    first.segments.first().map_or(first.position == 0, |segment| segment.first == 1)
        && first.segments.windows(2).all(is_next)
}

/// The last record that is wanted: its position and its time.
fn last_wanted(into: &dyn Storage, restored: u64, until: Until) -> Result<(u64, u64), Error> {
    let ordinals = ordinals(into)?;
    let needed = first_needed(into, &ordinals, restored)?;
    let (mut walk, mut bytes, mut last) = (Walk::default(), Vec::new(), (restored, 0));
    for &ordinal in ordinals.get(needed..).unwrap_or_default() {
        let name = segment_name(ordinal);
        read(into, &name, &mut bytes)?;
        let walked = walk.segment(&name, ordinal, &bytes, &mut |position, time_ms| {
            let is_wanted = match until {
                Until::End => true,
                Until::Position(wanted) => position <= wanted,
                Until::Time(wanted) => time_ms <= wanted,
            };
            // Times never decrease, so what is not wanted is followed by nothing that is.
            if is_wanted && position > restored {
                last = (position, time_ms);
            }
        })?;
        let walked = walked.ok_or_else(|| Error::corrupt(&name, 0, "its head is damaged"))?;
        if let Some(why) = walked.trouble {
            return Err(Error::corrupt(&name, walked.used, why));
        }
    }
    Ok(last)
}

fn read(storage: &dyn Storage, name: &str, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
    read_file(file.as_ref(), bytes).map_err(|e| Error::io("read", name, e))
}

/// Removes every record behind a position.
fn cut_behind(into: &dyn Storage, position: u64) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let there = ordinals(into)?;
    for &ordinal in there.iter().rev() {
        let name = segment_name(ordinal);
        let follows = ordinal.checked_sub(1).is_some_and(|before| there.contains(&before));
        read(into, &name, &mut bytes)?;
        let first = block::read_segment_head(&bytes, ordinal).map_err(|why| Error::corrupt(&name, 0, why))?;
        // Where a repair has begun anew there is no other segment that goes on from the checkpoint.
        if first.is_none_or(|first| first > position && !begins_anew(first, position, follows)) {
            into.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
            continue;
        }
        let before = bytes.len();
        if let Some(block) =
            wanted_part(&mut bytes, ordinal, position).map_err(|why| Error::corrupt(&name, 0, why))?
        {
            let file = into.open(&name).map_err(|e| Error::io("open", &name, e))?;
            let rest = bytes.get(block..).unwrap_or_default();
            file.write_at(rest, block as u64).map_err(|e| Error::io("write", &name, e))?;
            if bytes.len() != before {
                file.set_len(bytes.len() as u64).map_err(|e| Error::io("cut", &name, e))?;
            }
            file.sync_data().map_err(|e| Error::io("sync", &name, e))?;
        }
        break;
    }
    into.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))
}

/// Shortens a segment so that it ends with the record of this position; gives where it was changed.
fn wanted_part(bytes: &mut Vec<u8>, ordinal: u64, position: u64) -> Result<Option<usize>, String> {
    let mut at = SEGMENT_HEAD;
    loop {
        let Found::Block(head, payload) = block::read(bytes.get(at..).unwrap_or_default(), ordinal)? else {
            return Ok(None);
        };
        let (first, len) = (head.first.position, payload.len());
        if first > position {
            bytes.truncate(at);
            return Ok(Some(at));
        }
        if head.part == Part::Whole {
            let wanted = (position - first).saturating_add(1);
            let mut kept = 0;
            for _ in 0..wanted {
                let Some(rest) = payload.get(kept..).filter(|rest| !rest.is_empty()) else { break };
                kept += block::first_record_len(rest);
            }
            if kept < len {
                let end = at + BLOCK_HEAD + kept;
                bytes.truncate(end);
                block::seal(&mut bytes[at..end], &head, ordinal);
                return Ok(Some(at));
            }
        }
        at += BLOCK_HEAD + len;
    }
}
