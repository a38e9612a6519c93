//! The server as a whole: its time, its role, what it has on disk.

use super::{Function, LOADING_STALE, container, help, session};
use crate::resp::session::Call;
use crate::shared::resident_bytes;
use leveret_cluster::{Level, Levels};
use leveret_engine::keyspace::command::{Group, Row, Run};
use leveret_engine::keyspace::{Error, Reply, category, flag, parse_integer};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{SystemTime, UNIX_EPOCH};

/// The Redis version whose behaviour clients may expect.
pub(crate) const REDIS_VERSION: &str = "7.4.0";

const SHUTDOWN: u32 =
    LOADING_STALE | flag::ADMIN | flag::NOSCRIPT | flag::NO_MULTI | flag::ALLOW_BUSY | flag::SENTINEL;
const REPLICATION: u32 = flag::ADMIN | flag::NOSCRIPT | flag::NO_ASYNC_LOADING | flag::STALE;
const ALL_SHARDS: &str = "REQUEST_POLICY:ALL_SHARDS";
const SPECIAL: &[&str] = &["NONDETERMINISTIC_OUTPUT", ALL_SHARDS, "RESPONSE_POLICY:SPECIAL"];

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("object", Group::Generic, 0).since("2.2.3").cost("Depends on subcommand."),
    session("object|help", 2, Group::Generic, LOADING_STALE, |call| help(call, "OBJECT"))
        .since("6.2.0")
        .says("Lists the subcommands."),
    container("xgroup", Group::Stream, 0).since("5.0.0").cost("Depends on subcommand."),
    session("xgroup|help", 2, Group::Stream, LOADING_STALE, |call| help(call, "XGROUP"))
        .since("5.0.0")
        .says("Lists the subcommands."),
    container("xinfo", Group::Stream, 0).since("5.0.0").cost("Depends on subcommand."),
    session("xinfo|help", 2, Group::Stream, LOADING_STALE, |call| help(call, "XINFO"))
        .since("5.0.0")
        .says("Lists the subcommands."),
    session("time", 1, Group::Server, LOADING_STALE | flag::FAST, time)
        .since("2.6.0")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns the server's time."),
    session("role", 1, Group::Server, LOADING_STALE | flag::NOSCRIPT | flag::FAST | flag::SENTINEL, role)
        .since("2.8.12")
        .also(category::ADMIN | category::DANGEROUS)
        .says("Returns the server's part in replication."),
    session("replicaof", 3, Group::Server, REPLICATION, replicaof)
        .since("5.0.0")
        .says("Follows another server, which is not possible yet, or none."),
    session("slaveof", 3, Group::Server, REPLICATION, replicaof)
        .says("Follows another server, which is not possible yet, or none."),
    session("lolwut", -1, Group::Server, flag::READONLY | flag::FAST, lolwut)
        .since("5.0.0")
        .says("Draws a hare."),
    container("memory", Group::Server, 0).since("4.0.0").cost("Depends on subcommand."),
    session("memory|doctor", 2, Group::Server, 0, doctor)
        .since("4.0.0")
        .tips(SPECIAL)
        .says("Tells in words how memory stands."),
    session("memory|malloc-stats", 2, Group::Server, flag::LOADING, malloc_stats)
        .since("4.0.0")
        .cost("Depends on how much memory is allocated, could be slow")
        .tips(SPECIAL)
        .says("Returns what the allocator has to tell."),
    session("memory|purge", 2, Group::Server, flag::LOADING, purge)
        .since("4.0.0")
        .cost("Depends on how much memory is allocated, could be slow")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Gives memory that is not in use back to the system."),
    session("memory|stats", 2, Group::Server, 0, stats)
        .since("4.0.0")
        .tips(SPECIAL)
        .says("Returns what memory is used for."),
    session("memory|help", 2, Group::Server, LOADING_STALE, |call| help(call, "MEMORY"))
        .since("4.0.0")
        .says("Lists the subcommands."),
    session("shutdown", -1, Group::Server, SHUTDOWN, shutdown)
        .cost("O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)")
        .says("Stops the server; everything is on disk then."),
    container("module", Group::Server, 0).since("4.0.0").cost("Depends on subcommand."),
    session("module|list", 2, Group::Server, flag::ADMIN | flag::NOSCRIPT, |call| {
        call.reply.array(0);
        Ok(())
    })
    .since("4.0.0")
    .cost("O(N) where N is the number of loaded modules.")
    .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
    .says("Returns the loaded modules; there are none."),
    session("module|help", 2, Group::Server, LOADING_STALE, |call| help(call, "MODULE"))
        .since("5.0.0")
        .says("Lists the subcommands."),
    session("wait", 3, Group::Generic, flag::BLOCKING, wait)
        .since("3.0.0")
        .apart()
        .also(category::CONNECTION)
        .tips(&[ALL_SHARDS, "RESPONSE_POLICY:AGG_MIN"])
        .says("Waits until replicas have what was written; there are none."),
    session("waitaof", 4, Group::Generic, flag::BLOCKING, waitaof)
        .since("7.2.0")
        .apart()
        .also(category::CONNECTION)
        .tips(&[ALL_SHARDS, "RESPONSE_POLICY:AGG_MIN"])
        .says("Waits until this server's disk has what was written, and replicas'; there are none."),
];

