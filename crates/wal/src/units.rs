//! The files that records and messages lie in, in the order of positions: segments, and what is left of some. Of those that
//! a checkpoint has made unnecessary only the ones are there that have messages which it has by name only.
//! The trap: a record that begins in one segment may end in the next, whose first position it then is. So the position where
//! two files meet counts for both.

use crate::bodies::{self, bodies_name, bodies_of};
use crate::checkpoint::checkpoint_name;
use crate::error::Error;
use crate::log::segment_name;
use crate::reach::{self, End};
use crate::recovery;
use crate::storage::Storage;
use leveret_base::codec::Name;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) ordinal: u64,
    /// Its first position.
    pub(crate) first: u64,
    /// Nothing in it says where it begins, and `first` is that of the file before: what lies from there on may be in either.
    pub(crate) is_blind: bool,
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
        Self { ordinal, first, is_blind: false, kind: Kind::Segment }
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
    /// The last position of which this file must have the end, as it lies before the next file.
    last: Option<u64>,
    /// The position that it begins with is named: a message may lie in it, or in the file before and end here.
    is_joint: bool,
}

/// What is missing.
pub(crate) struct Missing {
    /// The numbers of files of which one or more had it.
    pub(crate) ordinals: Range<u64>,
    /// What is named of these positions is not there, and this one at least.
    pub(crate) positions: Range<u64>,
    position: u64,
}

impl Missing {
    /// That a message is missing, and the file that had it.
    pub(crate) fn sentence(&self) -> String {
        let Range { start, end } = self.ordinals;
        let what = match end.saturating_sub(start) {
            0 => "the segment with that".to_owned(),
            1 => format!("{}, or what was left of it,", segment_name(start)),
            _ => {
                format!(
                    "one of {} to {}, or what was left of it,",
                    segment_name(start),
                    segment_name(end - 1)
                )
            }
        };
        format!("it needs a message of position {}, and {what} is missing", self.position)
    }
}

/// What is known of gaps between files.
#[derive(Default)]
pub(crate) struct Gaps {
    /// Those in which something is missing.
    pub(crate) missing: Vec<Missing>,
    /// Files before a gap that do not have what is named and were longer: nothing says that another one is missing.
    pub(crate) cut: Vec<Unit>,
}

impl Gaps {
    /// Refuses a checkpoint of which a file is missing.
    pub(crate) fn refuse(&self, checkpoint: u64) -> Result<(), Error> {
        match self.missing.first() {
            Some(missing) => Err(Error::corrupt(&checkpoint_name(checkpoint), 0, missing.sentence())),
            None => Ok(()),
        }
    }
}

/// What a message has beside its content, about: names, properties, lengths.
const AROUND: u64 = 64;

/// Where a position may be.
pub(crate) fn around(units: &[Unit], position: u64) -> Range<usize> {
    let end = units.partition_point(|unit| unit.first <= position);
    let mut start = end.saturating_sub(1);
    while start > 0 && units.get(start).is_some_and(|unit| unit.first == position || unit.is_blind) {
        start -= 1;
    }
    start..end
}

/// Where one position after the other may be, of which most are in the same files as the one before.
#[derive(Default)]
pub(crate) struct Along {
    /// What is in the same files, between two places where files meet.
    between: Range<u64>,
    files: Range<usize>,
}

impl Along {
    /// As [`around`], always of the same files.
    pub(crate) fn around(&mut self, units: &[Unit], position: u64) -> Range<usize> {
        if !self.between.contains(&position) {
            self.files = around(units, position);
            let end = self.files.end;
            let begin = end.checked_sub(1).and_then(|last| units.get(last)).map_or(0, |unit| unit.first + 1);
            let next = units.get(end).map_or(u64::MAX, |unit| unit.first);
            self.between = if position < begin { 0..0 } else { begin..next };
        }
        self.files.clone()
    }
}

/// What the names of a checkpoint say of files.
pub(crate) struct Census {
    pub(crate) units: Arc<Vec<Unit>>,
    /// Of each of them.
    pub(crate) tallies: Vec<Tally>,
    pub(crate) names: u64,
    along: Along,
    /// A position that is in none.
    lost: Option<u64>,
}

impl Census {
    pub(crate) fn new(units: Arc<Vec<Unit>>) -> Self {
        let tallies = vec![Tally::default(); units.len()];
        Self { units, tallies, names: 0, along: Along::default(), lost: None }
    }

