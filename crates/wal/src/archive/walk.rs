//! Segment after segment, block by block, without any meaning: how far what is there is valid, which records it holds and when
//! they were committed. The reader of `recovery.rs` wants a log as a whole; this one begins anywhere.

use crate::block::{self, BLOCK_HEAD, BlockHead, Found, Part, Records, SEGMENT_HEAD};
use crate::error::Error;
use crate::tail::RECORD_HEAD;

/// The end of a whole record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Where, in its segment.
    pub(super) offset: usize,
    /// Of the record; if there is none before, the position before the first.
    pub(super) position: u64,
    /// When it was committed, 0 without one.
    pub(super) time_ms: u64,
}

/// What is in a segment.
pub(super) struct Walked {
    pub(super) first: u64,
    /// It begins with the rest of a record.
    pub(super) begins_inside: bool,
    /// The last whole record; `None` if one from before goes on through all of it.
    pub(super) end: Option<End>,
    /// Where valid blocks end.
    pub(super) used: usize,
    /// What stands there if it is not zeros.
    pub(super) trouble: Option<String>,
}

/// Where a walk is.
#[derive(Clone, Default)]
pub(super) struct Walk {
    due: Option<u64>,
    /// A record has begun: its first bytes, the time they count from.
    begun: Option<(Vec<u8>, u64)>,
    time_ms: u64,
}

impl Walk {
    /// The position that comes next.
    pub(super) fn due(&self) -> Option<u64> {
        self.due
    }

    /// Goes through the next segment; `None` if its head was never written. Each whole record is told: position and time.
    pub(super) fn segment(
        &mut self,
        name: &str,
        ordinal: u64,
        bytes: &[u8],
        each: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Walked>, Error> {
        let head = block::read_segment_head(bytes, ordinal).map_err(|why| Error::corrupt(name, 0, why))?;
        let Some(first) = head else { return Ok(None) };
        if let Some(due) = self.due.filter(|due| *due != first) {
            let why = format!("it begins at position {first}, and {due} is missing");
            return Err(Error::corrupt(name, 0, why));
        }
        let mut may_be_inside = self.due.is_none();
        let mut walked = Walked { first, begins_inside: false, end: None, used: SEGMENT_HEAD, trouble: None };
        let mut due = first;
        loop {
            if self.begun.is_none() {
                let position = due.saturating_sub(1);
                walked.end = Some(End { offset: walked.used, position, time_ms: self.time_ms });
            }
            let rest = bytes.get(walked.used..).unwrap_or_default();
            let found = block::read(rest, ordinal).map_err(|why| Error::corrupt(name, walked.used, why))?;
            let (head, payload) = match found {
                Found::Block(head, payload) => (head, payload),
                Found::End if rest.iter().all(|byte| *byte == 0) => break,
                Found::End => {
                    walked.trouble = Some("zeros where a block should begin".into());
                    break;
                }
                Found::Damaged(why) => {
                    walked.trouble = Some(why.into());
                    break;
                }
            };
            if std::mem::take(&mut may_be_inside) && matches!(head.part, Part::Middle | Part::Last) {
                (walked.begins_inside, walked.end) = (true, None);
                self.begun = Some((Vec::new(), head.first.time_ms));
            }
            match self.block(&head, payload, due, each) {
                Ok(next) => due = next,
                Err(why) => {
                    walked.trouble = Some(why.into());
                    break;
                }
            }
            walked.used += BLOCK_HEAD + payload.len();
        }
        self.due = Some(due);
        Ok(Some(walked))
    }

    /// Gives the position that is due after the block.
    fn block(
        &mut self,
        head: &BlockHead,
        payload: &[u8],
        due: u64,
        each: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, &'static str> {
        if head.first.position != due {
            return Err("a block of another position than the one that is due");
        }
        match (head.part, self.begun.take()) {
            (Part::Whole, None) => {
                let mut next = due;
                for record in Records::new(head.first, payload) {
                    let record = record?;
                    self.time_ms = record.head.time_ms;
                    each(record.head.position, self.time_ms);
                    next = after(record.head.position)?;
                }
                Ok(next)
            }
            (Part::First, None) => {
                let start = payload.get(..RECORD_HEAD).unwrap_or(payload);
                self.begun = Some((start.to_vec(), head.first.time_ms));
                Ok(due)
            }
            (Part::Middle, Some(begun)) => {
                self.begun = Some(begun);
                Ok(due)
            }
            (Part::Last, Some((start, base_ms))) => {
                self.time_ms = base_ms.saturating_add(block::delta_at(&start));
                each(due, self.time_ms);
                after(due)
            }
            (Part::Whole | Part::First, Some(_)) => Err("a record begins inside another"),
            (Part::Middle | Part::Last, None) => Err("a record goes on that never began"),
        }
    }
}

fn after(position: u64) -> Result<u64, &'static str> {
    position.checked_add(1).ok_or("there is no position behind the last one")
}
