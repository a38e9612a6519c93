//! Reading a log after whatever happened to it. A power cut may lose, tear and reorder everything that was not synced:
//! the first such place ends the log, and the rest is cut durably. Damage to what had been synced is refused; blocks say
//! how far syncs had come when they were written, so a later block is the witness.

use crate::block::{self, BLOCK_HEAD, Found, Part, Records, SEGMENT_HEAD};
use crate::error::Error;
use crate::kept::Kept;
use crate::log::{Open, segment_name};
use crate::opened::Opened;
use crate::repair;
use crate::storage::{File, Storage};
use crate::tail::{Head, Record};
use crate::units::Unit;
use std::sync::Arc;

mod begin;
mod skip;
mod source;

pub(crate) use begin::{begins_anew, first_needed, first_position, last_ordinal, ordinals};
pub(crate) use skip::Skip;
use skip::{Begun, On};
use source::Source;

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// The first position in the log, 0 if it is empty.
    pub first_position: u64,
    /// The last position, 0 if it is empty.
    pub last_position: u64,
    /// The commit time of the last record, in milliseconds.
    pub last_time_ms: u64,
    /// Bytes of segments that were valid.
    pub bytes: u64,
    /// The torn tail that was cut.
    pub cut: Option<Cut>,
    /// Files with messages that the checkpoint has by name only, and whose heads are damaged; the messages may be, too.
    pub damaged: Vec<String>,
    /// What is not as it should be and has cost nothing, a sentence each.
    pub noticed: Vec<String>,
}

/// Where a torn tail was cut, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Which segment.
    pub file: String,
    /// Where it ends now, in bytes.
    pub offset: u64,
    /// What stood there.
    pub reason: String,
    /// Files in which whole blocks behind it are kept: they are not known to have been synced, but may have been.
    pub kept: Vec<String>,
}

/// Who takes the records of a log that is read.
pub trait Replay {
    /// These come next, in this order: whoever knows what they will touch may have it loaded meanwhile.
    fn ahead(&mut self, _records: &[Record<'_>]) {}

    /// Takes one record, or refuses it with the reason.
    fn take(&mut self, record: &Record<'_>) -> Result<(), String>;
}

/// A function that takes them.
pub(crate) struct Each<'a>(pub(crate) &'a mut dyn FnMut(Record<'_>) -> Result<(), String>);

impl Replay for Each<'_> {
    fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        (self.0)(*record)
    }
}

/// Records that are looked at together.
const WINDOW: usize = 64;

/// A place behind a whole record.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) segment: usize,
    pub(crate) offset: usize,
}

pub(crate) struct Reader<'a> {
    replay: &'a mut dyn Replay,
    pub(crate) summary: Summary,
    /// Up to here a checkpoint has everything.
    restored: u64,
    /// A record whose beginning is not needed any more may go on here.
    is_inside: bool,
    /// First positions of the segments read.
    firsts: Vec<u64>,
    /// The position that the next record, or the rest of the one that has begun, must have.
    pub(crate) expected: u64,
    /// A record of which parts have been read.
    partial: Option<Head>,
    parts: Vec<u8>,
    /// Where the log ends if nothing more is valid.
    pub(crate) end: Option<Place>,
    /// What was passed over because the checkpoint has it.
    pub(crate) skipped: Vec<Skip>,
    /// Segments whose heads cannot be read, as their first blocks tell: which one, its number and first position.
    headless: Vec<(usize, u64, u64)>,
    /// The last block says that everything up to this had been synced.
    proved: u64,
}

enum Ended {
    /// All of the segment was read.
    Clean,
    Damaged(usize, String),
}

/// Why a valid block is not taken.
enum Stop {
    /// What should stand before it was lost: judged like any damage.
    Damaged(&'static str),
    /// No crash explains it, or the reader of records does not want it.
    Refused(String),
}

pub(crate) fn read_file(file: &dyn File, into: &mut Vec<u8>) -> std::io::Result<()> {
    // What it had is written over: 64 MiB need not be filled with zeros first.
    into.resize(file.size()? as usize, 0);
    let len = fill(file, into, 0)?;
    into.truncate(len);
    Ok(())
}

/// Reads from an offset on as much as there is room for; gives how much there was. One read may give less than asked for.
pub(crate) fn fill(file: &dyn File, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = into.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + at as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |sum, &byte| sum | byte) == 0)
}

