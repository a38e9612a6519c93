//! Backups: every point between them can be had again, exactly; a backup that breaks off harms none; damage is found.

use super::{Kept, add, open, replay};
use crate::faulty::FaultyDisk;
use crate::{
    Archived, BackupMade, CheckpointHead, Ending, Error, Log, Storage, Tail, Until, backup, backups, inspect,
    prune, restore,
};

/// A log, what was written to it, and an archive.
struct Life {
    disk: FaultyDisk,
    archive: FaultyDisk,
    log: Log,
    written: Vec<Kept>,
    random: fastrand::Rng,
    segment_bytes: u64,
    keeps: bool,
    kept: Option<Archived>,
    taken_ms: u64,
}

impl Life {
    fn new(seed: u64, segment_bytes: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        let mut log = open(&disk, segment_bytes);
        replay(&mut log).unwrap();
        let random = fastrand::Rng::with_seed(seed);
        let archive = FaultyDisk::new(seed);
        Self {
            disk,
            archive,
            log,
            written: Vec::new(),
            random,
            segment_bytes,
            keeps: true,
            kept: None,
            taken_ms: 0,
        }
    }

    fn position(&self) -> u64 {
        self.written.len() as u64
    }

    /// So many turns of some records each; some are longer than a segment.
    fn write(&mut self, turns: usize) {
        let mut tail = Tail::default();
        for _ in 0..turns {
            for _ in 0..self.random.usize(1..5) {
                let len = match self.random.u8(..10) {
                    0 => self.random.usize(..3 * self.segment_bytes as usize),
                    _ => self.random.usize(..60),
                };
                let position = self.position() + 1;
                let kept = add(&mut tail, position, &vec![position as u8; len]);
                self.written.push(kept);
            }
            self.log.write(&mut tail).unwrap();
            if self.random.bool() {
                self.log.syncer().sync().unwrap();
            }
        }
    }

    fn checkpoint(&mut self) {
        let position = self.position();
        let checkpoints = self.log.checkpoints(|_| None);
        let time_ms = self.time();
        let mut writer = checkpoints.begin(CheckpointHead { position, time_ms }).unwrap();
        writer.write(&position.to_le_bytes()).unwrap();
        checkpoints.publish(writer).unwrap();
    }

    fn time(&self) -> u64 {
        self.written.last().map_or(0, |(head, _)| head.time_ms)
    }

    fn backup(&mut self) -> Result<BackupMade, Error> {
        self.taken_ms = self.taken_ms.max(self.time()) + 1;
        let made = backup(&self.disk, &self.archive, self.taken_ms)?;
        if self.keeps {
            let archive = "elsewhere".into();
            self.kept = Some(Archived { first: made.first_unfinished, bytes_max: 1 << 30, archive });
            self.disk.keep(false, self.kept.clone());
        }
        Ok(made)
    }

    /// The power goes; everything that was not synced is in doubt.
    fn crash(&mut self) {
        self.disk = self.disk.crash();
        self.disk.keep(false, self.kept.clone());
        self.log = open(&self.disk, self.segment_bytes);
        let head = self.log.restore(&mut |_| Ok(())).unwrap();
        let summary = self.log.replay(&mut |_| Ok(())).unwrap();
        assert!(summary.last_position >= head.map_or(0, |head| head.position));
        self.written.truncate(summary.last_position as usize);
    }

