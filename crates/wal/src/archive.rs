//! Backups: a directory with copies of checkpoints and segments, and a list for each backup of what belongs to it. A segment
//! is copied once; the one that is written to is copied anew each time, up to its last whole record. So everything between
//! two backups can be had again, unless the log has lost a segment in between.
//!
//! The trap: what is copied may not have been synced yet, and a power cut would leave an archive that knows more than the
//! log, and a log that goes on otherwise. So the source is synced before a backup counts.

pub(crate) mod listing;
mod prune;
mod restore;
mod walk;

pub use listing::{Backup, DamagedList, Listed, backups};
pub use prune::{Pruned, prune};
pub use restore::{Restored, Until, restore};

use crate::block;
use crate::bodies::{self, bodies_name};
use crate::checkpoint::{self, checkpoint_name, checkpoint_position};
use crate::error::Error;
use crate::inspect::held;
use crate::log::segment_name;
use crate::recovery::{self, read_file};
use crate::storage::Storage;
use crate::units::{self, Census, Kind};
use listing::{BodiesCopy, CheckpointCopy, SegmentCopy, backup_name};
use std::sync::Arc;
use walk::{Walk, Walked};

/// A copy that is not finished.
const COPYING: &str = "copy.tmp";
/// How much is copied at a time.
const PIECE: usize = 1024 * 1024;
/// What a server writes right now may look damaged to who reads it at the same moment; so often it is read again.
const LOOKS: usize = 5;

/// What a backup has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    /// The backup.
    pub backup: Backup,
    /// Files copied.
    pub files: usize,
    /// Bytes copied.
    pub bytes: u64,
    /// The last position that the directory had before, when the log has lost what came right after that.
    pub gap_after: Option<u64>,
    /// The first segment that is to be copied again.
    pub first_unfinished: u64,
}

/// Copies to `to` what `from` has and it has not. A server may go on writing to `from`; nothing may be removed from it.
pub fn backup(from: &dyn Storage, to: &dyn Storage, taken_ms: u64) -> Result<BackupMade, Error> {
    let Listed { mut whole, damaged } = backups(to)?;
    // What goes on is what can be read; its number is above all.
    let before = whole.pop();
    let had = before.as_ref().map_or(&[][..], |before| &before.bodies);
    let last_number =
        damaged.iter().map(|damaged| damaged.number).chain(before.as_ref().map(|it| it.number)).max();
    let last_number = last_number.unwrap_or(0);
    let mut job = Job { from, to, had, last_number, files: 0, bytes: 0, buffer: Vec::new() };
    let result = job.run(before.as_ref(), taken_ms);
    if result.is_err() {
        // What is not finished is of no use to anybody.
        let _ = to.remove(COPYING);
        let _ = to.remove(listing::UNFINISHED);
    }
    result
}

struct Job<'a> {
    from: &'a dyn Storage,
    to: &'a dyn Storage,
    /// What the last backup has of messages.
    had: &'a [BodiesCopy],
    last_number: u64,
    files: usize,
    bytes: u64,
    buffer: Vec<u8>,
}

fn is_no_continuation(why: &str) -> Error {
    Error::Refused(format!(
        "this log does not go on where the last backup here has ended: {why}. Use a new directory"
    ))
}

