//! Keys whatever they hold, continued: copies, moves between databases, what a value is made of.

use crate::command::{Group, Row, category, flag, keys, read, write};
use crate::commands::integer;
use crate::entry::{Entry, Value};
use crate::{Args, By, DATABASES, DbIndex, Error, Reply, Txn, View};

pub(super) const ROWS: &[Row] = &[
    read("touch", -2, Group::Generic, touch)
        .fast()
        .keys(&[keys(&["RO"], 1, -1, 1)])
        .since("3.2.1")
        .cost("O(N) where N is the number of keys that will be touched.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:AGG_SUM"])
        .says("Counts how many of the keys exist after marking them as used."),
    read("expiretime", 2, Group::Generic, |view, args, reply| expiretime(view, 1_000, args, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("7.0.0")
        .says("Returns the expiration time of a key as a Unix time in seconds."),
    read("pexpiretime", 2, Group::Generic, |view, args, reply| expiretime(view, 1, args, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("7.0.0")
        .says("Returns the expiration time of a key as a Unix time in milliseconds."),
    write("renamenx", 3, Group::Generic, renamenx)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1), keys(&["OW", "INSERT"], 2, 0, 1)])
        .says("Renames a key unless the destination exists."),
    write("copy", -3, Group::Generic, copy)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1), keys(&["OW", "UPDATE"], 2, 0, 1)])
        .since("6.2.0")
        .cost(
            "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
        )
        .says("Copies the value of a key to another key."),
    write("move", 3, Group::Generic, move_key)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .says("Moves a key to another database."),
    write("swapdb", 3, Group::Server, swapdb)
        .fast()
        .also(category::KEYSPACE | category::DANGEROUS)
        .since("4.0.0")
        .cost("O(N) where N is the count of clients watching or blocking on keys from both databases.")
        .says("Swaps two databases."),
    read("object|encoding", 3, Group::Generic, encoding)
        .keys(&[keys(&["RO"], 2, 0, 1)])
        .since("2.2.3")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns how a value is kept."),
    read("memory|usage", -3, Group::Server, usage)
        .keys(&[keys(&["RO"], 2, 0, 1)])
        .since("4.0.0")
        .cost("O(N) where N is the number of samples.")
        .says("Returns about how much memory a key takes."),
    read("object|freq", 3, Group::Generic, freq)
        .keys(&[keys(&["RO"], 2, 0, 1)])
        .since("4.0.0")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns how often a key is used, on a logarithmic scale."),
    read("object|idletime", 3, Group::Generic, idletime)
        .keys(&[keys(&["RO"], 2, 0, 1)])
        .since("2.2.3")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns the seconds since a key was used."),
    read("object|refcount", 3, Group::Generic, refcount)
        .keys(&[keys(&["RO"], 2, 0, 1)])
        .since("2.2.3")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns by how many a value is shared, which is always one."),
];

/// About how many bytes a key takes: as many elements as SAMPLES says stand for the others. (Redis: MEMORY USAGE)
fn usage(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let samples = match (args.get(3), args.get(4)) {
        (None, _) => 5,
        (Some(word), Some(count)) if args.len() == 5 && word.eq_ignore_ascii_case(b"samples") => {
            usize::try_from(integer(count)?).map_err(|_| Error::Syntax)?
        }
        (Some(_), _) => return Err(Error::Syntax),
    };
    match view.find(&args[2]) {
        Some(entry) => reply.integer(entry.memory(if samples == 0 { usize::MAX } else { samples }) as i64),
        None => reply.null(),
    }
    Ok(())
}

fn touch(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let found = args.iter().skip(1).filter_map(|key| view.look_up_unused(key));
    reply.integer(found.map(|entry| view.keyspace.eviction.touch(entry, view.now_ms)).count() as i64);
    Ok(())
}

fn expiretime(view: &View<'_>, unit_ms: u64, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(match view.find(&args[1]).map(Entry::deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => ((at + unit_ms / 2) / unit_ms) as i64,
    });
    Ok(())
}

fn renamenx(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if txn.view().find(&args[1]).is_none() {
        return Err(Error::NoSuchKey);
    }
    let free = txn.view().find(&args[2]).is_none();
    if free {
        txn.rename(&args[1], &args[2]);
    }
    reply.integer(i64::from(free));
    Ok(())
}

fn database(bytes: &[u8], wrong: Error) -> Result<DbIndex, Error> {
    let index = integer(bytes).map_err(|_| wrong)?;
    DbIndex::try_from(index).ok().filter(|index| *index < DATABASES).ok_or(Error::DbOutOfRange)
}

fn copy(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (mut to, mut replace, mut i) = (txn.db, false, 3);
    while let Some(word) = args.get(i) {
        match word.to_ascii_uppercase().as_slice() {
            b"REPLACE" => replace = true,
            b"DB" if i + 1 < args.len() => {
                i += 1;
                to = database(&args[i], Error::NotInteger)?;
            }
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    if to == txn.db && args[1] == args[2] {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    let there = txn.view().find(&args[1]).is_some();
    let free = replace || View { db: to, ..txn.view() }.find(&args[2]).is_none();
    if there && free {
        txn.copy(&args[1], to, &args[2]);
    }
    reply.integer(i64::from(there && free));
    Ok(())
}

fn move_key(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let to = database(&args[2], Error::NotInteger)?;
    if to == txn.db {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    let there = txn.view().find(&args[1]).is_some();
    let free = View { db: to, ..txn.view() }.find(&args[1]).is_none();
    if there && free {
        txn.move_to(&args[1], to);
    }
    reply.integer(i64::from(there && free));
    Ok(())
}

fn swapdb(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let first = database(&args[1], Error::new("ERR invalid first DB index"))?;
    let second = database(&args[2], Error::new("ERR invalid second DB index"))?;
    if first != second {
        txn.swap(first, second);
    }
    reply.ok();
    Ok(())
}

fn encoding(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.find(&args[2]) {
        None => reply.null(),
        Some(entry) => reply.bulk(encoding_of(entry).as_bytes()),
    }
    Ok(())
}

/// As OBJECT ENCODING prints it.
pub(crate) fn encoding_of(entry: &Entry) -> &'static str {
    match entry.value() {
        Value::Integer(_) => "int",
        Value::Bytes(bytes) if bytes.len() <= EMBEDDED_BYTES_MAX && !entry.is_raw() => "embstr",
        Value::Bytes(_) => "raw",
        Value::Object(object) => object.encoding(),
    }
}

/// Longer strings are "raw". (Redis: OBJ_ENCODING_EMBSTR_SIZE_LIMIT)
const EMBEDDED_BYTES_MAX: usize = 44;

fn freq(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let eviction = &view.keyspace.eviction;
    match view.find(&args[2]) {
        None => reply.null(),
        Some(entry) if eviction.policy.by == By::Lfu => {
            reply.integer(eviction.frequency(entry.clock(), view.now_ms).into());
        }
        Some(_) => {
            return Err(Error::new(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
    }
    Ok(())
}

fn idletime(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let eviction = &view.keyspace.eviction;
    match view.find(&args[2]) {
        None => reply.null(),
        Some(entry) if eviction.policy.by != By::Lfu => {
            reply.integer(eviction.idle_seconds(entry.clock(), view.now_ms) as i64);
        }
        Some(_) => {
            return Err(Error::new(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
    }
    Ok(())
}

fn refcount(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.find(&args[2]) {
        Some(_) => reply.integer(1),
        None => reply.null(),
    }
    Ok(())
}