fn time(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    call.reply.array(2);
    call.reply.bulk(now.as_secs().to_string().as_bytes());
    call.reply.bulk(now.subsec_micros().to_string().as_bytes());
    Ok(())
}

fn role(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(call.engine.position() as i64);
    call.reply.array(0);
    Ok(())
}

fn lolwut(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let hare = format!(
        "  (\\(\\\n  ( -.-)\n  o_(\")(\")\n\nLeveret {}, Redis ver. {REDIS_VERSION}\n",
        env!("CARGO_PKG_VERSION")
    );
    call.reply.verbatim("txt", &hare);
    Ok(())
}

fn doctor(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let used = call.shared.used_bytes(call.engine.now_ms());
    let limit = match call.shared.settings.memory_max.load(Relaxed) {
        0 => "there is no limit".into(),
        max => format!("the limit is {} MiB", max >> 20),
    };
    let text = format!(
        "{} MiB are in use, the most was {} MiB, {limit}; {} MiB are resident.\n",
        used >> 20,
        call.shared.memory.peak() >> 20,
        resident_bytes() >> 20
    );
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn malloc_stats(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let report = (call.shared.settings.allocator.report)();
    call.reply.verbatim("txt", &report);
    Ok(())
}

fn purge(call: &mut Call<'_, '_>) -> Result<(), Error> {
    (call.shared.settings.allocator.purge)();
    call.reply.ok();
    Ok(())
}

fn stats(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let used = call.shared.used_bytes(call.engine.now_ms());
    let (at_start, peak) = (call.shared.memory.at_start, call.shared.memory.peak());
    let keys: usize = (0..leveret_engine::keyspace::DATABASES).map(|db| call.engine.keyspace.len(db)).sum();
    let facts = [
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", at_start),
        ("keys.count", keys as u64),
        ("keys.bytes-per-key", used.saturating_sub(at_start) / keys.max(1) as u64),
        ("dataset.bytes", used.saturating_sub(at_start)),
    ];
    call.reply.map(facts.len());
    for (name, value) in facts {
        call.reply.bulk(name.as_bytes());
        call.reply.integer(value as i64);
    }
    Ok(())
}

fn wait(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let replicas = parse_integer(&call.args[1]);
    replicas.ok_or(Error::NotInteger)?;
    timeout(call, 2)?;
    // DEVIATION: nobody replicates, and nobody will: there is nothing to wait for.
    call.reply.integer(0);
    Ok(())
}

/// There is nothing to save and nobody to wait for: whatever is asked for is what is done. (Redis: SHUTDOWN)
fn replicaof(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if !call.args[1].eq_ignore_ascii_case(b"no") || !call.args[2].eq_ignore_ascii_case(b"one") {
        return Err(Error::new("ERR this server cannot follow another one yet"));
    }
    // It follows nobody already.
    call.reply.ok();
    Ok(())
}

fn shutdown(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let (mut save, mut nosave, mut abort) = (false, false, false);
    for word in call.args.iter().skip(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"abort" => abort = true,
            b"now" | b"force" => {}
            _ => return Err(Error::Syntax),
        }
    }
    if (save && nosave) || (abort && call.args.len() > 2) {
        return Err(Error::Syntax);
    }
    if abort {
        return Err(Error::new("ERR No shutdown in progress."));
    }
    (call.shared.settings.stop)();
    call.session.quitting = true;
    Ok(())
}

/// The milliseconds in `args[i]`, 0 for ever, as a deadline.
fn timeout(call: &Call<'_, '_>, i: usize) -> Result<Option<u64>, Error> {
    let ms =
        parse_integer(&call.args[i]).ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TimeoutNegative)?;
    Ok((ms > 0).then(|| call.engine.now_ms().saturating_add(ms)))
}

fn waitaof(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted = parse_integer(&call.args[1]).ok_or(Error::NotInteger)?;
    let wanted = (0..=1).contains(&wanted).then_some(wanted == 1);
    let wanted = wanted.ok_or(Error::new("ERR value is out of range, value must between 0 and 1"))?;
    let replicas = parse_integer(&call.args[2]).ok_or(Error::NotInteger)?;
    if replicas < 0 {
        return Err(Error::MustBePositive);
    }
    let deadline = timeout(call, 3)?;
    let mark = call.reply.mark();
    let synced = call.shared.levels.level(Level::Synced) >= call.engine.position();
    on_disk(call.reply, synced);
    if wanted && !synced && call.may_block {
        let timeout_reply = call.reply.since(mark).to_vec();
        call.reply.truncate(mark);
        let answer = Run::Read(|_, _, reply| {
            on_disk(reply, true);
            Ok(())
        });
        call.engine.wait_for_sync(call.session.id, answer, call.args, deadline, &timeout_reply);
        call.shared.sync_waiters.store(call.engine.sync_waiters_count(), Release);
    }
    Ok(())
}

/// How many disks have it: this server's, and those of replicas.
fn on_disk(reply: &mut Reply<'_>, synced: bool) {
    reply.array(2);
    reply.integer(i64::from(synced));
    reply.integer(0);
}
