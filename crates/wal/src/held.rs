//! A look at what a checkpoint has by name only: every block that may have such a message is checked. Nothing is changed.

use crate::block::{self, BLOCK_HEAD, Found, SEGMENT_HEAD};
use crate::bodies;
use crate::checkpoint;
use crate::error::Error;
use crate::inspect::held;
use crate::log::segment_name;
use crate::recovery::{self, Each, Reader, Skip, all_zero, read_file};
use crate::storage::Storage;
use crate::tail::Record;
use crate::units::{self, Missing, Unit};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Files that are there for such messages only.
    pub files: u64,
    /// Messages, counted once for each queue.
    pub messages: u64,
    /// The first damage in each file that has some: file, offset, reason. A server starts nevertheless.
    pub damage: Vec<(String, u64, String)>,
    /// What is missing, of each gap between files. A server refuses to start without it.
    pub missing: Vec<String>,
}

/// Reads every file that is there for messages only.
pub fn verify_held(storage: &dyn Storage) -> Result<Held, Error> {
    let mut found = Held::default();
    let Some(newest) = checkpoint::newest_position(storage)? else { return Ok(found) };
    let mut bytes = Vec::new();
    let census = held(storage, newest)?;
    let gaps = census.gaps(storage)?;
    for (unit, tally) in census.needed(newest) {
        let name = unit.name();
        found.files += 1;
        found.messages += tally.count;
        let checked = match unit.is_segment() {
            true => check(storage, &unit, &mut bytes),
            false => bodies::read(storage, &name, &mut |_| ()),
        };
        match checked {
            Err(Error::Corrupt { file, offset, reason }) => found.damage.push((file, offset, reason)),
            checked => {
                checked?;
                // What is behind it is missing, and that has been said.
                if census.has_gap_behind(&unit) && !gaps.cut.contains(&unit) {
                    continue;
                }
                found.damage.extend(census.is_cut(storage, &unit)?.map(|[end, wanted]| {
                    let reason = format!("it ends with position {end}, and should have {wanted}");
                    (name, units::size(storage, &unit).unwrap_or(0), reason)
                }));
            }
        }
    }
    found.missing = gaps.missing.iter().map(Missing::sentence).collect();
    for skip in skipped(storage, newest)? {
        let messages = skip.names(storage, newest)?;
        if messages > 0 {
            let reason = format!("{}, and only there were {messages} messages", skip.reason);
            found.damage.push((segment_name(skip.ordinal), skip.offset, reason));
        }
    }
    Ok(found)
}

/// What a start passes over in the segment that goes on from the checkpoint.
fn skipped(storage: &dyn Storage, checkpoint: u64) -> Result<Vec<Skip>, Error> {
    let ordinals = recovery::ordinals(storage)?;
    let needed = recovery::first_needed(storage, &ordinals, checkpoint)?;
    let mut enough = |_: Record<'_>| Err("what comes after the checkpoint".to_owned());
    let mut replay = Each(&mut enough);
    let mut reader = Reader::new(&mut replay, checkpoint);
    match reader.all(storage, ordinals.get(needed..).unwrap_or_default(), |_, _| Ok(())) {
        // Who reads on says what is wrong there.
        Ok(_) | Err(Error::Corrupt { .. }) => Ok(reader.skipped),
        Err(other @ (Error::Io { .. } | Error::Poisoned | Error::Refused(_))) => Err(other),
    }
}

/// The files before the newest checkpoint without which it is not whole.
#[cfg(test)]
pub(crate) fn files_held(storage: &dyn Storage) -> Result<Vec<String>, Error> {
    match checkpoint::newest_position(storage)? {
        Some(newest) => Ok(held(storage, newest)?.needed(newest).map(|(unit, _)| unit.name()).collect()),
        None => Ok(Vec::new()),
    }
}

/// Checks the head and all blocks of a segment.
fn check(storage: &dyn Storage, unit: &Unit, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let name = unit.name();
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    read_file(file.as_ref(), bytes).map_err(|e| Error::io("read", &name, e))?;
    let first =
        block::read_segment_head(bytes, unit.ordinal).map_err(|reason| Error::corrupt(&name, 0, reason))?;
    if first.is_none() {
        return Err(Error::corrupt(&name, 0, "its head is damaged"));
    }
    let mut at = SEGMENT_HEAD;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let damaged = |reason: &str| Error::corrupt(&name, at, reason);
        at += match block::read(rest, unit.ordinal).map_err(|reason| damaged(&reason))? {
            Found::Block(_, payload) => BLOCK_HEAD + payload.len(),
            Found::End if all_zero(rest) => return Ok(()),
            Found::End => return Err(damaged("zeros where a block should begin")),
            Found::Damaged(reason) => return Err(damaged(reason)),
        };
    }
    Ok(())
}
