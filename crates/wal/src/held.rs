//! A look at what a checkpoint has by name only: every block that may have such a message is checked. Nothing is changed.

use crate::block::{self, BLOCK_HEAD, Found, SEGMENT_HEAD};
use crate::bodies;
use crate::checkpoint;
use crate::error::Error;
use crate::inspect::held;
use crate::recovery::{all_zero, read_file};
use crate::storage::Storage;
use crate::units::Unit;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Files that are there for such messages only.
    pub files: u64,
    /// Messages, counted once for each queue.
    pub messages: u64,
    /// The first damage in each file that has some: file, offset, reason. A server starts nevertheless.
    pub damage: Vec<(String, u64, String)>,
}

/// Reads every file that is there for messages only.
pub fn verify_held(storage: &dyn Storage) -> Result<Held, Error> {
    let mut found = Held::default();
    let Some(newest) = checkpoint::newest_position(storage)? else { return Ok(found) };
    let mut bytes = Vec::new();
    for (unit, tally) in held(storage, newest)? {
        let name = unit.name();
        let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
        read_file(file.as_ref(), &mut bytes).map_err(|e| Error::io("read", &name, e))?;
        found.files += 1;
        found.messages += tally.count;
        if let Err((offset, reason)) = check(&unit, &bytes) {
            found.damage.push((name, offset as u64, reason));
        }
    }
    Ok(found)
}

/// The files before the newest checkpoint without which it is not whole: whoever copies it copies them, too.
pub fn files_held(storage: &dyn Storage) -> Result<Vec<String>, Error> {
    match checkpoint::newest_position(storage)? {
        Some(newest) => Ok(held(storage, newest)?.iter().map(|(unit, _)| unit.name()).collect()),
        None => Ok(Vec::new()),
    }
}

/// Checks all blocks of a file.
fn check(unit: &Unit, bytes: &[u8]) -> Result<(), (usize, String)> {
    let mut at = if unit.is_segment() { SEGMENT_HEAD } else { bodies::HEAD };
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        at += match unit.is_segment() {
            true => match block::read(rest, unit.ordinal).map_err(|reason| (at, reason))? {
                Found::Block(_, payload) => BLOCK_HEAD + payload.len(),
                Found::End if all_zero(rest) => return Ok(()),
                Found::End => return Err((at, "zeros where a block should begin".into())),
                Found::Damaged(reason) => return Err((at, reason.into())),
            },
            false => {
                let len = bodies::glance(rest).map_or(usize::MAX, |(_, len)| len as usize);
                let block = rest.get(..len).filter(|block| bodies::is_whole(block, unit.ordinal));
                block.ok_or_else(|| (at, "a block's checksum is wrong".to_owned()))?.len()
            }
        };
    }
    Ok(())
}
