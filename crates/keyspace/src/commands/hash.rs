//! Hashes. The deadlines of their fields are in `hash/deadlines.rs`.

mod deadlines;
mod random;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{arguments, integer, scan_options};
use crate::decimal::Wide;
use crate::event;
use crate::values::Hash;
use crate::{Args, Error, Reply, Txn, View, glob};

const RO: &[&str] = &["RO"];
const GET: &[&str] = &["RO", "ACCESS"];
const SET: &[&str] = &["RW", "UPDATE"];
const INSERT: &[&str] = &["RW", "INSERT"];
const COUNT: &[&str] = &["RW", "ACCESS", "UPDATE"];
const ALL: &str = "O(N) where N is the size of the hash.";
const EACH: &str = "O(N) where N is the number of fields named.";

pub(super) const ROWS: &[Row] = &[
    write("hset", -4, Group::Hash, hset)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(SET, 1, 0, 1)])
        .since("2.0.0")
        .cost("O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.")
        .says("Sets fields of a hash, which is created if it is missing."),
    write("hmset", -4, Group::Hash, hmset)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(SET, 1, 0, 1)])
        .since("2.0.0")
        .cost(EACH)
        .says("Sets fields of a hash. HSET does the same and says how many are new."),
    write("hsetnx", 4, Group::Hash, hsetnx)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(INSERT, 1, 0, 1)])
        .since("2.0.0")
        .says("Sets a field of a hash that does not exist."),
    read("hget", 3, Group::Hash, hget)
        .fast()
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.0.0")
        .says("Returns the value of a field of a hash."),
    read("hmget", -3, Group::Hash, hmget)
        .fast()
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.0.0")
        .cost(EACH)
        .says("Returns the values of fields of a hash."),
    read("hgetall", 2, Group::Hash, |view, args, reply| everything(view, args, true, true, reply))
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.0.0")
        .cost(ALL)
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns all fields and values of a hash."),
    read("hkeys", 2, Group::Hash, |view, args, reply| everything(view, args, true, false, reply))
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.0.0")
        .cost(ALL)
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns all fields of a hash."),
    read("hvals", 2, Group::Hash, |view, args, reply| everything(view, args, false, true, reply))
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.0.0")
        .cost(ALL)
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns all values of a hash."),
    read("hlen", 2, Group::Hash, hlen)
        .fast()
        .keys(&[keys(RO, 1, 0, 1)])
        .since("2.0.0")
        .says("Returns the number of fields of a hash."),
    read("hexists", 3, Group::Hash, hexists)
        .fast()
        .keys(&[keys(RO, 1, 0, 1)])
        .since("2.0.0")
        .says("Tells whether a field of a hash exists."),
    read("hstrlen", 3, Group::Hash, hstrlen)
        .fast()
        .keys(&[keys(RO, 1, 0, 1)])
        .since("3.2.0")
        .says("Returns the length of the value of a field of a hash."),
    write("hdel", -3, Group::Hash, hdel)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("2.0.0")
        .cost(EACH)
        .says("Removes fields of a hash; the key goes with the last one."),
    write("hincrby", 4, Group::Hash, hincrby)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(COUNT, 1, 0, 1)])
        .since("2.0.0")
        .says("Adds a number to the integer value of a field; a missing field counts as 0."),
    write("hincrbyfloat", 4, Group::Hash, hincrbyfloat)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(COUNT, 1, 0, 1)])
        .since("2.6.0")
        .says("Adds a number to the floating point value of a field; a missing field counts as 0."),
    read("hscan", -3, Group::Hash, hscan)
        .keys(&[keys(GET, 1, 0, 1)])
        .since("2.8.0")
        .cost("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Visits the fields of a hash in slices."),
    random::ROW,
];

pub(super) use deadlines::ROWS as DEADLINE_ROWS;

fn pairs<'a>(
    args: &Args<'a>,
    command: &'static str,
) -> Result<impl ExactSizeIterator<Item = &'a [u8]> + Clone, Error> {
    if !args.len().is_multiple_of(2) {
        return Err(Error::WrongArity(command.into()));
    }
    Ok(arguments(*args, 2))
}

fn hset(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let fields = pairs(&args, "hset")?;
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let added = txn.hash_set(&args[1], false, fields);
    reply.integer(added as i64);
    Ok(())
}

