//! The files that records and messages lie in, in the order of positions: segments, and what is left of some. Of those that
//! a checkpoint has made unnecessary only the ones are there that have messages which it has by name only.
//! The trap: a record that begins in one segment may end in the next, whose first position it then is. So the position where
//! two files meet counts for both.

use crate::bodies::{self, bodies_name, bodies_of};
use crate::checkpoint::checkpoint_name;
use crate::error::Error;
use crate::log::segment_name;
use crate::reader::Reader;
use crate::recovery;
use crate::storage::Storage;
use leveret_base::codec::{Name, Place};
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) ordinal: u64,
    /// Its first position.
    pub(crate) first: u64,
    pub(crate) kind: Kind,
}

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records.
    Segment,
    /// So many messages out of them, made for the checkpoint of this position.
    Bodies { checkpoint: u64, count: u64 },
}

impl Unit {
    pub(crate) fn segment(ordinal: u64, first: u64) -> Self {
        Self { ordinal, first, kind: Kind::Segment }
    }

    pub(crate) fn name(&self) -> String {
        match self.kind {
            Kind::Segment => segment_name(self.ordinal),
            Kind::Bodies { checkpoint, .. } => bodies_name(self.ordinal, checkpoint),
        }
    }

    /// The checkpoint that it was made for.
    fn made_for(&self) -> Option<u64> {
        match self.kind {
            Kind::Segment => None,
            Kind::Bodies { checkpoint, .. } => Some(checkpoint),
        }
    }

    pub(crate) fn is_segment(&self) -> bool {
        self.kind == Kind::Segment
    }
}

/// What is named of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// About so many.
    pub(crate) bytes: u64,
    /// The last one.
    pub(crate) last: Option<Place>,
}

/// What a message has beside its content, about: names, properties, lengths.
const AROUND: u64 = 64;

/// Where a position may be.
pub(crate) fn around(units: &[Unit], position: u64) -> Range<usize> {
    let end = units.partition_point(|unit| unit.first <= position);
    let mut start = end.saturating_sub(1);
    while start > 0 && units.get(start).is_some_and(|unit| unit.first == position) {
        start -= 1;
    }
    start..end
}

/// What the names of a checkpoint say of files.
pub(crate) struct Census {
    pub(crate) units: Arc<Vec<Unit>>,
    /// Of each of them.
    pub(crate) tallies: Vec<Tally>,
    pub(crate) names: u64,
    /// A position that is in none.
    lost: Option<u64>,
}

impl Census {
    pub(crate) fn new(units: Arc<Vec<Unit>>) -> Self {
        let tallies = vec![Tally::default(); units.len()];
        Self { units, tallies, names: 0, lost: None }
    }

    /// Counts a name for the files where it may be.
    pub(crate) fn count(&mut self, name: Name) {
        self.names += 1;
        let range = around(&self.units, name.place.position);
        if range.is_empty() {
            self.lost.get_or_insert(name.place.position);
        }
        for tally in self.tallies.get_mut(range).unwrap_or_default() {
            tally.count += 1;
            tally.bytes += u64::from(name.bytes) + AROUND;
            tally.last = tally.last.max(Some(name.place));
        }
    }

    /// Refuses a checkpoint that needs what is not there. Where files are missing, which may have been unnecessary, what comes
    /// last before them is looked for.
    pub(crate) fn check(&self, checkpoint: u64, reader: &mut Reader) -> Result<(), Error> {
        let mut lost = self.lost;
        for (i, (unit, tally)) in self.units.iter().zip(&self.tallies).enumerate() {
            let is_followed = self.units.get(i + 1).is_none_or(|next| next.ordinal == unit.ordinal + 1);
            let Some(last) = tally.last.filter(|_| !is_followed && lost.is_none()) else { continue };
            match reader.read(last) {
                Ok(None) => lost = Some(last.position),
                // What is damaged stops its own queue only.
                Ok(Some(_)) | Err(Error::Corrupt { .. }) => {}
                Err(other @ (Error::Io { .. } | Error::Poisoned | Error::Refused(_))) => return Err(other),
            }
        }
        Self::refuse(checkpoint, lost)
    }

    /// Likewise, as far as it can be told without reading messages: from the first file on.
    pub(crate) fn check_first(&self, checkpoint: u64) -> Result<(), Error> {
        Self::refuse(checkpoint, self.lost)
    }

    fn refuse(checkpoint: u64, lost: Option<u64>) -> Result<(), Error> {
        let Some(position) = lost else { return Ok(()) };
        let reason =
            format!("it needs a message of position {position}, and the segment with that is missing");
        Err(Error::corrupt(&checkpoint_name(checkpoint), 0, reason))
    }

    /// The files before the checkpoint that have something which it names.
    pub(crate) fn needed(&self, checkpoint: u64) -> impl Iterator<Item = (Unit, Tally)> {
        let all = self.units.iter().copied().zip(self.tallies.iter().copied());
        all.take(before(&self.units, checkpoint)).filter(|(_, tally)| tally.count > 0)
    }
}

/// How many of these a checkpoint has made unnecessary but for what it names: the next one begins in it, even if with the
/// rest of a record.
pub(crate) fn before(units: &[Unit], checkpoint: u64) -> usize {
    units.windows(2).take_while(|pair| pair.get(1).is_some_and(|next| next.first <= checkpoint)).count()
}

/// The files that a checkpoint and the log behind it may need, as far as their heads can be read; the others are left over
/// from a crash.
pub(crate) fn list(storage: &dyn Storage, checkpoint: u64) -> Result<Vec<Unit>, Error> {
    let mut units = Vec::new();
    for ordinal in recovery::ordinals(storage)? {
        units.extend(recovery::first_position(storage, ordinal)?.map(|first| Unit::segment(ordinal, first)));
    }
    for name in storage.list().map_err(|e| Error::io("list", "the log directory", e))? {
        let Some((ordinal, made_for)) = bodies_of(&name).filter(|(_, made_for)| *made_for <= checkpoint)
        else {
            continue;
        };
        let head = bodies::read_head(storage, &name)?;
        let kind = Kind::Bodies { checkpoint: made_for, count: head.count };
        units.push(Unit { ordinal, first: head.first, kind });
    }
    // The newest of each; a segment of which there is a rest was only not removed.
    units.sort_by_key(|unit| (unit.ordinal, Reverse(unit.made_for())));
    units.dedup_by_key(|unit| unit.ordinal);
    Ok(units)
}

/// How large a file is.
pub(crate) fn size(storage: &dyn Storage, unit: &Unit) -> Result<u64, Error> {
    let name = unit.name();
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    file.size().map_err(|e| Error::io("read", &name, e))
}