/// What recovery leaves.
pub(crate) struct Recovered {
    pub(crate) summary: Summary,
    /// The segment to go on with.
    pub(crate) open: Option<Open>,
    /// Ordinals and first positions of the segments that were read.
    pub(crate) segments: Vec<(u64, u64)>,
    /// What was passed over because the checkpoint has it.
    pub(crate) skipped: Vec<Skip>,
    /// The last block says that everything up to this is on disk.
    pub(crate) proved: u64,
}

/// Reads the log from a checkpoint's position on, cuts what is torn, and gives the segment to go on with.
pub(crate) fn recover(
    storage: &dyn Storage,
    segment_bytes: u64,
    restored: u64,
    kept: &Kept,
    held: &[Unit],
    replay: &mut dyn Replay,
) -> Result<Recovered, Error> {
    let mut ordinals = ordinals(storage)?;
    let needed = first_needed(storage, &ordinals, restored)?;
    let mut unnecessary: Vec<u64> = ordinals.drain(..needed).collect();
    let mut reader = Reader::new(replay, restored);
    let mut bytes = Vec::new();
    // A killed process leaves bytes that the kernel has and the disk does not: what is replayed is made durable.
    let sync = |file: &dyn File, name: &str| file.sync_data().map_err(|e| Error::io("sync", name, e));
    if let Some(trouble) = reader.all(storage, &ordinals, sync)? {
        refuse(storage, &ordinals, &trouble, reader.expected, &mut bytes)?;
        let kept = repair::cut(storage, &ordinals, reader.end)?;
        let at = reader.end.unwrap_or(Place { segment: 0, offset: 0 });
        let file = ordinals.get(at.segment).map(|&ordinal| segment_name(ordinal)).unwrap_or_default();
        reader.summary.cut = Some(Cut { file, offset: at.offset as u64, reason: trouble.reason, kept });
    }
    reader.mend_heads(storage)?;
    // A crash has come between a checkpoint and the removal of what it makes unnecessary.
    unnecessary.retain(|ordinal| !held.iter().any(|unit| unit.is_segment() && unit.ordinal == *ordinal));
    let (removable, _) = kept.removable(&unnecessary, segment_bytes);
    for ordinal in unnecessary.into_iter().take(removable) {
        let name = segment_name(ordinal);
        storage.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
    }
    storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
    let Reader { summary, firsts, end, skipped, proved, .. } = reader;
    let Some(end) = end else {
        return Ok(Recovered { summary, open: None, segments: Vec::new(), skipped, proved });
    };
    let segments = ordinals.iter().copied().zip(firsts).take(end.segment + 1).collect();
    let ordinal = ordinals.get(end.segment).copied().unwrap_or_default();
    let name = segment_name(ordinal);
    let file: Arc<dyn File> = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    let size = file.size().map_err(|e| Error::io("read", &name, e))?;
    let open = Some(Open { ordinal, name, file, offset: end.offset as u64, grows: size < segment_bytes });
    Ok(Recovered { summary, open, segments, skipped, proved })
}

/// What cannot be read on.
pub(crate) struct Trouble {
    /// The segment, if there is one; else it is the one that should come behind all.
    pub(crate) segment: usize,
    pub(crate) file: String,
    pub(crate) offset: usize,
    pub(crate) reason: String,
    /// It comes before the checkpoint's position, so it was on disk.
    pub(crate) is_before_checkpoint: bool,
}

/// Damage at `position`, of which a checkpoint or a later block says that it had been synced, is not the trace of a power cut.
pub(crate) fn refuse(
    storage: &dyn Storage,
    ordinals: &[u64],
    trouble: &Trouble,
    position: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), Error> {
    let Trouble { segment, file: damaged, offset, reason, is_before_checkpoint } = trouble;
    if *is_before_checkpoint {
        return Err(Error::corrupt(damaged, *offset, reason.clone()));
    }
    let mut from = *offset;
    for &ordinal in ordinals.get(*segment..).unwrap_or_default() {
        let name = segment_name(ordinal);
        let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
        read_file(file.as_ref(), bytes).map_err(|e| Error::io("read", &name, e))?;
        if block::proves_synced(bytes, from, ordinal, position) {
            let reason = format!("{reason}, although position {position} had been synced, as {name} says");
            return Err(Error::corrupt(damaged, *offset, reason));
        }
        from = 0;
    }
    Ok(())
}

