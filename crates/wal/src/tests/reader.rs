//! A reader gives what was written, wherever it lies, while others write, after a start, and after a checkpoint has left
//! little of a segment.

use super::{Kept, add, open, replay};
use crate::bodies::BodiesWriter;
use crate::faulty::FaultyDisk;
use crate::fuzz;
use crate::held::files_held;
use crate::log::segment_name;
use crate::{CheckpointHead, Checkpoints, Error, Log, Reader, Storage, Tail, Why, explain, verify_held};
use leveret_base::codec::{Name, Place};

/// A record's changes are one message here: its length first.
pub(super) fn message_len(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|len| u32::from_le_bytes(*len) as usize)
}

pub(super) fn message(len: usize, byte: u8) -> Vec<u8> {
    let mut bytes = vec![byte; len.max(4)];
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

pub(super) fn read(reader: &mut Reader, position: u64) -> Result<Option<Vec<u8>>, Error> {
    let read = reader.read(Place { position, offset: 0 })?;
    Ok(read.map(|bytes| bytes[..message_len(bytes).expect("it was read whole")].to_vec()))
}

fn length(rng: &mut fastrand::Rng, segment_bytes: u64) -> usize {
    match rng.u8(..20) {
        // Over several segments.
        0 => rng.usize(..6000),
        // Over several places that are kept.
        1 if segment_bytes > 4096 => rng.usize(..100_000),
        _ => rng.usize(..200),
    }
}

#[test]
fn what_was_written_can_be_read_by_its_name() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = FaultyDisk::new(seed);
        if seed % 2 == 0 {
            disk.short_reads();
        }
        let segment_bytes = [1024, 4096, 1024 * 1024][seed as usize % 3];
        let mut log = open(&disk, segment_bytes);
        replay(&mut log).unwrap();
        let (mut reader, mut tail, mut written) = (log.reader(), Tail::default(), Vec::new());
        for _ in 0..60 {
            for _ in 0..rng.usize(1..20) {
                let changes = message(length(&mut rng, segment_bytes), rng.u8(..));
                written.push(add(&mut tail, written.len() as u64 + 1, &changes));
            }
            log.write(&mut tail).unwrap();
            for _ in 0..5 {
                let from = rng.usize(..written.len());
                for (head, changes) in written.iter().skip(from).take(rng.usize(1..30)) {
                    let offset = rng.u32(..=changes.len() as u32);
                    let bytes = reader.read(Place { position: head.position, offset }).unwrap().unwrap();
                    assert_eq!(bytes, &changes[offset as usize..], "seed {seed}");
                }
            }
        }
        for position in [0, written.len() as u64 + 1] {
            assert_eq!(read(&mut reader, position).unwrap(), None);
        }
        let mut again = open(&disk, segment_bytes);
        replay(&mut again).unwrap();
        let mut reader = again.reader();
        for (head, changes) in &written {
            assert_eq!(read(&mut reader, head.position).unwrap().as_ref(), Some(changes), "seed {seed}");
        }
        let behind = Place { position: 1, offset: written[0].1.len() as u32 + 1 };
        assert_eq!(reader.read(behind).unwrap(), None);
    }
}

/// A log whose old records live on as messages.
pub(super) struct Life {
    pub(super) disk: FaultyDisk,
    pub(super) log: Log,
    pub(super) segment_bytes: u64,
    pub(super) reader: Reader,
    pub(super) tail: Tail,
    pub(super) written: Vec<Kept>,
    /// Positions of messages that live.
    pub(super) alive: Vec<u64>,
    /// Of the last checkpoint and of what lives then.
    pub(super) checkpoint: u64,
    /// What the last start has said of held files.
    pub(super) damaged: Vec<String>,
    /// What else it has said.
    pub(super) noticed: Vec<String>,
}