impl Job<'_> {
    fn run(&mut self, before: Option<&Backup>, taken_ms: u64) -> Result<BackupMade, Error> {
        // The checkpoint first: what comes after it is there as long as it is.
        let names = self.from.list().map_err(|e| Error::io("list", "the log directory", e))?;
        let newest = names.iter().filter_map(|name| checkpoint_position(name)).max();
        let ordinals = recovery::ordinals(self.from)?;
        let had = before.and_then(|before| before.checkpoint).filter(|had| Some(had.position) == newest);
        let (checkpoint, bodies) = match (had, newest) {
            (Some(had), _) => {
                // What went since then is not in the copies that are listed now.
                held(self.from, had.position)?.check(had.position, self.from)?;
                (Some(had), before.map_or(Vec::new(), |before| before.bodies.clone()))
            }
            (None, Some(position)) => {
                let (copy, bodies) = self.checkpoint(position)?;
                (Some(copy), bodies)
            }
            (None, None) => (None, Vec::new()),
        };
        let restored = newest.unwrap_or(0);
        let copied = self.segments(&ordinals, restored, before)?;
        let (position, time_ms) = match (copied.last, ordinals.last()) {
            (Some((position, time_ms)), _) if position >= restored => (position, time_ms),
            // A checkpoint is only of what had been synced.
            (_, Some(&last)) if restored > 0 => {
                let reason = format!("it does not reach position {restored}, which the checkpoint is of");
                return Err(Error::corrupt(&segment_name(last), 0, reason));
            }
            (Some(_) | None, _) => (restored, 0),
        };
        let time_ms = time_ms.max(checkpoint.map_or(0, |copy| copy.time_ms));
        if let Some(before) = before.filter(|before| before.position > position) {
            return Err(is_no_continuation(&format!(
                "it ends at position {position}, the backup at {}",
                before.position
            )));
        }
        self.from.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
        let continues = before.is_some() && !copied.has_gap;
        let mut backup = Backup {
            number: self.last_number.saturating_add(1),
            taken_ms,
            position,
            time_ms,
            continues,
            checkpoint,
            bodies,
            segments: copied.segments,
        };
        if let Some(before) = before
            && (before.position, before.checkpoint) == (position, checkpoint)
            && before.number == self.last_number
            && before.segments == backup.segments
        {
            // Only time has passed.
            (backup.number, backup.continues) = (before.number, before.continues);
        }
        self.publish(&backup)?;
        let first_unfinished = backup.segments.last().map_or(1, |copy| copy.ordinal);
        let gap_after = before.filter(|_| copied.has_gap).map(|before| before.position);
        Ok(BackupMade { backup, files: self.files, bytes: self.bytes, gap_after, first_unfinished })
    }

    fn publish(&self, backup: &Backup) -> Result<(), Error> {
        let sync_dir = || self.to.sync_dir().map_err(|e| Error::io("sync", "the directory of backups", e));
        sync_dir()?;
        let name = backup_name(backup.number);
        let file = self.to.create(listing::UNFINISHED).map_err(|e| Error::io("create", &name, e))?;
        file.write_at(backup.to_text().as_bytes(), 0).map_err(|e| Error::io("write", &name, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &name, e))?;
        self.to.rename(listing::UNFINISHED, &name).map_err(|e| Error::io("rename", &name, e))?;
        sync_dir()
    }

    /// Copies a checkpoint and what is left of segments for it, and reads the copies from start to end.
    fn checkpoint(&mut self, position: u64) -> Result<(CheckpointCopy, Vec<BodiesCopy>), Error> {
        let name = checkpoint_name(position);
        let (bytes, crc) = copy(self.from, self.to, &name, None)?;
        let mut census = Census::new(Arc::new(units::list(self.from, position)?));
        let (head, _) = checkpoint::read(self.to, &name, &mut |_| Ok(()), &mut |name| census.count(name))?;
        census.check(position, self.from)?;
        (self.files, self.bytes) = (self.files + 1, self.bytes + bytes);
        let copy = CheckpointCopy { position, time_ms: head.time_ms, bytes, crc };
        let mut copies = Vec::new();
        for (unit, _) in census.needed(position) {
            let Kind::Bodies { checkpoint: made_for, .. } = unit.kind else { continue };
            copies.push(self.bodies(unit.ordinal, made_for)?);
        }
        Ok((copy, copies))
    }

    /// Copies what is left of a segment, unless it is there.
    fn bodies(&mut self, ordinal: u64, made_for: u64) -> Result<BodiesCopy, Error> {
        if let Some(known) = self.had.iter().find(|had| (had.ordinal, had.made_for) == (ordinal, made_for)) {
            return Ok(*known);
        }
        let name = bodies_name(ordinal, made_for);
        let (bytes, crc) = copy(self.from, self.to, &name, None)?;
        bodies::read(self.to, &name, &mut |_| ())?;
        (self.files, self.bytes) = (self.files + 1, self.bytes + bytes);
        Ok(BodiesCopy { ordinal, made_for, bytes, crc })
    }

    fn segments(
        &mut self,
        ordinals: &[u64],
        restored: u64,
        before: Option<&Backup>,
    ) -> Result<Copied, Error> {
        let needed = recovery::first_needed(self.from, ordinals, restored)?;
        let had = before.map_or(&[][..], |before| &before.segments);
        let unfinished = had.last().map(|copy| copy.ordinal);
        if let (Some(unfinished), Some(last)) = (unfinished, ordinals.last().or(Some(&0)))
            && *last < unfinished
        {
            return Err(is_no_continuation(&format!("it has no {}", segment_name(unfinished))));
        }
        let mut copied = Copied { segments: Vec::new(), last: None, has_gap: false };
        // How far whole records go, of each that was read.
        let mut ends = Vec::new();
        let mut walk = Walk::default();
        // The first one behind what was there before says whether something is missing.
        let mut is_first = before.is_some();
        for (i, &ordinal) in ordinals.iter().enumerate() {
            let known = had.iter().find(|copy| copy.ordinal == ordinal);
            if let Some(known) = known.filter(|_| Some(ordinal) != unfinished) {
                copied.segments.push(*known);
                ends.push(None);
                walk = Walk::default();
                continue;
            }
            if i > 0 && ordinals.get(i - 1).is_some_and(|before| before.checked_add(1) != Some(ordinal)) {
                if i > needed {
                    let why = "the segment before it is missing";
                    return Err(Error::corrupt(&segment_name(ordinal), 0, why));
                }
                // The one before stays for messages that only it has.
                copied.has_gap |= !is_first && unfinished.is_none_or(|unfinished| unfinished < ordinal);
                walk = Walk::default();
            }
            let is_last = i + 1 == ordinals.len();
            let Some(walked) = self.read(ordinal, &mut walk, is_last)? else { break };
            if unfinished.is_none_or(|unfinished| ordinal >= unfinished) && std::mem::take(&mut is_first) {
                copied.has_gap |= match (unfinished, before) {
                    (Some(unfinished), _) if ordinal == unfinished => false,
                    (_, Some(before)) => {
                        let is_next =
                            unfinished.is_none_or(|unfinished| unfinished.checked_add(1) == Some(ordinal));
                        !is_next
                            || walked.begins_inside
                            || Some(walked.first) != before.position.checked_add(1)
                    }
                    (_, None) => false,
                };
            }
            if let Some(known) = known {
                let same = self
                    .buffer
                    .get(..known.bytes as usize)
                    .is_some_and(|bytes| crc32c::crc32c(bytes) == known.crc);
                if !same {
                    let name = segment_name(ordinal);
                    return Err(is_no_continuation(&format!("{name} is not what it was then")));
                }
            }
            let len = match (is_last, walked.end) {
                (true, Some(end)) => end.offset,
                (true, None) | (false, _) => walked.used,
            };
            copied.segments.push(self.keep(ordinal, walked.first, len, known)?);
            ends.push(walked.end);
        }
        self.trim(&mut copied, &ends)?;
        copied.last = ends.iter().flatten().map(|end| (end.position, end.time_ms)).next_back();
        Ok(copied)
    }

    /// The copies end with the last whole record, in whichever segment that is.
    fn trim(&mut self, copied: &mut Copied, ends: &[Option<walk::End>]) -> Result<(), Error> {
        let Some(last) = ends.iter().rposition(Option::is_some) else { return Ok(()) };
        copied.segments.truncate(last + 1);
        if let (Some(Some(end)), Some(copy)) = (ends.get(last), copied.segments.last_mut())
            && copy.bytes != end.offset as u64
        {
            let name = segment_name(copy.ordinal);
            let file = self.from.open(&name).map_err(|e| Error::io("open", &name, e))?;
            read_file(file.as_ref(), &mut self.buffer).map_err(|e| Error::io("read", &name, e))?;
            *copy = self.keep(copy.ordinal, copy.first, end.offset, None)?;
        }
        Ok(())
    }

    /// Reads a segment into the buffer, makes it durable where it is, and sees how far it is valid.
    fn read(&mut self, ordinal: u64, walk: &mut Walk, is_last: bool) -> Result<Option<Walked>, Error> {
        let name = segment_name(ordinal);
        let file = self.from.open(&name).map_err(|e| Error::io("open", &name, e))?;
        for look in 1.. {
            read_file(file.as_ref(), &mut self.buffer).map_err(|e| Error::io("read", &name, e))?;
            let mut trial = walk.clone();
            let Some(walked) = trial.segment(&name, ordinal, &self.buffer, &mut |_, _| ())? else {
                // One that was made a moment ago, or that the disk never had.
                let due = trial.due().unwrap_or(0);
                if is_last && !block::proves_synced(&self.buffer, 0, ordinal, due) {
                    return Ok(None);
                }
                if look == LOOKS {
                    return Err(Error::corrupt(&name, 0, "its head is damaged"));
                }
                continue;
            };
            if let Some(why) = &walked.trouble {
                let due = trial.due().unwrap_or(0);
                let is_damage = !is_last || block::proves_synced(&self.buffer, walked.used, ordinal, due);
                if is_damage && look == LOOKS {
                    return Err(Error::corrupt(&name, walked.used, why.clone()));
                }
                if is_damage {
                    continue;
                }
            }
            file.sync_data().map_err(|e| Error::io("sync", &name, e))?;
            *walk = trial;
            return Ok(Some(walked));
        }
        Ok(None)
    }

    /// Makes the first bytes of the buffer the copy of a segment, unless that is what is there.
    fn keep(
        &mut self,
        ordinal: u64,
        first: u64,
        len: usize,
        known: Option<&SegmentCopy>,
    ) -> Result<SegmentCopy, Error> {
        let name = segment_name(ordinal);
        let bytes = self.buffer.get(..len).unwrap_or_default();
        let copy = SegmentCopy { ordinal, first, bytes: len as u64, crc: crc32c::crc32c(bytes) };
        if known == Some(&copy) {
            return Ok(copy);
        }
        let write = || {
            let file = self.to.create(COPYING)?;
            for (i, piece) in bytes.chunks(PIECE).enumerate() {
                file.write_at(piece, (i * PIECE) as u64)?;
            }
            file.sync_data()?;
            self.to.rename(COPYING, &name)
        };
        write().map_err(|e| Error::io("write", &format!("the copy of {name}"), e))?;
        (self.files, self.bytes) = (self.files + 1, self.bytes + copy.bytes);
        Ok(copy)
    }
}

