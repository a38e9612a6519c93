//! Measures the ways of a turn's bytes to the disk, and the log itself: `cargo run --release -p leveret-wal --example
//! write_paths [directory]`. The directory must lie on the disk that is meant; it is removed in the end.
#![allow(clippy::print_stdout)]

use leveret_wal::{Disk, Head, Log, Options, Tail};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SEGMENT: usize = 64 * 1024 * 1024;

/// Where the bytes of a turn go.
enum Target {
    Pwrite(File),
    Map(*mut u8, File),
}

// SAFETY: the map is written by one thread; the flusher uses only the file.
unsafe impl Sync for Target {}

fn target(path: &Path, filled: bool, map: bool) -> Target {
    let file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).expect("a file");
    if filled {
        for i in 0..SEGMENT / (1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], (i << 20) as u64).expect("zeros");
        }
        file.sync_all().expect("sync");
    }
    if !map {
        return Target::Pwrite(file);
    }
    let (prot, flags) =
        (rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE, rustix::mm::MapFlags::SHARED);
    // SAFETY: a fresh map of a whole file that keeps its length while it is mapped.
    let at =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), SEGMENT, prot, flags, &file, 0) }.expect("a map");
    Target::Map(at.cast(), file)
}

impl Target {
    fn file(&self) -> &File {
        match self {
            Target::Pwrite(file) | Target::Map(_, file) => file,
        }
    }

    fn write(&self, bytes: &[u8], offset: usize) {
        match self {
            Target::Pwrite(file) => file.write_all_at(bytes, offset as u64).expect("write"),
            Target::Map(at, _) => {
                assert!(offset + bytes.len() <= SEGMENT, "inside the map");
                // SAFETY: asserted to be inside; nobody else touches these bytes.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.add(offset), bytes.len()) };
            }
        }
    }
}

fn percentile(sorted: &[Duration], p: f64) -> f64 {
    let at = ((sorted.len() as f64 * p) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e6)
}

fn turns(directory: &Path, turn: usize, filled: bool, map: bool) {
    let path = directory.join("measured");
    let target = target(&path, filled, map);
    let bytes = vec![7; turn];
    let count = (SEGMENT / turn).min(16_384);
    let (stop, mut took) = (AtomicBool::new(false), Vec::with_capacity(count));
    let mut syncs = 0;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut syncs = 0;
            while !stop.load(Ordering::Acquire) {
                target.file().sync_data().expect("sync");
                syncs += 1;
            }
            syncs
        });
        for i in 0..count {
            let at = Instant::now();
            target.write(&bytes, i * turn);
            took.push(at.elapsed());
        }
        stop.store(true, Ordering::Release);
        syncs = flusher.join().expect("the flusher does not panic");
    });
    let all = begun.elapsed();
    took.sort_unstable();
    let mean = took.iter().sum::<Duration>().as_secs_f64() * 1e6 / count as f64;
    println!(
        "| {} | {} | {} KiB | {mean:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {syncs} |",
        if map { "map" } else { "pwrite" },
        if filled { "zero-filled" } else { "growing" },
        turn / 1024,
        percentile(&took, 0.5),
        percentile(&took, 0.99),
        percentile(&took, 1.0),
        (count * turn) as f64 / 1e6 / all.as_secs_f64(),
    );
    if let Target::Map(at, _) = &target {
        // SAFETY: the map made above, not used any more.
        unsafe { rustix::mm::munmap(at.cast(), SEGMENT) }.expect("unmap");
    }
    std::fs::remove_file(path).expect("remove");
}

fn record(tail: &mut Tail, position: u64, len: usize) {
    tail.begin();
    tail.changes().extend(std::iter::repeat_n(5, len));
    tail.commit(Head { kind: 1, partition: 0, term: 1, position, time_ms: 1_700_000_000_000 });
}

fn whole_log(directory: &Path) {
    let open = || {
        let disk = Disk::open(directory).expect("a directory");
        let mut log = Log::open(Arc::new(disk), Options::default()).expect("a log");
        let mut bytes = 0;
        let begun = Instant::now();
        let summary = log.replay(&mut |record| {
            bytes += record.changes.len();
            Ok(())
        });
        (log, summary.expect("what was written is valid"), begun.elapsed())
    };
    let (mut log, _, empty) = open();
    println!("\nopening an empty directory: {:.2} ms", empty.as_secs_f64() * 1e3);
    let (syncer, mut tail, mut position) = (log.syncer(), Tail::default(), 0);
    let begun = Instant::now();
    let mut groups = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        for _ in 0..50 {
            position += 1;
            record(&mut tail, position, 90);
        }
        log.write(&mut tail).expect("write");
        syncer.sync().expect("sync");
        groups += 1;
    }
    println!(
        "group commit of 50 records of 90 bytes: {:.0} syncs/s",
        f64::from(groups) / begun.elapsed().as_secs_f64()
    );
    let (begun, before) = (Instant::now(), position);
    for _ in 0..8_000 {
        for _ in 0..400 {
            position += 1;
            record(&mut tail, position, 90);
        }
        log.write(&mut tail).expect("write");
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "append and write, 400 records a turn: {:.1} ns/record",
        took * 1e9 / (position - before) as f64
    );
    syncer.sync().expect("sync");
    drop((log, syncer));
    let (_, summary, took) = open();
    let rate = summary.bytes as f64 / 1e6 / took.as_secs_f64();
    println!("replay of {} records, {} MB: {rate:.0} MB/s", summary.records, summary.bytes / 1_000_000);
}

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = base.join(format!("leveret-write-paths-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    println!(
        "| way | file | turn | mean µs | p50 | p99 | max | MB/s | syncs |\n|---|---|---|---|---|---|---|---|---|"
    );
    for turn in [1024, 16 * 1024, 64 * 1024] {
        for (filled, map) in [(false, false), (true, false), (true, true)] {
            turns(&directory, turn, filled, map);
        }
    }
    whole_log(&directory);
    std::fs::remove_dir_all(directory).expect("remove");
}
