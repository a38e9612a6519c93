//! The one thing to do about damage, which loses something and so is never done by a server: to cut there, and keep what was cut
//! beside.

use crate::block;
use crate::checkpoint::{count_names, newest_position};
use crate::error::Error;
use crate::inspect::{Place, held, read};
use crate::log::{NEXT, segment_name, segment_ordinal};
use crate::recovery::{self, last_ordinal};
use crate::storage::Storage;

/// Stands where something was cut of a file that stays for messages only: it ends there by damage, and what is named behind is awaited.
const WAS_CUT: &[u8] = b"cut here by a repair\n";

/// Cuts a log where it ends, and keeps what was cut: the rest of the end's segment in a file of its own, later segments under
/// another name. Gives the names of these files. What is kept is on disk before anything is cut, and later segments go
/// last first, so that a crash leaves a log that can be repaired again.
pub fn repair(storage: &dyn Storage, place: &Place) -> Result<Vec<String>, Error> {
    let last = last_ordinal(storage)?;
    let mut kept = Vec::new();
    let mut bytes = Vec::new();
    if let Some((name, offset)) = &place.end {
        read(storage, name, &mut bytes)?;
        kept.push(keep_rest(storage, name, *offset, &bytes)?);
    }
    sync_dir(storage)?;
    for name in place.segments_behind.iter().rev() {
        kept.push(keep_beside(storage, name)?);
    }
    if let Some((name, offset)) = &place.end {
        let was_cut = if place.begins_anew.is_some() { WAS_CUT } else { &[] };
        cut_at(storage, name, *offset, was_cut)?;
    }
    if let Some(first) = place.begins_anew {
        begin_anew(storage, place, last, first)?;
    }
    Ok(kept)
}

/// What a start cuts of a log, as nothing says that it had been synced. Later segments go last first, so that a crash between leaves a
/// tail that is torn earlier or later and never one with a hole. What has whole blocks is kept like a repair does it, if there is space; gives
/// the names of these files.
pub(crate) fn cut(
    storage: &dyn Storage,
    ordinals: &[u64],
    end: Option<recovery::Place>,
) -> Result<Vec<String>, Error> {
    let (mut kept, mut bytes) = (Vec::new(), Vec::new());
    let mut read = |ordinal, from| -> Result<(String, Vec<u8>, bool), Error> {
        let name = segment_name(ordinal);
        read(storage, &name, &mut bytes)?;
        let has_blocks = block::last_position(&bytes, from, ordinal).is_some();
        Ok((name, std::mem::take(&mut bytes), has_blocks))
    };
    if let Some(recovery::Place { segment, offset }) = end
        && let Some(&ordinal) = ordinals.get(segment)
        && let (name, bytes, true) = read(ordinal, offset)?
    {
        match keep_rest(storage, &name, offset as u64, &bytes) {
            // A start must not need space.
            Err(error) if error.is_full() => {}
            rest => kept.push(rest?),
        }
        sync_dir(storage)?;
    }
    let behind = end.map_or(0, |end| end.segment + 1);
    for &ordinal in ordinals.get(behind..).unwrap_or_default().iter().rev() {
        let (name, _, has_blocks) = read(ordinal, 0)?;
        if has_blocks {
            kept.push(keep_beside(storage, &name)?);
        } else {
            storage.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
            sync_dir(storage)?;
        }
    }
    if let Some(recovery::Place { segment, offset }) = end
        && let Some(&ordinal) = ordinals.get(segment)
    {
        cut_at(storage, &segment_name(ordinal), offset as u64, &[])?;
    }
    Ok(kept)
}

/// Copies what stands behind a place, and gives the copy's name.
fn keep_rest(storage: &dyn Storage, name: &str, offset: u64, bytes: &[u8]) -> Result<String, Error> {
    let beside = unused(storage, format!("{name}.cut-at-{offset}"))?;
    let write = || {
        let file = storage.create(&beside).map_err(|e| Error::io("create", &beside, e))?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        file.write_at(rest, 0).map_err(|e| Error::io("write", &beside, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &beside, e))
    };
    if let Err(error) = write() {
        // Half a copy is of no use to anybody.
        let _ = storage.remove(&beside);
        return Err(error);
    }
    Ok(beside)
}

