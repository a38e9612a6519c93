//! What belongs to one backup, as a small file of lines beside the copies: names, sizes, checksums. The last line is the
//! checksum of all others. It gets its name when everything that it names is on disk.

use crate::bodies::{bodies_name, bodies_of};
use crate::checkpoint::{checkpoint_name, checkpoint_position};
use crate::error::Error;
use crate::log::{segment_name, segment_ordinal};
use crate::recovery::read_file;
use crate::storage::Storage;
use std::fmt::Write;

const TITLE: &str = "leveret backup 1";
pub(super) const UNFINISHED: &str = "backup.tmp";

/// A copy of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckpointCopy {
    pub(super) position: u64,
    pub(super) time_ms: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// A copy of what is left of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodiesCopy {
    pub(super) ordinal: u64,
    /// The position of the checkpoint that it was made for.
    pub(super) made_for: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// A copy of a segment: so many of its first bytes belong to the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentCopy {
    pub(super) ordinal: u64,
    pub(super) first: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// What one backup consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its number; they count from 1.
    pub number: u64,
    /// When it began, in milliseconds since 1970: what was confirmed before is in it.
    pub taken_ms: u64,
    /// The last position in it.
    pub position: u64,
    /// When that was committed.
    pub time_ms: u64,
    /// The log has no gap between the backup before and this one.
    pub continues: bool,
    pub(super) checkpoint: Option<CheckpointCopy>,
    /// What the checkpoint needs of segments that are gone.
    pub(super) bodies: Vec<BodiesCopy>,
    pub(super) segments: Vec<SegmentCopy>,
}

pub(super) fn number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".backup")?.parse().ok()?;
    (backup_name(number) == name).then_some(number)
}

pub(crate) fn backup_name(number: u64) -> String {
    format!("{number:08}.backup")
}

impl Backup {
    /// The position of its checkpoint.
    pub fn checkpoint(&self) -> Option<u64> {
        self.checkpoint.map(|copy| copy.position)
    }

    /// How many bytes belong to it.
    pub fn bytes(&self) -> u64 {
        let checkpoint = self.checkpoint.map_or(0, |copy| copy.bytes);
        let bodies = self.bodies.iter().map(|copy| copy.bytes);
        let segments = self.segments.iter().map(|copy| copy.bytes);
        bodies.chain(segments).fold(checkpoint, u64::saturating_add)
    }

