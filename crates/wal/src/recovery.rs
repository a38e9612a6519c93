//! Reading back. A power cut may lose, tear or reorder what was not synced: then the log ends at the first block that
//! is not whole, and what stands behind it is cut away, durably, before anything new is written. Damage to what had
//! been synced is something else: then nothing is cut and nothing starts.

use crate::block::{self, Found, Part, Records, SEGMENT_HEAD};
use crate::log::{Log, PREPARED, Segment, segment_name};
use crate::tail::Head;
use crate::{Error, Record};
use std::sync::atomic::Ordering;

/// What replay has found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records given.
    pub records: u64,
    /// The last position.
    pub last_position: u64,
    /// Bytes of all segments read.
    pub bytes: u64,
    /// Where the unsynced end was cut, if it was not whole: segment, offset, why.
    pub cut: Option<(String, u64, String)>,
}

struct Reader<'a> {
    each: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    summary: Summary,
    /// A record whose last part has not come yet, with its head.
    partial: Option<(Head, Vec<u8>)>,
    /// Where the log is whole up to: no record begun and not ended.
    whole: (u64, usize),
}

impl Log {
    /// Gives every record in order, cuts an unfinished end, and makes the log ready for writing. An error of `each`
    /// ends it.
    pub fn replay(&mut self, each: &mut dyn FnMut(Record<'_>) -> Result<(), String>) -> Result<Summary, Error> {
        let storage = self.common.storage.clone();
        let names = storage.list().map_err(|e| Error::io("list", "the data directory", e))?;
        let mut ordinals: Vec<u64> = names.iter().filter_map(|name| ordinal_of(name)).collect();
        ordinals.sort_unstable();
        if names.iter().any(|name| name == PREPARED) {
            storage.remove(PREPARED).map_err(|e| Error::io("remove", PREPARED, e))?;
        }
        let first = ordinals.first().copied().unwrap_or(1);
        let mut reader = Reader { each, summary: Summary::default(), partial: None, whole: (first, SEGMENT_HEAD) };
        let mut stopped = None;
        let mut bytes = Vec::new();
        for (i, &ordinal) in ordinals.iter().enumerate() {
            let name = segment_name(ordinal);
            if ordinal != first + i as u64 {
                stopped = Some((segment_name(first + i as u64), 0, "the segment is missing".to_owned()));
            }
            bytes.clear();
            let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
            file.read_all(&mut bytes).map_err(|e| Error::io("read", &name, e))?;
            reader.summary.bytes += bytes.len() as u64;
            let from = match &stopped {
                Some(_) => 0,
                None => match reader.segment(&name, ordinal, &bytes)? {
                    None => continue,
                    Some((offset, reason)) => {
                        stopped = Some((name.clone(), offset, reason));
                        offset
                    }
                },
            };
            let lost = reader.summary.last_position + 1;
            if let Some((name, offset, reason)) = &stopped
                && block::proves_synced(&bytes, from, ordinal, lost)
            {
                return Err(Error::corrupt(name, *offset, format!("{reason}; commit {lost} had been synced")));
            }
        }
        let mut summary = reader.summary;
        let whole = reader.whole;
        let begun = reader.partial.is_some();
        if let Some((name, offset, reason)) = stopped {
            summary.cut = Some((name, offset as u64, reason));
        } else if begun {
            summary.cut = Some((segment_name(whole.0), whole.1 as u64, "the last record has no end".into()));
        }
        if !ordinals.is_empty() {
            self.cut_at(whole, &ordinals, summary.cut.is_some())?;
        }
        self.common.written.store(summary.last_position, Ordering::Release);
        self.common.synced.store(summary.last_position, Ordering::Release);
        self.replayed = true;
        Ok(summary)
    }

    /// Ends the log there: nothing behind it may ever be read again. Then makes all of it durable.
    fn cut_at(&mut self, (ordinal, offset): (u64, usize), ordinals: &[u64], dirty: bool) -> Result<(), Error> {
        let storage = self.common.storage.clone();
        for &later in ordinals.iter().filter(|&&later| later > ordinal) {
            let name = segment_name(later);
            storage.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
        }
        for &earlier in ordinals.iter().filter(|&&earlier| earlier < ordinal) {
            let name = segment_name(earlier);
            storage.open(&name).and_then(|file| file.sync_data()).map_err(|e| Error::io("sync", &name, e))?;
        }
        let name = segment_name(ordinal);
        let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
        if dirty || offset == SEGMENT_HEAD {
            file.set_len(offset as u64).map_err(|e| Error::io("cut", &name, e))?;
            file.write_at(&block::segment_head(ordinal), 0).map_err(|e| Error::io("write", &name, e))?;
        }
        file.sync_data().map_err(|e| Error::io("sync", &name, e))?;
        storage.sync_dir().map_err(|e| Error::io("sync", "the data directory", e))?;
        self.resume(Segment { name, ordinal, file, offset });
        Ok(())
    }
}

fn ordinal_of(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()
}

impl Reader<'_> {
    /// Reads one segment; gives where and why it stopped if that is not its end.
    fn segment(&mut self, name: &str, ordinal: u64, bytes: &[u8]) -> Result<Option<(usize, String)>, Error> {
        match block::check_segment_head(bytes, ordinal) {
            Ok(true) => {}
            Ok(false) => return Ok(Some((0, "the segment was never begun".into()))),
            Err(reason) if reason.contains("not known") => return Err(Error::corrupt(name, 0, reason)),
            Err(reason) => return Ok(Some((0, reason))),
        }
        let mut at = SEGMENT_HEAD;
        if self.partial.is_none() {
            self.whole = (ordinal, at);
        }
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            match block::read(rest, ordinal).map_err(|reason| Error::corrupt(name, at, reason))? {
                Found::End => {
                    // Nothing may follow; `proves_synced` looks.
                    return Ok(rest.iter().any(|&b| b != 0).then(|| (at, "a block is missing".to_owned())));
                }
                Found::Damaged(reason) => return Ok(Some((at, reason.to_owned()))),
                Found::Block(head, payload) => {
                    if head.first.position != self.summary.last_position + 1 {
                        let (expected, got) = (self.summary.last_position + 1, head.first.position);
                        if self.summary.records == 0 && self.partial.is_none() {
                            return Err(Error::corrupt(name, at, format!("the log begins with commit {got} instead of {expected}")));
                        }
                        return Ok(Some((at, format!("commit {expected} is missing: {got} follows"))));
                    }
                    if let Some(reason) = self.block(name, at, head.part, head.first, payload)? {
                        return Ok(Some((at, reason)));
                    }
                    at += block::BLOCK_HEAD + payload.len();
                    if self.partial.is_none() {
                        self.whole = (ordinal, at);
                    }
                }
            }
        }
        Ok(None)
    }

    fn block(&mut self, name: &str, at: usize, part: Part, first: Head, payload: &[u8]) -> Result<Option<String>, Error> {
        match (part, self.partial.take()) {
            (Part::Whole, None) => self.records(name, at, first, payload)?,
            (Part::First, None) => self.partial = Some((first, payload.to_vec())),
            (Part::Middle, Some((head, mut bytes))) => {
                bytes.extend_from_slice(payload);
                self.partial = Some((head, bytes));
            }
            (Part::Last, Some((head, mut bytes))) => {
                bytes.extend_from_slice(payload);
                if block::first_record_len(&bytes) != bytes.len() {
                    self.partial = Some((head, bytes));
                    return Ok(Some("a part of a record is missing".into()));
                }
                self.records(name, at, head, &bytes)?;
            }
            (Part::Whole | Part::First, Some(partial)) => {
                self.partial = Some(partial);
                return Ok(Some("a record has no end".into()));
            }
            (Part::Middle | Part::Last, None) => return Ok(Some("a record has no beginning".into())),
        }
        Ok(None)
    }

    fn records(&mut self, name: &str, at: usize, first: Head, payload: &[u8]) -> Result<(), Error> {
        for record in Records::new(first, payload) {
            let record = record.map_err(|reason| Error::corrupt(name, at, reason))?;
            (self.each)(record).map_err(|reason| Error::corrupt(name, at, format!("commit {}: {reason}", record.head.position)))?;
            self.summary.records += 1;
            self.summary.last_position = record.head.position;
        }
        Ok(())
    }
}