impl Life {
    pub(super) fn new(seed: u64, segment_bytes: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        let mut log = open(&disk, segment_bytes);
        replay(&mut log).unwrap();
        let (reader, tail, written) = (log.reader(), Tail::default(), Vec::new());
        Self {
            disk,
            log,
            segment_bytes,
            reader,
            tail,
            written,
            alive: Vec::new(),
            checkpoint: 0,
            damaged: Vec::new(),
            noticed: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, rng: &mut fastrand::Rng, count: usize) {
        for _ in 0..count {
            let changes = message(length(rng, self.segment_bytes), rng.u8(..));
            let position = self.written.len() as u64 + 1;
            self.written.push(add(&mut self.tail, position, &changes));
            self.alive.push(position);
        }
        self.log.write(&mut self.tail).unwrap();
    }

    /// A checkpoint that has every message by name only.
    pub(super) fn checkpoint(&mut self) -> Result<(), Error> {
        let checkpoints = self.log.checkpoints(message_len);
        if self.written.len() as u64 == self.checkpoint {
            // Of one position there is one state.
            let position = self.checkpoint + 1;
            self.written.push(add(&mut self.tail, position, &message(9, 0)));
            self.log.write(&mut self.tail)?;
        }
        self.publish(&checkpoints)
    }

    pub(super) fn publish(&mut self, checkpoints: &Checkpoints) -> Result<(), Error> {
        let position = self.written.len() as u64;
        let mut writer = checkpoints.begin(CheckpointHead { position, time_ms: 7 })?;
        writer.write(b"before")?;
        for some in self.alive.chunks(9) {
            // Of two queues.
            for _ in 0..2 {
                let names = some.iter().map(|&position| Name {
                    place: Place { position, offset: 0 },
                    bytes: self.written[position as usize - 1].1.len() as u32,
                });
                writer.write_names(&names.collect::<Vec<_>>())?;
            }
        }
        writer.write(b"behind")?;
        checkpoints.publish(writer)?;
        self.checkpoint = position;
        Ok(())
    }

    pub(super) fn check(&mut self, what: &str) {
        for &position in &self.alive {
            let expected = &self.written[position as usize - 1].1;
            let found = read(&mut self.reader, position).unwrap();
            assert_eq!(found.as_ref(), Some(expected), "{what}: position {position}");
        }
    }

    /// The process dies, and another one starts.
    pub(super) fn restart(&mut self, disk: FaultyDisk) {
        self.disk = disk;
        self.log = open(&self.disk, self.segment_bytes);
        let mut changes = Vec::new();
        let restored = self.log.restore(&mut |some| {
            changes.extend_from_slice(some);
            Ok(())
        });
        let restored = restored.unwrap().map_or(0, |head| head.position);
        assert!(restored == self.checkpoint && (restored == 0 || changes == b"beforebehind"));
        let (summary, records) = replay(&mut self.log).unwrap();
        (self.damaged, self.noticed) = (summary.damaged, summary.noticed);
        assert_eq!(records, self.written[restored as usize..]);
        self.reader = self.log.reader();
    }

    pub(super) fn bytes(&self) -> u64 {
        let names = self.disk.list().unwrap();
        names.iter().map(|name| self.disk.content(name).unwrap().len() as u64).sum()
    }
}

#[test]
fn what_a_checkpoint_names_stays_and_the_rest_goes() {
    let mut copies = 0;
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let segment_bytes = [1024, 4096, 64 * 1024][seed as usize % 3];
        let mut life = Life::new(seed, segment_bytes);
        for _ in 0..12 {
            let count = rng.usize(1..200);
            life.write(&mut rng, count);
            let chance = rng.u8(1..100);
            life.alive.retain(|_| rng.u8(..100) < chance);
            if rng.bool() {
                life.checkpoint().unwrap();
                life.check("after a checkpoint");
                let names = life.disk.list().unwrap();
                copies += names.iter().filter(|name| name.ends_with(".bodies")).count();
            }
            if rng.u8(..3) == 0 {
                life.log.syncer().sync().unwrap();
                let disk = life.disk.crash();
                life.restart(disk);
                life.check("after a start");
            }
        }
        // In the steady state so much is on the disk.
        life.checkpoint().unwrap();
        life.checkpoint().unwrap();
        let live: u64 = life.alive.iter().map(|at| life.written[*at as usize - 1].1.len() as u64 + 64).sum();
        let bytes = life.bytes();
        assert!(bytes <= 2 * live + 4 * segment_bytes, "seed {seed}: {bytes} bytes for {live} that live");
        life.alive.clear();
        life.checkpoint().unwrap();
        assert!(life.bytes() <= 2 * segment_bytes, "seed {seed}: nothing lives any more");
        assert!(!life.disk.list().unwrap().iter().any(|name| name.ends_with(".bodies")));
    }
    assert!(copies > 100, "only {copies} copies were there");
}