impl<'a> Reader<'a> {
    pub(crate) fn new(replay: &'a mut dyn Replay, restored: u64) -> Self {
        Self {
            replay,
            summary: Summary { last_position: restored, ..Summary::default() },
            restored,
            is_inside: false,
            firsts: Vec::new(),
            expected: restored + 1,
            partial: None,
            parts: Vec::new(),
            end: None,
            skipped: Vec::new(),
            headless: Vec::new(),
            proved: 0,
        }
    }

    /// Reads these segments up to the first place that is not valid, if there is one. `after` is called with each file that was
    /// read.
    pub(crate) fn all(
        &mut self,
        storage: &dyn Storage,
        ordinals: &[u64],
        after: impl Fn(&dyn File, &str) -> Result<(), Error>,
    ) -> Result<Option<Trouble>, Error> {
        let (mut damage, mut source, mut last_size) = (None, Source::new(storage, ordinals), 0);
        for (i, &ordinal) in ordinals.iter().enumerate() {
            let mut segment = Opened::new(storage, &segment_name(ordinal))?;
            let gap = i > 0 && ordinals.get(i - 1).is_some_and(|before| before + 1 != ordinal);
            let ended = match gap {
                true => Ended::Damaged(0, "the segment before it is missing".into()),
                false => self.segment(&mut source, &mut segment, ordinal, i)?,
            };
            after(segment.file.as_ref(), &segment.name)?;
            if let Ended::Damaged(offset, reason) = ended {
                damage = Some((i, offset, reason));
                break;
            }
            last_size = segment.size as usize;
        }
        // A checkpoint is only of what had been synced, and the log goes on from it.
        let restored = self.restored;
        let is_before_checkpoint = restored > 0 && (self.end.is_none() || self.expected <= restored);
        if damage.is_none() && self.partial.is_some() && !is_before_checkpoint {
            damage = Some((ordinals.len().saturating_sub(1), last_size, "the last record has no end".into()));
        }
        if damage.is_none() && !is_before_checkpoint {
            return Ok(None);
        }
        let (segment, offset, reason) = match damage {
            Some((segment, offset, reason)) if is_before_checkpoint => {
                let reason = format!(
                    "{reason}, although the checkpoint says that position {restored} had been synced"
                );
                (segment, offset, reason)
            }
            Some(damage) => damage,
            None => (ordinals.len(), 0, self.ends_before(ordinals)),
        };
        let file = match ordinals.get(segment) {
            Some(&ordinal) => segment_name(ordinal),
            None => segment_name(last_ordinal(storage)?.saturating_add(1)),
        };
        Ok(Some(Trouble { segment, file, offset, reason, is_before_checkpoint }))
    }

    /// That the log ends, and nothing is damaged, before what its checkpoint has.
    fn ends_before(&self, ordinals: &[u64]) -> String {
        let Self { restored, expected, .. } = self;
        match ordinals.last() {
            Some(&last) => format!(
                "it is missing, or {} was cut, for the log ends at position {}, but the checkpoint is of position {restored}",
                segment_name(last),
                expected.saturating_sub(1)
            ),
            None => format!("it is missing: no segment goes on from the checkpoint of position {restored}"),
        }
    }

