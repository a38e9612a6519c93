//! What the disk has to do with: starting again from what it has, with nothing of it in memory, and how near to what it can do at
//! all the confirms of publishers come.

use super::pause::{ask, info, wait_for_checkpoint};
use super::peer::{Kind, Peer};
use super::slow_disk::SlowDisk;
use super::{ALL_CORES, generator, held};
use crate::step::{output, target};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a server has when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// So many keys with values of 64 bytes, in its log.
    Keys(u64),
    /// The same, written down as a whole.
    Checkpoint(u64),
    /// So many persistent messages of 1 KiB in one queue.
    Messages(u64),
}

/// Seconds until a server that has been stopped answers again, of which none was in the kernel's cache.
pub(super) fn start_again(kind: Kind, left: Left) -> Result<f64> {
    let mut peer = Peer::start_on(ALL_CORES, kind, &[])?;
    let resp_port = peer.resp_port.to_string();
    match left {
        Left::Keys(count) | Left::Checkpoint(count) => {
            let count = count.to_string();
            let flags = ["--pipeline", "64", "--sequential", "--tests", "set"];
            let counts = ["--keyspace", &count, "--requests", &count];
            generator("resp", &resp_port, &[&flags[..], &counts[..]].concat())?;
        }
        Left::Messages(count) => {
            // Whoever is killed deletes nothing.
            held::begin(&peer, count, "--workload backlog --size 1024 --persistent --durable")?.kill()?;
        }
    }
    if let Left::Checkpoint(_) = left {
        // Redis' snapshot is what BGREWRITEAOF writes, for it starts from its append-only file.
        ask(peer.resp_port, "BGREWRITEAOF")?;
        wait_for_checkpoint(peer.resp_port)?;
    }
    peer.stop()?;
    drop_caches()?;
    peer.start_again()?;
    let after = if let Left::Messages(_) = left { peer.amqp_after } else { peer.resp_after };
    after.map(|after| after.as_secs_f64()).context("it has not answered")
}

/// Everything that is on disk has to be read from there again.
fn drop_caches() -> Result<()> {
    output(Command::new("sync"))?;
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .context("the kernel's cache cannot be emptied (are you root?)")
}

const RAW_SYNCS: u32 = 4000;
const RAW_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How many syncs a second there were while persistent messages were confirmed, of a hundred that the disk does of as many
/// bytes each when nobody does anything else. The disk may be slowed down to so many `writes` a second.
pub(super) fn group_commits(kind: Kind, messages: u64, flags: &str, writes: Option<u32>) -> Result<f64> {
    let _slow = writes.map(|writes| SlowDisk::of(&target(), writes)).transpose()?;
    let peer = Peer::start_on(ALL_CORES, kind, &[])?;
    let port = peer.amqp_port.to_string();
    let confirmed = ["--workload", "confirm", "--persistent", "--durable"];
    // The first segment grows, which takes the file system's own writes: it is left for one that is prepared.
    generator("amqp", &port, &[&confirmed[..], &["--messages", "40000"]].concat())?;
    std::thread::sleep(Duration::from_secs(2));
    generator("amqp", &port, &[&confirmed[..], &["--messages", "100"]].concat())?;
    let before = (syncs(&peer)?, log_bytes(&peer)?);
    let count = messages.to_string();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let all = [&confirmed[..], &["--messages", &count], &flags[..]].concat();
    let report = generator("amqp", &port, &all)?;
    let syncs = syncs(&peer)? - before.0;
    let bytes = (log_bytes(&peer)? - before.1) / syncs;
    let seconds = messages as f64 / report["per_second"].as_f64().context("the load has printed no rate")?;
    let (rate, raw) = (syncs / seconds, raw_syncs(&peer, bytes as usize)?);
    eprintln!("    {rate:.0} syncs a second of {raw:.0}");
    Ok(100.0 * rate / raw)
}

const DRAINED: &str = "drained";
/// Of what is drained hardly anything is in memory.
const DRAIN_MEMORY: &str = "64mb";

/// The rate at which a backlog comes that only the disk has, of a hundred that the disk gives when its files are read one
/// behind the other.
pub(super) fn drain(kind: Kind, count: u64, size: u64) -> Result<f64> {
    let mut peer = Peer::start_on(ALL_CORES, kind, &["--message-memory", DRAIN_MEMORY])?;
    let flags = format!("--workload backlog --queue {DRAINED} --size {size} --persistent --durable");
    // Whoever is killed deletes nothing.
    held::begin(&peer, count, &flags)?.kill()?;
    peer.stop()?;
    // A virtual machine's disk may be in the memory of its host: it is there for both.
    let mut sequential = 0.0;
    for _ in 0..2 {
        drop_caches()?;
        sequential = sequential_rate(&peer.data_dir())?;
    }
    peer.start_again()?;
    // A start reads the log, too.
    drop_caches()?;
    let (count_text, size_text) = (count.to_string(), size.to_string());
    let flags = ["--workload", "drain", "--queue", DRAINED, "--size", &size_text, "--durable", "--messages"];
    let report = generator("amqp", &peer.amqp_port.to_string(), &[&flags[..], &[&count_text]].concat())?;
    let rate = report["per_second"].as_f64().context("the load has printed no rate")? * size as f64;
    eprintln!("    {:.0} MB/s of {:.0} MB/s", rate / 1e6, sequential / 1e6);
    Ok(100.0 * rate / sequential)
}

/// Bytes a second of all files of a directory, read one behind the other.
fn sequential_rate(dir: &Path) -> Result<f64> {
    let (mut bytes, mut piece, begun) = (0, vec![0; 1024 * 1024], Instant::now());
    let mut files = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    for path in files.iter().filter(|path| path.is_file()) {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut piece)? {
                0 => break,
                len => bytes += len,
            }
        }
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

/// Syncs a second of so many bytes each, one behind the other into a file that is there already.
fn raw_syncs(peer: &Peer, bytes: usize) -> Result<f64> {
    let file = File::create(peer.dir().join("raw"))?;
    file.write_all_at(&vec![0; RAW_FILE_BYTES as usize], 0)?;
    file.sync_all()?;
    let (block, mut offset, begun) = (vec![1; bytes], 0, Instant::now());
    for _ in 0..RAW_SYNCS {
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        offset += bytes as u64;
        if offset + bytes as u64 > RAW_FILE_BYTES {
            offset = 0;
        }
    }
    Ok(f64::from(RAW_SYNCS) / begun.elapsed().as_secs_f64())
}

/// How long the log is. (Redis: INFO persistence)
fn log_bytes(peer: &Peer) -> Result<f64> {
    let text = info(peer.resp_port, "persistence")?;
    let line = text.lines().find_map(|line| line.strip_prefix("aof_current_size:"));
    Ok(line.context("INFO does not say how long the log is")?.trim().parse()?)
}

/// How often the server has synced its log, from `/metrics`.
fn syncs(peer: &Peer) -> Result<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", peer.http_port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("leveret_log_syncs_total "));
    Ok(line.context("/metrics says nothing of syncs")?.trim().parse()?)
}