fn hmset(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let fields = pairs(&args, "hmset")?;
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    txn.hash_set(&args[1], false, fields);
    reply.ok();
    Ok(())
}

fn hsetnx(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let missing = txn.collection::<Hash>(&args[1])?.is_none_or(|hash| hash.find(&args[2]).is_none());
    if missing {
        txn.hash_set(&args[1], false, arguments(args, 2));
    }
    reply.integer(i64::from(missing));
    Ok(())
}

fn reply_value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

fn hget(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    let field = hash.and_then(|hash| hash.find_live(&args[2], view.now_ms));
    reply_value(reply, field.as_ref().map(|field| &*field.value));
    Ok(())
}

fn hmget(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    reply.array(args.len() - 2);
    for name in arguments(args, 2) {
        let field = hash.and_then(|hash| hash.find_live(name, view.now_ms));
        reply_value(reply, field.as_ref().map(|field| &*field.value));
    }
    Ok(())
}

fn everything(
    view: &View<'_>,
    args: Args<'_>,
    names: bool,
    values: bool,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    let count = hash.map_or(0, |hash| hash.live_count(view.now_ms));
    if names && values {
        reply.map(count);
    } else {
        reply.array(count);
    }
    let fields = hash.into_iter().flat_map(Hash::iter).filter(|field| !field.is_overdue(view.now_ms));
    for field in fields {
        if names {
            reply.bulk(&field.name);
        }
        if values {
            reply.bulk(&field.value);
        }
    }
    Ok(())
}

fn hlen(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    reply.integer(hash.map_or(0, |hash| hash.live_count(view.now_ms)) as i64);
    Ok(())
}

fn hexists(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    let found = hash.is_some_and(|hash| hash.find_live(&args[2], view.now_ms).is_some());
    reply.integer(i64::from(found));
    Ok(())
}

fn hstrlen(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let hash = view.collection::<Hash>(&args[1])?;
    let field = hash.and_then(|hash| hash.find_live(&args[2], view.now_ms));
    reply.integer(field.map_or(0, |field| field.value.len()) as i64);
    Ok(())
}

fn hdel(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let there = txn
        .collection::<Hash>(&args[1])?
        .is_some_and(|hash| arguments(args, 2).any(|name| hash.find(name).is_some()));
    let gone = if there { txn.hash_delete(&args[1], arguments(args, 2)) } else { 0 };
    reply.integer(gone as i64);
    Ok(())
}

fn hincrby(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let by = integer(&args[3])?;
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let before = match txn.collection::<Hash>(&args[1])?.and_then(|hash| hash.find(&args[2])) {
        Some(field) => {
            crate::parse_integer(&field.value).ok_or(Error::new("ERR hash value is not an integer"))?
        }
        None => 0,
    };
    let after = before.checked_add(by).ok_or(Error::Overflow)?;
    let text = after.to_string();
    txn.announced_as(event::HASH_ADD);
    txn.hash_set(&args[1], true, [&args[2], text.as_bytes()].into_iter());
    reply.integer(after);
    Ok(())
}

fn hincrbyfloat(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let by = Wide::parse(&args[3]).ok_or(Error::NotFloat)?;
    if !by.is_finite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let before = match txn.collection::<Hash>(&args[1])?.and_then(|hash| hash.find(&args[2])) {
        Some(field) => Wide::parse(&field.value),
        None => Wide::parse(b"0"),
    };
    let before = before.ok_or(Error::new("ERR hash value is not a float"))?;
    let after = before.plus(by).ok_or(Error::new("ERR increment would produce NaN or Infinity"))?;
    txn.announced_as(event::HASH_ADD_FLOAT);
    txn.hash_set(&args[1], true, [&args[2], after.as_bytes()].into_iter());
    reply.bulk(after.as_bytes());
    Ok(())
}

fn hscan(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = scan_options(args, 2, true)?;
    let mut found = Vec::new();
    let hash = view.collection::<Hash>(&args[1])?;
    let cursor = hash.map_or(0, |hash| {
        hash.scan(options.cursor, options.count, |field| {
            let wanted = options.pattern.is_none_or(|pattern| glob::matches(pattern, &field.name));
            if wanted && !field.is_overdue(view.now_ms) {
                found.push(field);
            }
        })
    });
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(found.len() * if options.no_values { 1 } else { 2 });
    for field in found {
        reply.bulk(&field.name);
        if !options.no_values {
            reply.bulk(&field.value);
        }
    }
    Ok(())
}
