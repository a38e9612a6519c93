//! Damage behind which reading goes on, because nothing is missing for it: in what the checkpoint has already, and where the next
//! segment says that nothing came.
//! The trap: blocks are looked for in bytes that clients may have written, so what is found must fit to what stands around it.

use super::begin::end_before;
use super::source::Source;
use super::{Reader, first_position};
use crate::block::{self, BlockHead, Found, Part, SEGMENT_HEAD};
use crate::checkpoint::count_names;
use crate::error::Error;
use crate::log::segment_name;
use crate::opened::Opened;
use crate::reach::{self, Blocks};
use crate::recovery::read_file;
use crate::storage::Storage;

/// What was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) ordinal: u64,
    /// Where the damage begins.
    pub(crate) offset: u64,
    pub(crate) reason: String,
    /// These cannot be read: the first one, and the one behind the last.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Where a segment begins.
pub(super) enum Begun {
    /// With this position.
    At(u64),
    /// With this one or a later one, and reading goes on behind damage.
    Behind(u64, On),
}

impl Skip {
    /// How many messages are lost with it that the checkpoint has by name only, counted once for each queue.
    pub(crate) fn names(&self, storage: &dyn Storage, checkpoint: u64) -> Result<u64, Error> {
        count_names(storage, checkpoint, |position| (self.from..self.to).contains(&position))
    }
}

/// A block behind damage.
struct Behind {
    position: u64,
    /// A record begins in it; else one goes on.
    begins: bool,
    at: usize,
}

/// Where reading goes on.
pub(super) enum On {
    /// In the same segment.
    At(usize),
    NextSegment,
}

impl Reader<'_> {
    /// Where a segment begins whose head cannot be read, if what stands behind that tells.
    pub(super) fn headless(
        &mut self,
        source: &mut Source<'_>,
        read: &mut Opened,
        (ordinal, segment): (u64, usize),
    ) -> Result<Option<Begun>, Error> {
        if let Ok(Found::Block(head, _)) = source.block(read, (ordinal, SEGMENT_HEAD as u64))? {
            let (first, name) = (head.first.position, &read.name);
            self.headless.push((segment, ordinal, first));
            let notice = format!(
                "the head of {name} is damaged; its first block says that it begins at position {first}"
            );
            self.summary.noticed.push(notice);
            return Ok(Some(Begun::At(first)));
        }
        let (storage, next) = source.behind(segment);
        if segment == 0 && self.restored > 0 {
            self.expected = end_before(storage, ordinal)?.saturating_add(1).min(self.restored);
        }
        let first = self.expected;
        let on = self.pass((storage, next), read, (ordinal, 0), "the segment's head is damaged")?;
        Ok(on.map(|on| Begun::Behind(first, on)))
    }

    /// Writes heads again that cannot be read, of segments that stay.
    pub(super) fn mend_heads(&self, storage: &dyn Storage) -> Result<(), Error> {
        let stay = self.end.map_or(0, |end| end.segment + 1);
        for &(_, ordinal, first) in self.headless.iter().filter(|(segment, ..)| *segment < stay) {
            let name = segment_name(ordinal);
            let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
            file.write_at(&block::segment_head(ordinal, first), 0)
                .map_err(|e| Error::io("write", &name, e))?;
            file.sync_data().map_err(|e| Error::io("sync", &name, e))?;
        }
        Ok(())
    }

    /// Goes on behind damage, if nothing is missing for it that is not in the checkpoint.
    pub(super) fn pass(
        &mut self,
        (storage, next): (&dyn Storage, Option<u64>),
        segment: &Opened,
        (ordinal, at): (u64, usize),
        reason: &str,
    ) -> Result<Option<On>, Error> {
        let from = self.expected;
        let behind = if from <= self.restored { self.block_behind(segment, ordinal, at)? } else { None };
        let (expected, lost, on) = match behind {
            Some(Behind { position, begins, at }) => (position, position + u64::from(!begins), On::At(at)),
            None => match self.begins_next(storage, ordinal, next)? {
                Some(first) => (first, first, On::NextSegment),
                None => return Ok(None),
            },
        };
        let what = match lost - from {
            0 => "nothing is missing for that".to_owned(),
            1 => format!("position {from} is in the checkpoint"),
            _ => format!("positions {from} to {} are in the checkpoint", lost - 1),
        };
        self.summary.noticed.push(format!("{} is damaged at byte {at}: {reason}; {what}", segment.name));
        if lost > from {
            let (offset, reason) = (at as u64, reason.to_owned());
            self.skipped.push(Skip { ordinal, offset, reason, from, to: lost });
            self.partial = None;
            self.parts.clear();
        }
        self.is_inside = expected <= self.restored;
        self.expected = expected;
        Ok(Some(on))
    }

    /// The next block of positions that the checkpoint has, or of the one right behind them.
    fn block_behind(&self, segment: &Opened, ordinal: u64, at: usize) -> Result<Option<Behind>, Error> {
        let mut bytes = Vec::new();
        read_file(segment.file.as_ref(), &mut bytes).map_err(|e| Error::io("read", &segment.name, e))?;
        let wanted = self.expected..=self.restored.saturating_add(1);
        let begins = |head: &BlockHead| matches!(head.part, Part::Whole | Part::First);
        let found = Blocks::new(&bytes, ordinal).behind(at, &|head| {
            let position = head.first.position;
            wanted.contains(&position) && (begins(head) || position <= self.restored)
        });
        Ok(found.map(|(at, head)| Behind { position: head.first.position, begins: begins(&head), at }))
    }

    /// The first position of the next segment, if nothing is missing before it.
    fn begins_next(
        &self,
        storage: &dyn Storage,
        ordinal: u64,
        next: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(next) = next.filter(|next| ordinal.checked_add(1) == Some(*next)) else { return Ok(None) };
        let Some(first) = first_position(storage, next)? else { return Ok(None) };
        let is_in_checkpoint = self.expected <= self.restored && self.restored.checked_add(1) == Some(first);
        let is_next = is_in_checkpoint || self.partial.is_none() && first == self.expected;
        // The beginning of a record may have stood in what is damaged.
        let begins = reach::begins(storage, next)?;
        Ok((is_next && begins).then_some(first))
    }
}
