//! How far a file of the log reaches: which messages begin and end in it, told from its blocks, most of which only their heads
//! are read of. So it can be said where a file begins whose own head cannot be read.

use crate::block::{self, BLOCK_HEAD, BlockHead, Found, Part, Records, SEGMENT_HEAD};
use crate::bodies;
use crate::error::Error;
use crate::log::{PAGE, segment_name};
use crate::opened::Opened;
use crate::recovery;
use crate::storage::Storage;
use crate::units::Unit;

/// Where the first block of a segment says that it begins; `None` if that cannot be read.
pub(crate) fn first_of_segment(
    storage: &dyn Storage,
    name: &str,
    ordinal: u64,
) -> Result<Option<u64>, Error> {
    let mut source = Opened::new(storage, name)?;
    Ok(source.block(SEGMENT_HEAD as u64, ordinal)?.map(|(head, _)| head.first.position))
}

/// True when a segment begins with the beginning of a record.
pub(crate) fn begins(storage: &dyn Storage, ordinal: u64) -> Result<bool, Error> {
    let block = Opened::new(storage, &segment_name(ordinal))?.block(SEGMENT_HEAD as u64, ordinal)?;
    Ok(block.is_some_and(|(head, _)| matches!(head.part, Part::Whole | Part::First)))
}

/// The position of the first message in what is left of a segment; `None` if that cannot be read.
pub(crate) fn first_of_bodies(storage: &dyn Storage, name: &str, ordinal: u64) -> Result<Option<u64>, Error> {
    let mut source = Opened::new(storage, name)?;
    Ok(source.bodies_block(bodies::HEAD as u64, ordinal)?.map(|_| bodies::positions(&source.bytes).0))
}

/// The first position that begins in a file; `None` if it is damaged there.
pub(crate) fn begins_with(storage: &dyn Storage, unit: &Unit) -> Result<Option<u64>, Error> {
    let name = unit.name();
    if !unit.is_segment() {
        return first_of_bodies(storage, &name, unit.ordinal);
    }
    let block = Opened::new(storage, &name)?.block(SEGMENT_HEAD as u64, unit.ordinal)?;
    Ok(block.map(|(head, _)| {
        let begins = matches!(head.part, Part::Whole | Part::First);
        head.first.position.saturating_add(u64::from(!begins))
    }))
}

/// Where a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The last position that ends in it, even if it began before.
    pub(crate) last: u64,
    /// The next one goes on in the next file.
    pub(crate) goes_on: bool,
}

/// Where a file ends; `None` if there is damage, behind which may be more.
pub(crate) fn ends_with(storage: &dyn Storage, unit: &Unit) -> Result<Option<End>, Error> {
    let name = unit.name();
    let source = Opened::new(storage, &name)?;
    match unit.is_segment() {
        _ if unit.is_blind => Ok(None),
        true => source.segment(unit),
        false => source.bodies(unit),
    }
}

/// True when a file has been longer: there is nothing in it, or it ends where no file of its kind does. A segment ends with a page, unless it is
/// as long as segments get.
pub(crate) fn is_short(storage: &dyn Storage, unit: &Unit) -> Result<bool, Error> {
    let name = unit.name();
    if !unit.is_segment() {
        return match bodies::read(storage, &name, &mut |_| ()) {
            Err(Error::Corrupt { .. }) => Ok(true),
            read => read.map(|()| false),
        };
    }
    let mut source = Opened::new(storage, &name)?;
    if source.block(SEGMENT_HEAD as u64, unit.ordinal)?.is_none() {
        return Ok(true);
    }
    let mut longest = 0;
    for other in recovery::ordinals(storage)? {
        longest = longest.max(Opened::new(storage, &segment_name(other))?.size);
    }
    // In the first page a small one ends anywhere.
    Ok(!source.size.is_multiple_of(PAGE) && source.size < longest && longest > 2 * PAGE)
}

impl Opened {
    /// The block there, if it is whole, and how many records begin in it.
    fn block(&mut self, at: u64, ordinal: u64) -> Result<Option<(BlockHead, u64)>, Error> {
        let Some((_, len, _)) = block::glance(self.read(at, BLOCK_HEAD as u64)?) else { return Ok(None) };
        let Ok(Found::Block(head, payload)) = block::read(self.read(at, len as u64)?, ordinal) else {
            return Ok(None);
        };
        let count = match head.part {
            Part::Whole => Records::new(head.first, payload).take_while(Result::is_ok).count() as u64,
            Part::First => 1,
            Part::Middle | Part::Last => 0,
        };
        Ok(Some((head, count)))
    }