#[test]
fn a_checkpoint_that_fails_costs_no_message() {
    let mut failures = 0;
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(seed, 1024);
        for _ in 0..3 {
            life.write(&mut rng, 60);
            life.alive.retain(|_| rng.u8(..100) < 30);
            life.log.syncer().sync().unwrap();
            life.checkpoint().unwrap();
        }
        // What it had stays until the next one is there, whatever happens on the way to it.
        let (before, of_before) = (life.alive.clone(), life.checkpoint);
        life.write(&mut rng, 60);
        life.log.syncer().sync().unwrap();
        life.alive.retain(|_| rng.u8(..100) < 30);
        match rng.u8(..3) {
            0 => life.disk.fail_syncs_after(rng.u64(..30)),
            1 => life.disk.fail_writes_after(rng.u64(..60)),
            _ => life.disk.full_after(rng.u64(..10_000)),
        }
        if life.checkpoint().is_err() {
            failures += 1;
            life.check("after a failure");
        }
        let disk = life.disk.crash();
        // A crash decides which of the two it is.
        let newest = disk.list().unwrap().into_iter().filter_map(|name| {
            name.strip_suffix(".checkpoint").and_then(|position| position.parse::<u64>().ok())
        });
        life.checkpoint = newest.max().unwrap();
        if life.checkpoint == of_before {
            life.alive.extend(before);
        }
        life.restart(disk);
        life.check("after a crash");
    }
    assert!(failures > 100, "only {failures} failed");
}

#[test]
fn a_copy_of_what_is_held_is_whole() {
    let mut life = Life::new(1, 1024);
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..3 {
        life.write(&mut rng, 60);
        life.alive.retain(|at| *at % 10 == 3 || *at > 140);
        life.checkpoint().unwrap();
    }
    let copy = FaultyDisk::new(2);
    let held = files_held(&life.disk).unwrap();
    assert!(
        held.iter().any(|name| name.ends_with(".segment"))
            && held.iter().any(|name| name.ends_with(".bodies"))
    );
    let names = life.disk.list().unwrap();
    let first_active = names.iter().filter(|name| name.ends_with(".segment") && !held.contains(name));
    let first_active = first_active.max().unwrap();
    for name in names.iter().filter(|name| {
        held.contains(name)
            || name.ends_with(".checkpoint")
            || name >= &first_active && name.ends_with(".segment")
    }) {
        copy.put(name, &life.disk.content(name).unwrap());
    }
    life.restart(copy);
    life.check("in a copy");
}

#[test]
fn a_message_that_is_missing_is_missed_at_the_start() {
    let mut life = Life::new(1, 1024);
    let mut rng = fastrand::Rng::with_seed(1);
    life.write(&mut rng, 60);
    life.alive.retain(|at| *at % 10 == 3);
    life.checkpoint().unwrap();
    let names = life.disk.list().unwrap();
    let bodies = names.iter().find(|name| name.ends_with(".bodies")).expect("little is left of some");
    let whole = life.disk.content(bodies).unwrap();
    let held = verify_held(&life.disk).unwrap();
    assert!(held.files > 2 && held.messages >= 2 * 5 && held.damage.is_empty(), "{held:?}");
    // Damage is found when it is read; then nothing else is given.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        life.disk.put(bodies, &bytes);
        if at >= 40 {
            let damage = verify_held(&life.disk).unwrap().damage;
            assert!(damage.len() == 1 && damage[0].0 == *bodies, "flip at {at}: {damage:?}");
        }
        let mut log = open(&life.disk, 1024);
        let Ok(_) = log.restore(&mut |_| Ok(())) else { continue };
        replay(&mut log).unwrap();
        let mut reader = log.reader();
        for &position in &life.alive {
            if let Ok(Some(found)) = read(&mut reader, position) {
                assert_eq!(found, life.written[position as usize - 1].1, "flip at {at}");
            }
        }
    }
    life.disk.put(bodies, &whole);
    // Any of those that it needs.
    let (mut missed, mut count) = (0, 0);
    for name in names.iter().filter(|name| name.ends_with(".bodies")) {
        let bytes = life.disk.content(name).unwrap();
        life.disk.remove(name).unwrap();
        count += 1;
        if let Err(error) = open(&life.disk, 1024).restore(&mut |_| Ok(())) {
            let error = error.to_string();
            assert!(error.contains("is missing"), "{error}");
            missed += 1;
        }
        life.disk.put(name, &bytes);
    }
    assert!(count > 2 && missed == count, "{missed} of {count} are missed");
}

