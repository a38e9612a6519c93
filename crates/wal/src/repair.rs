//! The one thing to do about damage, which loses something and so is never done by a server: to cut there, and keep what was cut
//! beside.

use crate::block;
use crate::error::Error;
use crate::inspect::{Place, read};
use crate::log::{NEXT, segment_name, segment_ordinal};
use crate::recovery::last_ordinal;
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
        let rest = bytes.get(*offset as usize..).unwrap_or_default();
        let beside = unused(storage, format!("{name}.cut-at-{offset}"))?;
        let file = storage.create(&beside).map_err(|e| Error::io("create", &beside, e))?;
        file.write_at(rest, 0).map_err(|e| Error::io("write", &beside, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &beside, e))?;
        kept.push(beside);
    }
    sync_dir(storage)?;
    for name in place.segments_behind.iter().rev() {
        let beside = unused(storage, format!("{name}.cut"))?;
        storage.rename(name, &beside).map_err(|e| Error::io("rename", name, e))?;
        sync_dir(storage)?;
        kept.push(beside);
    }
    if let Some((name, offset)) = &place.end {
        let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
        file.set_len(*offset).map_err(|e| Error::io("cut", name, e))?;
        if place.begins_anew.is_some() {
            file.write_at(WAS_CUT, *offset).map_err(|e| Error::io("write", name, e))?;
        }
        file.sync_data().map_err(|e| Error::io("sync", name, e))?;
    }
    if let Some(first) = place.begins_anew {
        begin_anew(storage, place, last, first)?;
    }
    Ok(kept)
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