struct Copied {
    segments: Vec<SegmentCopy>,
    /// The last record: position and time.
    last: Option<(u64, u64)>,
    has_gap: bool,
}

/// Copies a file, or its first bytes; gives how many and their checksum.
fn copy(from: &dyn Storage, to: &dyn Storage, name: &str, len: Option<u64>) -> Result<(u64, u32), Error> {
    let source = from.open(name).map_err(|e| Error::io("open", name, e))?;
    let copying = |e| Error::io("write", &format!("the copy of {name}"), e);
    let target = to.create(COPYING).map_err(copying)?;
    let (mut at, mut crc, mut piece) = (0, 0, vec![0; PIECE]);
    loop {
        let most = len.map_or(PIECE as u64, |len| (len - at).min(PIECE as u64)) as usize;
        let Some(into) = piece.get_mut(..most).filter(|into| !into.is_empty()) else { break };
        let read = match source.read_at(into, at) {
            Ok(0) => break,
            Ok(read) => into.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", name, error)),
        };
        target.write_at(read, at).map_err(copying)?;
        crc = crc32c::crc32c_append(crc, read);
        at += read.len() as u64;
    }
    target.sync_data().map_err(copying)?;
    to.rename(COPYING, name).map_err(copying)?;
    Ok((at, crc))
}
