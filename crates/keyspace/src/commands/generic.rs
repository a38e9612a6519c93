//! Keys whatever they hold: deletion, expiry, iteration, renaming.

use crate::command::{Group, Row, category, flag, keys, read, write};
use crate::commands::{ScanOptions, deadline, integer, scan_options};
use crate::db::is_overdue;
use crate::txn::type_name;
use crate::{Args, Error, Reply, Txn, View, glob};

const ANY_ORDER: &[&str] = &["NONDETERMINISTIC_OUTPUT"];

pub(super) const ROWS: &[Row] = &[
    write("del", -2, Group::Generic, del)
        .keys(&[keys(&["RM", "DELETE"], 1, -1, 1)])
        .cost("O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:AGG_SUM"])
        .says("Deletes keys."),
    write("unlink", -2, Group::Generic, del)
        .fast()
        .keys(&[keys(&["RM", "DELETE"], 1, -1, 1)])
        .since("4.0.0")
        .cost("O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:AGG_SUM"])
        .says("Deletes keys and frees their memory later."),
    read("exists", -2, Group::Generic, exists)
        .fast()
        .keys(&[keys(&["RO"], 1, -1, 1)])
        .cost("O(N) where N is the number of keys to check.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:AGG_SUM"])
        .says("Counts how many of the keys exist."),
    read("type", 2, Group::Generic, type_of).fast().keys(&[keys(&["RO"], 1, 0, 1)]).says("Returns the type of the value under a key."),
    write("expire", -3, Group::Generic, |txn, args, reply| expire(txn, "expire", 1_000, true, args, reply))
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .says("Sets the time to live of a key in seconds."),
    write("pexpire", -3, Group::Generic, |txn, args, reply| expire(txn, "pexpire", 1, true, args, reply))
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("2.6.0")
        .says("Sets the time to live of a key in milliseconds."),
    write("expireat", -3, Group::Generic, |txn, args, reply| expire(txn, "expireat", 1_000, false, args, reply))
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("1.2.0")
        .says("Sets the expiration time of a key as a Unix time in seconds."),
    write("pexpireat", -3, Group::Generic, |txn, args, reply| expire(txn, "pexpireat", 1, false, args, reply))
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("2.6.0")
        .says("Sets the expiration time of a key as a Unix time in milliseconds."),
    read("ttl", 2, Group::Generic, |view, args, reply| ttl(view, 1_000, args, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .tips(ANY_ORDER)
        .says("Returns the time to live of a key in seconds."),
    read("pttl", 2, Group::Generic, |view, args, reply| ttl(view, 1, args, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.6.0")
        .tips(ANY_ORDER)
        .says("Returns the time to live of a key in milliseconds."),
    write("persist", 2, Group::Generic, persist)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("2.2.0")
        .says("Removes the expiration time of a key."),
    read("keys", 2, Group::Generic, keys_matching)
        .also(category::DANGEROUS)
        .cost("O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns all keys that match a pattern."),
    read("scan", -2, Group::Generic, scan)
        .flags(flag::TOUCHES_ARBITRARY_KEYS)
        .since("2.8.0")
        .cost("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .tips(&["NONDETERMINISTIC_OUTPUT", "REQUEST_POLICY:SPECIAL", "RESPONSE_POLICY:SPECIAL"])
        .says("Iterates over the keys of the database."),
    read("dbsize", 1, Group::Server, dbsize)
        .fast()
        .also(category::KEYSPACE)
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:AGG_SUM"])
        .says("Returns the number of keys in the database."),
    write("flushdb", -1, Group::Server, |txn, args, reply| flush(txn, args, false, reply))
        .also(category::KEYSPACE | category::DANGEROUS)
        .cost("O(N) where N is the number of keys in the selected database")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Removes all keys from the current database."),
    write("flushall", -1, Group::Server, |txn, args, reply| flush(txn, args, true, reply))
        .flags(flag::ALL_DBS)
        .also(category::KEYSPACE | category::DANGEROUS)
        .cost("O(N) where N is the total number of keys in all databases")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Removes all keys from all databases."),
    read("randomkey", 1, Group::Generic, randomkey)
        .flags(flag::TOUCHES_ARBITRARY_KEYS)
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:SPECIAL", "NONDETERMINISTIC_OUTPUT"])
        .says("Returns a random key of the database."),
    write("rename", 3, Group::Generic, rename)
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1), keys(&["OW", "UPDATE"], 2, 0, 1)])
        .says("Renames a key and overwrites the destination."),
];

fn del(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut count = 0;
    for key in args.iter().skip(1) {
        txn.reap(key);
        count += i64::from(txn.delete(key));
    }
    reply.integer(count);
    Ok(())
}

fn exists(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(args.iter().skip(1).filter(|key| view.look_up_unused(key).is_some()).count() as i64);
    Ok(())
}

fn type_of(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.simple(view.find(&args[1]).map_or("none", type_name));
    Ok(())
}

fn expire(
    txn: &mut Txn<'_>,
    command: &'static str,
    unit_ms: i64,
    relative: bool,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in args.iter().skip(3) {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => nx = true,
            b"XX" => xx = true,
            b"GT" => gt = true,
            b"LT" => lt = true,
            _ => {
                let option = String::from_utf8_lossy(option).into_owned();
                return Err(Error::Other(format!("ERR Unsupported option {option}").into()));
            }
        }
    }
    if nx && (xx || gt || lt) {
        return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if gt && lt {
        return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
    }
    let base_ms = if relative { txn.now_ms } else { 0 };
    let at = deadline(command, integer(&args[2])?, unit_ms, base_ms)?;
    let Some(entry) = txn.view().find(&args[1]) else {
        reply.integer(0);
        return Ok(());
    };
    // No deadline counts as infinitely far.
    let refused = match entry.deadline() {
        Some(current) => nx || (gt && at <= current as i64) || (lt && at >= current as i64),
        None => xx || gt,
    };
    if !refused {
        if at > txn.now_ms as i64 {
            txn.set_deadline(&args[1], Some(at as u64));
        } else {
            txn.delete(&args[1]);
        }
    }
    reply.integer(i64::from(!refused));
    Ok(())
}

fn ttl(view: &View<'_>, unit_ms: u64, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(match view.find(&args[1]).map(crate::entry::Entry::deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => ((at - view.now_ms + unit_ms / 2) / unit_ms) as i64,
    });
    Ok(())
}

