//! The reader's entries for a fuzzer: any bytes may stand in a segment, in a block whose checksum is right, and in a
//! record. None may panic, memory stays near the input's, and what recovery leaves is read the same way again.

use crate::archive::listing::backup_name;
use crate::archive::{self, Backup, Until};
use crate::block::{self, BLOCK_HEAD, Records, segment_head};
use crate::bodies;
use crate::checkpoint;
use crate::faulty::FaultyDisk;
use crate::log::{Log, Options, segment_name};
use crate::reach;
use crate::recovery::Summary;
use crate::tail::{Head, RECORD_HEAD};
use crate::units::{Kind, Unit};
use leveret_base::codec::Place;
use std::sync::Arc;

/// Takes bytes as a segment: once as they are, once behind a valid head.
pub fn segments(data: &[u8]) {
    recover(&[data.to_vec()]);
    recover(&[segment_head(1, 1).iter().chain(data).copied().collect()]);
}

/// Takes bytes as blocks and makes their checksums right. The first byte says after how many blocks the second segment
/// begins.
pub fn blocks(data: &[u8]) {
    recover(&sealed(data));
}

pub(crate) fn sealed(data: &[u8]) -> Vec<Vec<u8>> {
    let Some((&split, mut rest)) = data.split_first() else { return Vec::new() };
    let mut segments = vec![segment_head(1, first_position(rest)).to_vec()];
    let mut count = 0u8;
    while !rest.is_empty() {
        if count == split {
            segments.push(segment_head(2, first_position(rest)).to_vec());
        }
        let ordinal = segments.len() as u64;
        let segment = segments.last_mut().expect("there is one from the start");
        let len = rest.get(4..8).and_then(|len| len.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
        let (block, behind) = rest.split_at(len.saturating_add(BLOCK_HEAD).min(rest.len()));
        let start = segment.len();
        segment.extend_from_slice(block);
        if let Some(block) = segment.get_mut(start..).filter(|block| block.len() >= BLOCK_HEAD) {
            block::reseal(block, ordinal);
        }
        (rest, count) = (behind, count.saturating_add(1));
    }
    segments
}

/// Takes bytes as a checkpoint: once as they are, once behind a valid head and with right checksums. What can be read is
/// no more than there is.
pub fn checkpoints(data: &[u8]) {
    read_checkpoint(data);
    read_checkpoint(&checkpoint::sealed(data));
}

fn read_checkpoint(bytes: &[u8]) {
    let disk = FaultyDisk::new(0);
    disk.put(&checkpoint::checkpoint_name(checkpoint::FUZZED), bytes);
    let mut log = Log::open(Arc::new(disk), Options::default()).expect("the options are valid");
    let mut len = 0;
    let restored = log.restore(&mut |changes| {
        len += changes.len();
        Ok(())
    });
    if let Ok(restored) = restored {
        assert!(restored.is_some() && len < bytes.len(), "more was read than there is");
    }
}

/// Takes bytes as the list of a backup: once as they are, once with the right checksum. What is read is written the same way
/// again, and a restore of files that are not there is refused.
pub fn lists(data: &[u8]) {
    read_list(data);
    let text = String::from_utf8_lossy(data);
    let text = format!("{}\n", text.trim_end());
    read_list(format!("{text}end {:08x}\n", crc32c::crc32c(text.as_bytes())).as_bytes());
}

fn read_list(bytes: &[u8]) {
    let disk = FaultyDisk::new(0);
    let Ok(Ok(backup)) = std::str::from_utf8(bytes).map(Backup::from_text) else {
        disk.put("00000001.backup", bytes);
        let listed = archive::backups(&disk);
        assert!(listed.is_err() || listed.is_ok_and(|it| it.whole.is_empty() && it.damaged.len() == 1));
        archive::restore(&disk, &FaultyDisk::new(0), Until::End).expect_err("it cannot be read");
        return;
    };
    assert_eq!(Backup::from_text(&backup.to_text()).as_ref(), Ok(&backup), "it is written otherwise");
    disk.put(&backup_name(backup.number), bytes);
    let listed = archive::backups(&disk).expect("it can be read");
    assert_eq!(listed.whole, std::slice::from_ref(&backup));
    for until in [Until::End, Until::Position(backup.position / 2), Until::Time(backup.time_ms)] {
        let restored = archive::restore(&disk, &FaultyDisk::new(0), until);
        // Where nothing was, nothing is needed.
        assert!(
            restored.is_err() || restored.is_ok_and(|it| it.bytes == 0),
            "what is not there was restored"
        );
    }
    // A source that is something else, and one that is nothing.
    assert!(archive::backup(&FaultyDisk::new(0), &disk, 1).is_err() || backup.position == 0);
    archive::prune(&disk, backup.time_ms).expect("nothing is missing for that");
}

/// Takes bytes as what is left of a segment: once as they are, once behind a valid head and with right checksums. What is
/// read is in it.
pub fn bodies(data: &[u8]) {
    read_bodies(data);
    read_bodies(&bodies::sealed(data));
}

fn read_bodies(bytes: &[u8]) {
    let disk = FaultyDisk::new(0);
    let name = bodies::bodies_name(1, checkpoint::FUZZED);
    disk.put(&name, bytes);
    // Refused or not.
    let _ = bodies::read_head(&disk, &name);
    let kind = Kind::Bodies { checkpoint: checkpoint::FUZZED, count: 1 };
    let unit = Unit { ordinal: 1, first: 1, is_blind: false, kind };
    reach::begins_with(&disk, &unit).expect("damage is no failure");
    reach::ends_with(&disk, &unit).expect("damage is no failure");
    let log = Log::open(Arc::new(disk), Options::default()).expect("the options are valid");
    let shared = log.syncer().shared;
    *shared.segments.lock() = Arc::new(vec![unit]);
    let mut reader = log.reader();
    for (position, offset) in
        (0..12).flat_map(|position| [(position, 0), (position, 5), (position, u32::MAX)])
    {
        if let Ok(Some(found)) = reader.read(Place { position, offset }) {
            assert!(found.len() < bytes.len(), "more was read than there is");
        }
    }
}

/// The position that the block at the start gives.
fn first_position(block: &[u8]) -> u64 {
    block.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(1, u64::from_le_bytes)
}

/// Takes bytes as the payload of a block.
pub fn records(data: &[u8]) {
    let first = Head { kind: 0, partition: 1, term: 2, position: u64::MAX - 1, time_ms: u64::MAX - 1 };
    let mut bytes = 0;
    for record in Records::new(first, data) {
        let Ok(record) = record else { return };
        bytes += RECORD_HEAD + record.changes.len();
        assert_eq!((record.head.partition, record.head.term), (1, 2));
    }
    assert_eq!(bytes, data.len(), "records that can be read are all there is");
}

/// Recovers twice and gives how many records there are, unless the log was refused.
pub(crate) fn recover(segments: &[Vec<u8>]) -> Option<u64> {
    let disk = FaultyDisk::new(0);
    for (ordinal, bytes) in (1..).zip(segments) {
        disk.put(&segment_name(ordinal), bytes);
        let unit = Unit::segment(ordinal, 1);
        reach::begins_with(&disk, &unit).expect("damage is no failure");
        reach::ends_with(&disk, &unit).expect("damage is no failure");
    }
    let room: usize = segments.iter().map(Vec::len).sum();
    // A refusal is as good an answer as records.
    let (summary, changes) = replay(&disk)?;
    assert!(changes.len() <= room && summary.bytes <= room as u64, "more was read than there is");
    // What was cut is cut durably, and what is left needs no second cut.
    let (again, same) = replay(&disk.crash()).expect("what recovery leaves can be read");
    assert_eq!((again.cut, same), (None, changes), "the second recovery finds something else");
    assert_eq!((again.records, again.last_position), (summary.records, summary.last_position));
    Some(summary.records)
}

fn replay(disk: &FaultyDisk) -> Option<(Summary, Vec<u8>)> {
    let mut log = Log::open(Arc::new(disk.clone()), Options::default()).expect("the options are valid");
    let mut changes = Vec::new();
    let summary = log.replay(&mut |record| {
        changes.extend_from_slice(record.changes);
        Ok(())
    });
    summary.ok().map(|summary| (summary, changes))
}