    /// Counts a name for the files where it may be.
    pub(crate) fn count(&mut self, name: Name) {
        self.names += 1;
        let position = name.place.position;
        let range = self.along.around(&self.units, position);
        if range.is_empty() {
            self.lost.get_or_insert(position);
        }
        let end = range.end;
        for i in range {
            let Some((unit, tally)) = self.units.get(i).zip(self.tallies.get_mut(i)) else { continue };
            tally.count += 1;
            tally.bytes += u64::from(name.bytes) + AROUND;
            tally.is_joint |= unit.first == position;
            if i + 1 == end {
                tally.last = tally.last.max(Some(position));
            }
        }
    }

    /// What is named and lies in a file that is not there, as far as the heads of blocks tell: of each gap between files, which
    /// may have been unnecessary. What may be in damage is not missing.
    pub(crate) fn gaps(&self, storage: &dyn Storage) -> Result<Gaps, Error> {
        let mut gaps = Gaps::default();
        let mut before: Option<&(Unit, Tally)> = None;
        let all: Vec<(Unit, Tally)> = self.units.iter().copied().zip(self.tallies.iter().copied()).collect();
        for behind in all.iter().map(Some).chain([None]) {
            let gap = before.map_or(1, |(unit, _)| unit.ordinal.saturating_add(1))
                ..behind.map_or(0, |(unit, _)| unit.ordinal);
            let mut lost = if before.is_none() { self.lost } else { None };
            // What comes last in the file before, and what may be the first in the next one.
            if let Some((unit, _)) = before.filter(|_| !gap.is_empty()) {
                lost = self.is_cut(storage, unit)?.map(|[_, wanted]| wanted);
            }
            if let Some((unit, Tally { is_joint: true, .. })) = behind
                && !gap.is_empty()
                && lost.is_none()
                && reach::begins_with(storage, unit)?.is_some_and(|first| first > unit.first)
            {
                lost = Some(unit.first);
            }
            if lost.is_some()
                && let Some((unit, _)) = before
                && reach::is_short(storage, unit)?
            {
                lost = None;
                gaps.cut.push(*unit);
            }
            if let Some(position) = lost {
                let start = match before {
                    Some((unit, _)) => {
                        reach::ends_with(storage, unit)?.map_or(unit.first, |end| end.last + 1)
                    }
                    None => 0,
                };
                let end = match behind {
                    Some((unit, _)) => reach::begins_with(storage, unit)?.unwrap_or(unit.first),
                    None => u64::MAX,
                };
                let end = end.max(position.saturating_add(1));
                gaps.missing.push(Missing { ordinals: gap, positions: start..end, position });
            }
            before = behind;
        }
        Ok(gaps)
    }

    /// Files are missing behind this one, which may have been unnecessary.
    pub(crate) fn has_gap_behind(&self, unit: &Unit) -> bool {
        let next = self.units.get(self.units.partition_point(|other| other.ordinal <= unit.ordinal));
        next.is_some_and(|next| next.ordinal - 1 > unit.ordinal)
    }

    /// A file ends before something that is named: where, and that position.
    pub(crate) fn is_cut(&self, storage: &dyn Storage, unit: &Unit) -> Result<Option<[u64; 2]>, Error> {
        let Some(End { last, goes_on }) = reach::ends_with(storage, unit)? else { return Ok(None) };
        let i = self.units.partition_point(|other| other.ordinal < unit.ordinal);
        let wanted = self.tallies.get(i).and_then(|tally| tally.last).filter(|wanted| last < *wanted);
        // What goes on in the next file has begun here.
        let next = self.units.get(i + 1).zip(self.tallies.get(i + 1)).filter(|(next, tally)| {
            tally.is_joint && next.is_segment() && last < next.first && next.ordinal - 1 == unit.ordinal
        });
        let begun = match next.filter(|_| !goes_on && wanted.is_none()) {
            Some((next, _)) => reach::begins_with(storage, next)?.filter(|first| *first > next.first),
            None => None,
        };
        Ok(wanted.or(begun.map(|first| first - 1)).map(|wanted| [last, wanted]))
    }

    /// Refuses a checkpoint that needs what is not there.
    pub(crate) fn check(&self, checkpoint: u64, storage: &dyn Storage) -> Result<(), Error> {
        let gaps = self.gaps(storage)?;
        if let Some(cut) = gaps.cut.first() {
            return Err(Error::corrupt(&cut.name(), 0, "it ends before messages that it should have"));
        }
        gaps.refuse(checkpoint)
    }

    /// The files before the checkpoint that have something which it names.
    pub(crate) fn needed(&self, checkpoint: u64) -> impl Iterator<Item = (Unit, Tally)> {
        let all = self.units.iter().copied().zip(self.tallies.iter().copied());
        all.take(before(&self.units, checkpoint)).filter(|(_, tally)| tally.count > 0)
    }
}