fn keep_beside(storage: &dyn Storage, name: &str) -> Result<String, Error> {
    let beside = unused(storage, format!("{name}.cut"))?;
    storage.rename(name, &beside).map_err(|e| Error::io("rename", name, e))?;
    sync_dir(storage)?;
    Ok(beside)
}

fn cut_at(storage: &dyn Storage, name: &str, offset: u64, behind: &[u8]) -> Result<(), Error> {
    let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
    file.set_len(offset).map_err(|e| Error::io("cut", name, e))?;
    if !behind.is_empty() {
        file.write_at(behind, offset).map_err(|e| Error::io("write", name, e))?;
    }
    file.sync_data().map_err(|e| Error::io("sync", name, e))
}

/// What is missing of files that are there for messages only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first number of a file that may have had the messages; that of the segment behind must not follow on it.
    stand_in: Option<u64>,
    /// How many messages it had, counted once for each queue.
    pub messages: u64,
    /// The first and the last of their positions.
    pub positions: (u64, u64),
}

/// What the newest checkpoint has by name only and no file has.
pub fn gaps(storage: &dyn Storage) -> Result<Vec<Gap>, Error> {
    let Some(checkpoint) = newest_position(storage)? else { return Ok(Vec::new()) };
    let mut gaps = Vec::new();
    for missing in held(storage, checkpoint)?.gaps(storage)?.missing {
        let (mut first, mut last) = (u64::MAX, 0);
        let messages = count_names(storage, checkpoint, |position| {
            let is_missing = missing.positions.contains(&position);
            if is_missing {
                (first, last) = (first.min(position), last.max(position));
            }
            is_missing
        })?;
        let mut ordinals = missing.ordinals.clone();
        let stand_in = ordinals.next();
        gaps.push(Gap { stand_in, messages, positions: (first, last) });
    }
    Ok(gaps)
}

/// Puts files in the place of those that are missing: there is nothing in them, but it is known whose messages are awaited, and a server starts.
/// Gives their names. Whoever finds a missing file puts it back, and removes what stands for it.
pub fn stand_in(storage: &dyn Storage, gaps: &[Gap]) -> Result<Vec<String>, Error> {
    let names: Option<Vec<String>> = gaps.iter().map(|gap| gap.stand_in.map(segment_name)).collect();
    let no_room = || Error::Refused("no number is left for a file that stands in".to_owned());
    let names = names.ok_or_else(no_room)?;
    let there = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    if let Some(name) = names.iter().find(|name| there.contains(name)) {
        return Err(Error::Refused(format!("nothing can stand in where {name} is")));
    }
    names.iter().try_for_each(|name| make(storage, name, WAS_CUT))?;
    Ok(names)
}

/// A name that nothing has yet, which an earlier repair may have kept.
fn unused(storage: &dyn Storage, name: String) -> Result<String, Error> {
    let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    let numbered = (2..).map(|number| format!("{name}.{number}"));
    Ok(std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name)).unwrap_or(name))
}

/// Makes the segment that goes on from a checkpoint: its number is above all, and does not follow any.
fn begin_anew(storage: &dyn Storage, place: &Place, last: u64, first: u64) -> Result<(), Error> {
    let cut = place.segments_behind.first().and_then(|name| segment_ordinal(name));
    let lost = cut.unwrap_or(last.saturating_add(1));
    if place.messages > 0 && place.end.is_none() {
        // Somebody has to be known to have had them.
        make(storage, &segment_name(lost), WAS_CUT)?;
    }
    let ordinal = last.max(lost).saturating_add(2);
    make(storage, &segment_name(ordinal), &block::segment_head(ordinal, first))
}

fn make(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let file = storage.create(NEXT).map_err(|e| Error::io("create", name, e))?;
    file.write_at(bytes, 0).map_err(|e| Error::io("write", name, e))?;
    file.sync_data().map_err(|e| Error::io("sync", name, e))?;
    storage.rename(NEXT, name).map_err(|e| Error::io("rename", NEXT, e))?;
    sync_dir(storage)
}

fn sync_dir(storage: &dyn Storage) -> Result<(), Error> {
    storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))
}
