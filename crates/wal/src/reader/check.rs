//! The way to what stands behind damage does not lead through it: heads of blocks say where the next one is, and may be wrong.

use super::{APART, OpenUnit, Reader};
use crate::block::{self, BLOCK_HEAD, Found, Part, SEGMENT_HEAD};
use crate::error::Error;
use crate::reach::Blocks;
use crate::recovery::read_file;
use crate::units::around;
use leveret_base::codec::Place;

impl Reader {
    /// Looks at every block of the segments where a position may be, once; true when one of them is damaged.
    pub(super) fn check(&mut self, position: u64) -> Result<bool, Error> {
        let (units, mut is_damaged) = (self.units.clone(), false);
        for unit in
            units.get(around(&units, position)).unwrap_or_default().iter().filter(|unit| unit.is_segment())
        {
            // What is written to is looked at again.
            let is_closed = units.last() != Some(unit);
            let open = self.open(*unit)?;
            if !std::mem::replace(&mut open.is_checked, is_closed) {
                is_damaged |= open.check()?;
            }
        }
        Ok(is_damaged)
    }
}

impl OpenUnit {
    /// Finds its blocks anew, each of which is whole; false when nothing is wrong.
    fn check(&mut self) -> Result<bool, Error> {
        let mut bytes = Vec::new();
        read_file(self.file.as_ref(), &mut bytes).map_err(|error| Error::io("read", &self.name, error))?;
        let mut blocks = Blocks::new(&bytes, self.unit.ordinal);
        let (mut at, mut before, mut damage) = (SEGMENT_HEAD, 0, 0);
        let (mut places, mut must_keep): (Vec<(Place, u64)>, _) = (Vec::new(), true);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match block::read(rest, self.unit.ordinal) {
                Ok(Found::Block(head, payload)) if head.first.position >= before => {
                    before = head.first.position;
                    let is_apart = places.last().is_none_or(|(_, last)| at as u64 >= last + APART);
                    if matches!(head.part, Part::Whole | Part::First) && (must_keep || is_apart) {
                        places.push((Place { position: before, offset: 0 }, at as u64));
                        must_keep = false;
                    }
                    at += BLOCK_HEAD + payload.len();
                    continue;
                }
                Ok(Found::End) if rest.iter().all(|byte| *byte == 0) => break,
                Ok(Found::Block(..) | Found::End | Found::Damaged(_)) | Err(_) => {}
            }
            (damage, must_keep) = (damage + 1, true);
            let Some((next, _)) = blocks.behind(at, &|head| head.first.position >= before) else { break };
            at = next;
        }
        if damage > 0 {
            self.places = places;
        }
        Ok(damage > 0)
    }
}