    fn segment(mut self, unit: &Unit) -> Result<Option<End>, Error> {
        let (mut at, mut last) = (SEGMENT_HEAD as u64, None);
        while let Some((_, len, _)) = block::glance(self.read(at, BLOCK_HEAD as u64)?) {
            last = Some(at);
            at += len as u64;
        }
        if at > self.size || !self.is_zero_from(at)? {
            return Ok(None);
        }
        let Some(last) = last else {
            return Ok(Some(End { last: unit.first.saturating_sub(1), goes_on: false }));
        };
        Ok(self.block(last, unit.ordinal)?.map(|(head, count)| {
            let position = head.first.position;
            match head.part {
                Part::Whole => End { last: position.saturating_add(count).saturating_sub(1), goes_on: false },
                Part::Last => End { last: position, goes_on: false },
                Part::First | Part::Middle => End { last: position.saturating_sub(1), goes_on: true },
            }
        }))
    }

    /// The block of messages there is in `bytes`, if it is whole; gives its length.
    fn bodies_block(&mut self, at: u64, ordinal: u64) -> Result<Option<u64>, Error> {
        let Some((_, len)) = bodies::glance(self.read(at, bodies::BLOCK_HEAD as u64)?) else {
            return Ok(None);
        };
        Ok(bodies::is_whole(self.read(at, len)?, ordinal).then_some(len))
    }

    fn bodies(mut self, unit: &Unit) -> Result<Option<End>, Error> {
        let (mut at, mut last) = (bodies::HEAD as u64, None);
        while let Some((_, len)) = bodies::glance(self.read(at, bodies::BLOCK_HEAD as u64)?) {
            last = Some(at);
            at += len;
        }
        let Some(last) = last.filter(|_| at == self.size) else { return Ok(None) };
        let is_whole = self.bodies_block(last, unit.ordinal)?.is_some();
        Ok(is_whole.then(|| End { last: bodies::positions(&self.bytes).1, goes_on: false }))
    }
}

/// What is looked at for blocks, in files of the damaged one's size.
const LOOKED_AT: usize = 4;

/// Blocks of a damaged segment. They are looked for in bytes that clients may have written, so not for ever.
pub(crate) struct Blocks<'a> {
    bytes: &'a [u8],
    ordinal: u64,
    left: usize,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(bytes: &'a [u8], ordinal: u64) -> Self {
        Self { bytes, ordinal, left: bytes.len().saturating_mul(LOOKED_AT) }
    }

    /// The first block behind damage that is wanted, and where it is. The damaged one's head may say where the next one is, but also that
    /// may be damaged; and what stands before that may be what a client has written.
    pub(crate) fn behind(
        &mut self,
        at: usize,
        is_wanted: &dyn Fn(&BlockHead) -> bool,
    ) -> Option<(usize, BlockHead)> {
        let told = self.bytes.get(at..).and_then(block::glance).map(|(_, len, _)| at.saturating_add(len));
        let told = told.and_then(|told| Some((told, self.followed(told).filter(is_wanted)?)));
        let mut from = SEGMENT_HEAD.max(at + 1);
        while let Some(next) =
            block::next_head(self.bytes, from).filter(|next| told.is_none_or(|(told, _)| *next < told))
        {
            if let Some(head) = self.followed(next).filter(is_wanted)
                && told.is_none_or(|(told, _)| self.leads_to(next, told))
            {
                return Some((next, head));
            }
            from = next + 1;
        }
        told
    }

    /// Blocks stand one behind the other from there to there.
    fn leads_to(&mut self, mut at: usize, end: usize) -> bool {
        while at < end
            && let Some(Some((_, behind))) = self.valid(at)
        {
            at = behind;
        }
        at == end
    }

    /// The block there, if another one follows it or nothing does.
    fn followed(&mut self, at: usize) -> Option<BlockHead> {
        let (head, end) = self.valid(at)??;
        match self.valid(end)? {
            Some((next, _)) if next.first.position < head.first.position => None,
            Some(_) | None => Some(head),
        }
    }

    /// The block there and where it ends, or nothing.
    fn valid(&mut self, at: usize) -> Option<Option<(BlockHead, usize)>> {
        let rest = self.bytes.get(at..)?;
        if let Some((_, len, _)) = block::glance(rest).filter(|(_, len, _)| *len <= rest.len()) {
            self.left = self.left.checked_sub(len)?;
        }
        match block::read(rest, self.ordinal) {
            Ok(Found::Block(head, payload)) => Some(Some((head, at + BLOCK_HEAD + payload.len()))),
            Ok(Found::End) => Some(None),
            Ok(Found::Damaged(_)) | Err(_) => None,
        }
    }
}