fn persist(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let had = txn.view().find(&args[1]).is_some_and(|entry| entry.deadline().is_some());
    if had {
        txn.set_deadline(&args[1], None);
    }
    reply.integer(i64::from(had));
    Ok(())
}

fn keys_matching(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let db = &view.keyspace.dbs[view.db as usize];
    let matching: Vec<&[u8]> = db
        .table
        .iter()
        .filter(|entry| !is_overdue(entry, view.now_ms) && glob::matches(&args[1], entry.key()))
        .map(crate::entry::Entry::key)
        .collect();
    reply.array(matching.len());
    matching.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

fn scan(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let ScanOptions { cursor, count, pattern, of_type, .. } = scan_options(args, 1, false)?;
    let db = &view.keyspace.dbs[view.db as usize];
    let mut found = Vec::new();
    let next = db.table.scan(
        cursor,
        count,
        |entry| view.keyspace.hash(entry.key()),
        |entry| {
            let wanted = !is_overdue(entry, view.now_ms)
                && pattern.is_none_or(|pattern| glob::matches(pattern, entry.key()))
                && of_type.as_ref().is_none_or(|name| name == type_name(entry).as_bytes());
            if wanted {
                found.push(entry.key());
            }
        },
    );
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

fn dbsize(view: &View<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(view.keyspace.len(view.db) as i64);
    Ok(())
}

fn flush(txn: &mut Txn<'_>, args: Args<'_>, all: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mode_is_known = args
        .get(1)
        .is_none_or(|mode| mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync"));
    if args.len() > 2 || !mode_is_known {
        return Err(Error::Syntax);
    }
    let home = txn.db;
    for db in if all { 0..crate::DATABASES } else { home..home + 1 } {
        txn.select(db);
        if txn.keyspace.dbs[db as usize].table.is_empty() {
            // Who keeps what was not there hears of it as well.
            txn.keyspace.watches.flushed(db, |_| false);
        } else {
            txn.flush();
        }
    }
    txn.select(home);
    reply.ok();
    Ok(())
}

fn randomkey(view: &View<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut rng = fastrand::Rng::with_seed(view.seed);
    let db = &view.keyspace.dbs[view.db as usize];
    // Overdue keys are absent; after a hundred of them Redis gives up as well.
    let key = (0..100)
        .find_map(|_| db.table.random(|n| rng.usize(..n)).filter(|entry| !is_overdue(entry, view.now_ms)));
    match key {
        Some(entry) => reply.bulk(entry.key()),
        None => reply.null(),
    }
    Ok(())
}

fn rename(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if txn.view().find(&args[1]).is_none() {
        return Err(Error::NoSuchKey);
    }
    if args[1] != args[2] {
        txn.rename(&args[1], &args[2]);
    }
    reply.ok();
    Ok(())
}