    /// What a restore to a point gives is what was written up to it, and no more.
    fn holds(&self, until: Until, last: u64) {
        let into = FaultyDisk::new(3);
        let restored = restore(&self.archive, &into, until).unwrap_or_else(|e| panic!("{until:?}: {e}"));
        assert_eq!(restored.position, last, "{until:?}");
        let into = into.crash();
        let mut log = open(&into, self.segment_bytes);
        let mut from = 0;
        log.restore(&mut |changes| {
            from = changes.try_into().map(u64::from_le_bytes).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(restored.checkpoint.unwrap_or(0), from);
        let (summary, records) = replay(&mut log).unwrap();
        assert_eq!(summary.cut, None);
        assert_eq!(records, self.written[from as usize..last as usize], "{until:?} from {from}");
        // And it goes on.
        let mut tail = Tail::default();
        add(&mut tail, last + 1, b"afterwards");
        log.write(&mut tail).unwrap();
        log.syncer().sync().unwrap();
        assert_eq!(inspect(&into, &mut |_| Ok(())).unwrap().ending, Ending::Whole);
    }
}

#[test]
fn every_point_between_backups_can_be_had_again() {
    for seed in 0..30 {
        let mut life = Life::new(seed, [256, 1024, 4096][seed as usize % 3]);
        assert_eq!(life.backup().unwrap().backup.position, 0);
        let mut last = 0;
        for round in 0..8 {
            let turns = life.random.usize(..8);
            life.write(turns);
            if life.random.u8(..3) == 0 {
                life.checkpoint();
            }
            let made = life.backup().unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
            assert_eq!((made.backup.position, made.gap_after), (life.position(), None));
            last = life.position();
            let turns = life.random.usize(..3);
            life.write(turns);
            match life.random.u8(..4) {
                0 => life.checkpoint(),
                1 => life.crash(),
                _ => {}
            }
            assert!(life.position() >= last, "what was saved was synced");
        }
        life.holds(Until::End, last);
        for position in 0..=last {
            life.holds(Until::Position(position), position);
        }
        for i in 0..last as usize {
            let time_ms = life.written[i].0.time_ms;
            life.holds(Until::Time(time_ms), i as u64 + 1);
            life.holds(Until::Time(time_ms - 1), i as u64);
        }
        let into = FaultyDisk::new(4);
        assert!(restore(&life.archive, &into, Until::Position(last + 1)).is_err());
        assert!(restore(&life.archive, &into, Until::Time(life.taken_ms + 1)).is_err());
        assert_eq!(into.list().unwrap(), Vec::<String>::new(), "a refusal leaves nothing");
    }
}

#[test]
fn a_backup_that_breaks_off_harms_none() {
    for n in 0.. {
        let mut life = Life::new(7, 1024);
        life.write(12);
        life.backup().unwrap();
        let before = life.position();
        life.write(12);
        life.checkpoint();
        life.archive.fail_writes_after(n);
        let result = life.backup();
        let is_through = result.is_ok();
        life.archive = life.archive.crash();
        for position in [0, before / 2, before] {
            life.holds(Until::Position(position), position);
        }
        if is_through {
            life.holds(Until::End, life.position());
            assert!(n > 5, "it writes more than that");
            return;
        }
        life.holds(Until::End, before);
        // The next one finishes it.
        life.write(1);
        assert_eq!(life.backup().unwrap().gap_after, None);
        life.holds(Until::End, life.position());
        life.holds(Until::Position(before + 1), before + 1);
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half() {
    let mut life = Life::new(8, 1024);
    life.write(10);
    life.archive.full_after(700);
    let error = life.backup().unwrap_err();
    assert!(error.is_full() && error.to_string().contains("the copy of"), "{error}");
    assert!(!life.archive.list().unwrap().iter().any(|name| name.ends_with(".tmp")));
    life.archive.free_space();
    life.backup().unwrap();
    life.holds(Until::End, life.position());
}

#[test]
fn damage_of_a_copy_is_found() {
    let mut life = Life::new(5, 1024);
    life.write(6);
    life.checkpoint();
    life.backup().unwrap();
    life.write(3);
    life.backup().unwrap();
    let mut flips = 0;
    for name in life.archive.list().unwrap() {
        let whole = life.archive.content(&name).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            life.archive.put(&name, &bytes);
            let into = FaultyDisk::new(1);
            // The checkpoint's own segment may hold more than the last list names.
            match restore(&life.archive, &into, Until::End) {
                Err(Error::Corrupt { .. }) => flips += 1,
                // Of lists the last one is needed, and the others are left out.
                Err(Error::Refused(why)) if why.contains(&name) => flips += 1,
                Ok(it)
                    if it.position == life.position()
                        && backups(&life.archive).unwrap().damaged.len() == 1 =>
                {
                    flips += 1;
                }
                Err(other) => panic!("{name} at {at}: {other}"),
                Ok(_) => panic!("a flip in {name} at {at} was not found"),
            }
        }
        life.archive.put(&name, &whole);
    }
    assert!(flips > 500, "{flips}");
    life.holds(Until::End, life.position());
}

#[test]
fn a_gap_is_told_and_only_what_is_in_it_is_refused() {
    let mut life = Life::new(9, 256);
    life.keeps = false;
    life.write(6);
    life.checkpoint();
    life.write(2);
    life.backup().unwrap();
    let first = life.position();
    life.write(10);
    life.checkpoint();
    let checkpoint = life.position();
    life.write(3);
    let made = life.backup().unwrap();
    assert_eq!((made.gap_after, made.backup.continues), (Some(first), false));
    let last = life.position();
    life.holds(Until::Position(first), first);
    life.holds(Until::Position(checkpoint), checkpoint);
    life.holds(Until::Position(last), last);
    let refused = |until| match restore(&life.archive, &FaultyDisk::new(1), until) {
        Err(Error::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(
        refused(Until::Position(first + 1))
            .contains(&format!("The last point before is --to-position {first}"))
    );
    assert!(refused(Until::Position(checkpoint - 1)).contains("had lost it"));
    assert!(refused(Until::Position(1)).contains("begin with the state at position"));
    assert!(refused(Until::Position(last + 1)).contains("ends at position"));
}

#[test]
fn another_log_is_refused() {
    let mut life = Life::new(11, 1024);
    life.write(10);
    life.backup().unwrap();
    let saved = life.position();
    // Somebody has restored an older state and goes on with it.
    let into = FaultyDisk::new(1);
    restore(&life.archive, &into, Until::Position(saved - 3)).unwrap();
    let refused = |disk: &FaultyDisk| match backup(disk, &life.archive, 1) {
        Err(Error::Refused(why)) => assert!(why.contains("does not go on where"), "{why}"),
        other => panic!("{other:?}"),
    };
    refused(&into);
    let mut log = open(&into, 1024);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    for position in saved - 2..saved + 20 {
        add(&mut tail, position, b"otherwise");
    }
    log.write(&mut tail).unwrap();
    refused(&into);
    refused(&FaultyDisk::new(1));
}

#[test]
fn damage_of_the_source_is_no_backup() {
    let mut life = Life::new(12, 256);
    life.write(10);
    life.log.syncer().sync().unwrap();
    let name = crate::log::segment_name(1);
    let mut bytes = life.disk.content(&name).unwrap();
    bytes[100] ^= 1;
    life.disk.put(&name, &bytes);
    let error = life.backup().unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    assert!(backups(&life.archive).unwrap().whole.is_empty());
}

#[test]
fn old_backups_go_and_what_is_wanted_stays() {
    let mut life = Life::new(13, 256);
    let mut states = Vec::new();
    for _ in 0..6 {
        life.write(5);
        life.checkpoint();
        states.push((life.position(), life.time()));
        life.write(2);
        life.backup().unwrap();
    }
    let last = life.position();
    assert_eq!(
        prune(&life.archive, states[0].1 - 1).unwrap().backups,
        0,
        "the first state is behind that time"
    );
    let files = life.archive.list().unwrap().len();
    let pruned = prune(&life.archive, states[3].1).unwrap();
    assert!(pruned.backups == 3 && pruned.files > 3, "{pruned:?}");
    assert_eq!(life.archive.list().unwrap().len(), files - pruned.backups - pruned.files);
    for position in states[3].0..=last {
        life.holds(Until::Position(position), position);
    }
    assert!(restore(&life.archive, &FaultyDisk::new(1), Until::Position(states[3].0 - 1)).is_err());
    life.write(5);
    assert_eq!(life.backup().unwrap().gap_after, None);
    life.holds(Until::End, life.position());
}

#[test]
fn a_last_segment_without_a_head_is_no_backup_if_it_had_been_synced() {
    let mut life = Life::new(14, 1 << 20);
    let mut tail = Tail::default();
    for _ in 0..3 {
        let position = life.position() + 1;
        life.written.push(add(&mut tail, position, b"something"));
        life.log.write(&mut tail).unwrap();
        life.log.syncer().sync().unwrap();
    }
    let name = crate::log::segment_name(1);
    let mut bytes = life.disk.content(&name).unwrap();
    bytes[20] ^= 1;
    life.disk.put(&name, &bytes);
    let error = life.backup().unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    assert!(backups(&life.archive).unwrap().whole.is_empty());
    // One that was made a moment ago has nothing in it.
    bytes.fill(0);
    life.disk.put(&name, &bytes);
    assert_eq!(life.backup().unwrap().backup.position, 0);
}

#[test]
fn a_list_that_is_damaged_costs_no_more_than_what_only_it_has() {
    for damaged in 1..=4u64 {
        let mut life = Life::new(15 + damaged, 256);
        let mut ends = Vec::new();
        for _ in 0..4 {
            life.write(5);
            life.checkpoint();
            let state = life.position();
            life.write(3);
            life.backup().unwrap();
            ends.push((state, life.position()));
        }
        let name = crate::archive::listing::backup_name(damaged);
        let mut bytes = life.archive.content(&name).unwrap();
        bytes[30] ^= 1;
        life.archive.put(&name, &bytes);
        let listed = backups(&life.archive).unwrap();
        assert_eq!((listed.whole.len(), listed.damaged.len()), (3, 1));
        assert_eq!(listed.damaged[0].number, damaged);
        // The others are what they were.
        for (i, (state, end)) in ends.iter().enumerate().filter(|(i, _)| *i as u64 + 1 != damaged) {
            for position in *state..=*end {
                life.holds(Until::Position(position), position);
            }
            if i == 3 {
                life.holds(Until::End, *end);
            }
        }
        if damaged == 4 {
            let error = restore(&life.archive, &FaultyDisk::new(1), Until::End).unwrap_err().to_string();
            let last = ends[2].1;
            assert!(error.contains(&name) && error.contains(&format!("--to-position {last}")), "{error}");
        }
        assert_eq!(
            prune(&life.archive, life.time() + 1).unwrap().backups,
            0,
            "nothing is known of its files"
        );
        life.write(5);
        assert_eq!(life.backup().unwrap().backup.number, 5);
        life.holds(Until::End, life.position());
    }
}