    pub(crate) fn to_text(&self) -> String {
        let Backup { number, taken_ms, position, time_ms, .. } = self;
        let continues = if self.continues { "yes" } else { "no" };
        let mut text = format!(
            "{TITLE}\nnumber {number}\ntaken_ms {taken_ms}\nposition {position}\ntime_ms {time_ms}\ncontinues {continues}\n"
        );
        if let Some(CheckpointCopy { position, time_ms, bytes, crc }) = self.checkpoint {
            let name = checkpoint_name(position);
            let _ = writeln!(text, "checkpoint {name} bytes {bytes} crc32c {crc:08x} time_ms {time_ms}");
        }
        for BodiesCopy { ordinal, made_for, bytes, crc } in &self.bodies {
            let name = bodies_name(*ordinal, *made_for);
            let _ = writeln!(text, "bodies {name} bytes {bytes} crc32c {crc:08x}");
        }
        for SegmentCopy { ordinal, first, bytes, crc } in &self.segments {
            let name = segment_name(*ordinal);
            let _ = writeln!(text, "segment {name} bytes {bytes} crc32c {crc:08x} first {first}");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "end {crc:08x}");
        text
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let (body, end) =
            text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or("it is cut")?;
        // The line that ends the others belongs to them.
        let crc = crc32c::crc32c_append(crc32c::crc32c(body.as_bytes()), b"\n");
        let mut lines = body.lines();
        match lines.next() {
            Some(TITLE) => {}
            Some(_) | None => return Err("it is no list of a backup".into()),
        }
        if end != format!("end {crc:08x}") {
            return Err("its checksum is wrong".into());
        }
        let mut numbers = [0; 4];
        let mut backup = Backup {
            number: 0,
            taken_ms: 0,
            position: 0,
            time_ms: 0,
            continues: false,
            checkpoint: None,
            bodies: Vec::new(),
            segments: Vec::new(),
        };
        for line in lines {
            let not_understood = || format!("the line '{line}' is not understood");
            let words: Vec<&str> = line.split(' ').collect();
            let decimal = |word: &str| word.parse::<u64>().map_err(|_| not_understood());
            let hex = |word: &str| u32::from_str_radix(word, 16).map_err(|_| not_understood());
            match words.as_slice() {
                ["number", value] => numbers[0] = decimal(value)?,
                ["taken_ms", value] => numbers[1] = decimal(value)?,
                ["position", value] => numbers[2] = decimal(value)?,
                ["time_ms", value] => numbers[3] = decimal(value)?,
                ["continues", value] => backup.continues = *value == "yes",
                ["checkpoint", name, "bytes", bytes, "crc32c", crc, "time_ms", time] => {
                    let position = checkpoint_position(name).ok_or_else(not_understood)?;
                    let (bytes, crc, time_ms) = (decimal(bytes)?, hex(crc)?, decimal(time)?);
                    backup.checkpoint = Some(CheckpointCopy { position, time_ms, bytes, crc });
                }
                ["bodies", name, "bytes", bytes, "crc32c", crc] => {
                    let (ordinal, made_for) = bodies_of(name).ok_or_else(not_understood)?;
                    let (bytes, crc) = (decimal(bytes)?, hex(crc)?);
                    backup.bodies.push(BodiesCopy { ordinal, made_for, bytes, crc });
                }
                ["segment", name, "bytes", bytes, "crc32c", crc, "first", first] => {
                    let ordinal = segment_ordinal(name).ok_or_else(not_understood)?;
                    let (bytes, crc, first) = (decimal(bytes)?, hex(crc)?, decimal(first)?);
                    backup.segments.push(SegmentCopy { ordinal, first, bytes, crc });
                }
                _ => return Err(not_understood()),
            }
        }
        [backup.number, backup.taken_ms, backup.position, backup.time_ms] = numbers;
        Ok(backup)
    }
}

/// The backups of a directory.
#[derive(Debug, Default)]
pub struct Listed {
    /// Oldest first.
    pub whole: Vec<Backup>,
    /// Lists that cannot be read: nothing is known of what belongs to them.
    pub damaged: Vec<DamagedList>,
}

/// A list that cannot be read.
#[derive(Debug)]
pub struct DamagedList {
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub error: Error,
}

impl Listed {
    /// True when one between these two cannot be read.
    pub(super) fn is_damaged_between(&self, before: &Backup, next: &Backup) -> bool {
        self.damaged.iter().any(|damaged| before.number < damaged.number && damaged.number < next.number)
    }
}

/// All backups of a directory.
pub fn backups(archive: &dyn Storage) -> Result<Listed, Error> {
    let names = archive.list().map_err(|e| Error::io("list", "the backups", e))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    let (mut listed, mut bytes) = (Listed::default(), Vec::new());
    for number in numbers {
        let name = backup_name(number);
        let file = archive.open(&name).map_err(|e| Error::io("open", &name, e))?;
        read_file(file.as_ref(), &mut bytes).map_err(|e| Error::io("read", &name, e))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned());
        if let Some(why) = text.as_ref().ok().and_then(|text| unknown_format(text)) {
            return Err(Error::corrupt(&name, 0, why));
        }
        let read = text.and_then(Backup::from_text).and_then(|backup| match backup.number == number {
            true => Ok(backup),
            false => Err(format!("this is the list of backup {}", backup.number)),
        });
        match read {
            Ok(backup) => listed.whole.push(backup),
            Err(why) => {
                listed.damaged.push(DamagedList { number, error: Error::corrupt(&name, 0, why) });
            }
        }
    }
    Ok(listed)
}

/// A list that a later version has made.
fn unknown_format(text: &str) -> Option<String> {
    let title =
        text.lines().next().filter(|title| title.starts_with("leveret backup ") && *title != TITLE)?;
    title.split(' ').nth(2)?.parse::<u32>().ok()?;
    Some(format!("this format ('{title}') is not known to this version"))
}