#[test]
fn golden_bodies() {
    let disk = FaultyDisk::new(1);
    let mut writer = BodiesWriter::begin(&disk, 1, 1).unwrap();
    let messages: [(u64, u32, &[u8]); 3] = [(1, 0, b"first"), (1, 5, b"second"), (3, 0, b"")];
    for (position, offset, message) in messages {
        assert!(!writer.put(Place { position, offset }, message).unwrap());
    }
    let (size, count) = writer.finish(&disk, 7).unwrap();
    let bytes = disk.content("00000000000000000001-00000000000000000007.bodies").unwrap();
    assert_eq!((size, count), (bytes.len() as u64, 3));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.bodies");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    assert_eq!(bytes, std::fs::read(path).unwrap(), "the format has changed: it needs a new version");
    // What a fuzzer begins with reaches the messages.
    let seed = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/bodies/two-blocks")).unwrap();
    let sealed = crate::bodies::sealed(&seed);
    assert!(sealed.windows(BLOCK_BYTES).any(|some| bytes.ends_with(some)));
    fuzz::bodies(&seed);
    for at in 0..seed.len() {
        let mut mutated = seed.clone();
        mutated[at] ^= 0x81;
        fuzz::bodies(&mutated);
        fuzz::bodies(&seed[..at]);
    }
}

/// Bytes of three messages in a block, with heads.
const BLOCK_BYTES: usize = 20 + 3 * 16 + 11;

#[test]
fn a_file_that_stays_for_messages_says_so() {
    let mut life = Life::new(1, 1024);
    let mut rng = fastrand::Rng::with_seed(1);
    life.write(&mut rng, 100);
    life.alive.retain(|at| *at % 10 == 3 || *at > 50);
    life.checkpoint().unwrap();
    let explained = explain(&life.disk).unwrap();
    let holds = |ending: &str| {
        let files = explained.iter().filter(|explained| explained.file.ends_with(ending));
        files.filter(|explained| matches!(explained.why, Why::Holds { .. })).count()
    };
    assert!(holds(".segment") > 0 && holds(".bodies") > 0, "{explained:?}");
    let count = explained.iter().map(|explained| match explained.why {
        Why::Holds { messages, bytes } if bytes > 0 => messages,
        _ => 0,
    });
    // Of two queues; where two files meet it may be either.
    assert!(count.sum::<u64>() >= 2 * life.alive.iter().filter(|at| **at < 80).count() as u64);
    life.alive.clear();
    life.checkpoint().unwrap();
    assert!(!explain(&life.disk).unwrap().iter().any(|file| matches!(file.why, Why::Holds { .. })));
}

#[test]
fn a_turn_is_blocks_that_can_be_read_by_themselves() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk, 8 * 1024 * 1024);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    let written: Vec<Kept> = (1..=4000).map(|position| add(&mut tail, position, &message(1000, 7))).collect();
    log.write(&mut tail).unwrap();
    let mut reader = log.reader();
    for (head, changes) in &written {
        assert_eq!(read(&mut reader, head.position).unwrap().as_ref(), Some(changes));
    }
    assert!(reader.block_bytes_max() <= 128 * 1024 + 48, "{} bytes were read", reader.block_bytes_max());
}

#[test]
fn damage_that_is_read_is_named() {
    let disk = FaultyDisk::new(1);
    super::small_log(&disk);
    let mut log = open(&disk, 4096);
    replay(&mut log).unwrap();
    let mut bytes = disk.content(&segment_name(1)).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    disk.put(&segment_name(1), &bytes);
    let mut reader = log.reader();
    let place = |position| Place { position, offset: 0 };
    assert_eq!(reader.read(place(3)).unwrap(), Some(&b"change 3"[..]));
    let error = reader.read(place(6)).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte") && error.contains("checksum"), "{error}");
    // A head that says too much.
    let at = bytes.windows(4).rposition(|window| window == b"LVBK").unwrap();
    bytes[at + 4..at + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    disk.put(&segment_name(1), &bytes);
    assert_eq!(log.reader().read(place(4)).unwrap(), None);
}