    fn segment(
        &mut self,
        source: &mut Source<'_>,
        read: &mut Opened,
        ordinal: u64,
        segment: usize,
    ) -> Result<Ended, Error> {
        let name = &segment_name(ordinal);
        let mut at = SEGMENT_HEAD;
        let first = block::read_segment_head(source.head(read, ordinal)?, ordinal)
            .map_err(|reason| Error::corrupt(name, 0, reason))?;
        let begun = match first {
            Some(first) => Some(Begun::At(first)),
            None => self.headless(source, read, (ordinal, segment))?,
        };
        let is_missing =
            |first, expected| format!("it begins at position {first}, and {expected} is missing");
        match begun {
            None => return Ok(Ended::Damaged(0, "the segment's head is torn".into())),
            Some(Begun::Behind(first, on)) => {
                self.firsts.push(first);
                match on {
                    On::At(behind) => at = behind,
                    On::NextSegment => return Ok(Ended::Clean),
                }
            }
            // Without a checkpoint all of it may go on from nothing.
            Some(Begun::At(first)) if segment == 0 && first > self.expected && self.restored == 0 => {
                return Err(Error::corrupt(name, 0, is_missing(first, self.expected)));
            }
            Some(Begun::At(first)) if segment == 0 && first <= self.expected => {
                self.expected = first;
                self.is_inside = first <= self.restored;
                self.firsts.push(first);
            }
            Some(Begun::At(first)) if first == self.expected => self.firsts.push(first),
            Some(Begun::At(first)) => return Ok(Ended::Damaged(0, is_missing(first, self.expected))),
        }
        if self.partial.is_none() {
            self.end = Some(Place { segment, offset: at });
        }
        loop {
            let found = source
                .block(read, (ordinal, at as u64))?
                .map_err(|reason| Error::corrupt(name, at, reason))?;
            let reason = match found {
                Found::End => match read.is_zero_from(at as u64)? {
                    true => break,
                    false => "zeros where a block should begin",
                },
                Found::Damaged(reason) => reason,
                Found::Block(head, payload) => match self.block(head.part, head.first, payload) {
                    Ok(()) => {
                        self.proved = head.synced;
                        at += BLOCK_HEAD + payload.len();
                        if self.partial.is_none() {
                            self.end = Some(Place { segment, offset: at });
                        }
                        continue;
                    }
                    Err(Stop::Damaged(reason)) => reason,
                    Err(Stop::Refused(reason)) => return Err(Error::corrupt(name, at, reason)),
                },
            };
            match self.pass(source.behind(segment), read, (ordinal, at), reason)? {
                Some(On::At(behind)) => at = behind,
                Some(On::NextSegment) => break,
                None => return Ok(Ended::Damaged(at, reason.into())),
            }
        }
        self.summary.bytes += at as u64;
        Ok(Ended::Clean)
    }

    fn block(&mut self, part: Part, first: Head, payload: &[u8]) -> Result<(), Stop> {
        if first.position != self.expected {
            return Err(Stop::Damaged("a block of another position than the one that is due"));
        }
        let was_inside = std::mem::take(&mut self.is_inside);
        match (part, self.partial) {
            (Part::Middle, None) if was_inside => {
                self.is_inside = true;
                Ok(())
            }
            (Part::Last, None) if was_inside => {
                let after = first.position.checked_add(1);
                self.expected = after.ok_or(Stop::Damaged("there is no position behind the last one"))?;
                Ok(())
            }
            (Part::Whole, None) => self.records(first, payload).map_err(Stop::Refused),
            (Part::First, None) => {
                self.parts.clear();
                self.parts.extend_from_slice(payload);
                self.partial = Some(first);
                Ok(())
            }
            (Part::Middle, Some(_)) => {
                self.parts.extend_from_slice(payload);
                Ok(())
            }
            (Part::Last, Some(begun)) => {
                self.parts.extend_from_slice(payload);
                self.partial = None;
                let mut parts = std::mem::take(&mut self.parts);
                if block::first_record_len(&parts) != parts.len() {
                    return Err(Stop::Damaged("the parts of a record do not have its length"));
                }
                self.records(begun, &parts).map_err(Stop::Refused)?;
                parts.clear();
                parts.shrink_to(1024 * 1024);
                self.parts = parts;
                Ok(())
            }
            (Part::Whole | Part::First, Some(_)) => Err(Stop::Damaged("a record begins inside another")),
            (Part::Middle | Part::Last, None) => Err(Stop::Damaged("a record goes on that never began")),
        }
    }

    fn records(&mut self, first: Head, payload: &[u8]) -> Result<(), String> {
        let mut records = Records::new(first, payload);
        let mut window = Vec::with_capacity(WINDOW);
        loop {
            // What comes before a bad record counts.
            let (mut refused, mut is_over) = (None, false);
            while window.len() < WINDOW && refused.is_none() && !is_over {
                match records.next() {
                    Some(Ok(record)) => window.push(record),
                    Some(Err(reason)) => refused = Some(reason),
                    None => is_over = true,
                }
            }
            self.replay.ahead(&window);
            for record in window.drain(..) {
                self.record(&record)?;
            }
            match refused {
                Some(reason) => return Err(reason.to_owned()),
                None if is_over => return Ok(()),
                None => {}
            }
        }
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), String> {
        if record.head.position > self.restored {
            self.replay.take(record)?;
            if self.summary.records == 0 {
                self.summary.first_position = record.head.position;
            }
            self.summary.records += 1;
            self.summary.last_position = record.head.position;
        }
        self.summary.last_time_ms = record.head.time_ms;
        self.expected =
            record.head.position.checked_add(1).ok_or("there is no position behind the last one")?;
        Ok(())
    }
}