/// How many of these a checkpoint has made unnecessary but for what it names: those before the segment that the log goes on in. That is the
/// last one that begins in the checkpoint, even if with the rest of a record, or one that begins anew behind it. Nothing is left of that one or
/// of a later one: behind copies it is missing, and all of them count.
pub(crate) fn before(units: &[Unit], checkpoint: u64) -> usize {
    let behind_copies = units.iter().rposition(|unit| !unit.is_segment()).map_or(0, |last| last + 1);
    let is_it = |(i, unit): (usize, &Unit)| {
        let before = i.checked_sub(1).and_then(|before| units.get(before));
        let follows = before.and_then(|before| before.ordinal.checked_add(1)) == Some(unit.ordinal);
        unit.first <= checkpoint || recovery::begins_anew(unit.first, checkpoint, follows)
    };
    let behind = units.get(behind_copies..).unwrap_or_default().iter().enumerate();
    let begin = behind.map(|(i, unit)| (i + behind_copies, unit)).rfind(|place| is_it(*place));
    begin.map_or(behind_copies, |(i, _)| i)
}

/// The files that a checkpoint and the log behind it may need. A segment of the log itself whose head cannot be read is left over
/// from a crash, or is found when the log is read; before that, or when all are so, it may have what is named, and it counts. Of the segment that
/// the log goes on in, and of later ones, nothing was ever left.
pub(crate) fn list(storage: &dyn Storage, checkpoint: u64) -> Result<Vec<Unit>, Error> {
    let mut units = Vec::new();
    let ordinals = recovery::ordinals(storage)?;
    let needed = recovery::first_needed(storage, &ordinals, checkpoint)?;
    for (i, &ordinal) in ordinals.iter().enumerate() {
        let first = match recovery::first_position(storage, ordinal)? {
            None if i <= needed => reach::first_of_segment(storage, &segment_name(ordinal), ordinal)?,
            None => continue,
            first => first,
        };
        units.push(Unit { is_blind: first.is_none(), ..Unit::segment(ordinal, first.unwrap_or(0)) });
    }
    for name in storage.list().map_err(|e| Error::io("list", "the log directory", e))? {
        let is_possible = |(ordinal, made_for): &(u64, u64)| {
            *made_for <= checkpoint && ordinals.get(needed).is_none_or(|begin| ordinal < begin)
        };
        let Some((ordinal, made_for)) = bodies_of(&name).filter(is_possible) else { continue };
        let (first, count) = match bodies::read_head(storage, &name)? {
            Some(head) => (Some(head.first), head.count),
            // It is never little enough to be copied.
            None => (reach::first_of_bodies(storage, &name, ordinal)?, 0),
        };
        let kind = Kind::Bodies { checkpoint: made_for, count };
        units.push(Unit { ordinal, first: first.unwrap_or(0), is_blind: first.is_none(), kind });
    }
    // The newest of each; a segment of which there is a rest was only not removed.
    units.sort_by_key(|unit| (unit.ordinal, Reverse(unit.made_for())));
    units.dedup_by_key(|unit| unit.ordinal);
    let mut before = 0;
    for unit in &mut units {
        if unit.is_blind {
            unit.first = before;
        }
        before = unit.first;
    }
    Ok(units)
}

/// Those of the files whose heads are damaged.
pub(crate) fn damaged(storage: &dyn Storage, units: &[Unit]) -> Result<Vec<String>, Error> {
    let mut damaged = Vec::new();
    for unit in units {
        let is_whole = match unit.kind {
            Kind::Segment => recovery::first_position(storage, unit.ordinal)?.is_some(),
            Kind::Bodies { .. } => bodies::read_head(storage, &unit.name())?.is_some(),
        };
        damaged.extend((!is_whole).then(|| unit.name()));
    }
    Ok(damaged)
}

/// How large a file is.
pub(crate) fn size(storage: &dyn Storage, unit: &Unit) -> Result<u64, Error> {
    let name = unit.name();
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    file.size().map_err(|e| Error::io("read", &name, e))
}

#[cfg(test)]
mod tests {
    use super::{Along, Unit, around};

    #[test]
    fn whoever_goes_along_finds_the_same_files() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut first = random.u64(..3);
            let units = (0..random.u64(..7)).map(|ordinal| {
                first += random.u64(..4);
                Unit { is_blind: random.u8(..4) == 0, ..Unit::segment(ordinal, first) }
            });
            let units: Vec<Unit> = units.collect();
            let mut along = Along::default();
            for _ in 0..100 {
                let position = random.u64(..30);
                assert_eq!(along.around(&units, position), around(&units, position), "{units:?}");
            }
            assert_eq!(along.around(&units, u64::MAX), around(&units, u64::MAX));
        }
    }
}
