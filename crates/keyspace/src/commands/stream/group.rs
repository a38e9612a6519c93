//! Consumer groups: XGROUP and XACK.

use super::arguments::{entry_id, entry_ids, group_id};
use crate::command::{Group, Row, flag, keys, write};
use crate::commands::{arguments, integer};
use crate::event;
use crate::values::{EntryId, Group as ConsumerGroup, Stream};
use crate::{Args, Error, Reply, Txn};

pub(in crate::commands) const ROWS: &[Row] = &[
    write("xgroup|create", -5, Group::Stream, create)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "INSERT"], 2, 0, 1)])
        .since("5.0.0")
        .says("Creates a consumer group."),
    write("xgroup|setid", -5, Group::Stream, set_id)
        .keys(&[keys(&["RW", "UPDATE"], 2, 0, 1)])
        .since("5.0.0")
        .says("Sets up to where a consumer group has read."),
    write("xgroup|destroy", 4, Group::Stream, destroy)
        .keys(&[keys(&["RW", "DELETE"], 2, 0, 1)])
        .since("5.0.0")
        .cost("O(N) where N is the number of entries in the group's pending entries list (PEL).")
        .says("Removes a consumer group."),
    write("xgroup|createconsumer", 5, Group::Stream, create_consumer)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "INSERT"], 2, 0, 1)])
        .since("6.2.0")
        .says("Creates a consumer in a consumer group."),
    write("xgroup|delconsumer", 5, Group::Stream, delete_consumer)
        .keys(&[keys(&["RW", "DELETE"], 2, 0, 1)])
        .since("5.0.0")
        .says("Removes a consumer from a consumer group, with what it has not acknowledged."),
    write("xack", -4, Group::Stream, xack)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(1) for each message ID processed.")
        .says("Acknowledges entries that a consumer of the group has got."),
];

/// What Redis says about wrong arguments behind a right number of them.
pub(super) fn wrong_arguments(args: Args<'_>, container: &str) -> Error {
    let sub = String::from_utf8_lossy(&args[1]);
    Error::Other(
        format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try {container} HELP.")
            .into(),
    )
}

const NO_KEY: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// A refusal that names the group first.
pub(super) fn no_such_group(key: &[u8], group: &[u8]) -> Error {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Error::Other(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}

/// The options behind the name: `MKSTREAM` (of CREATE) and `ENTRIESREAD`.
fn options(args: Args<'_>, of_create: bool) -> Result<(bool, Option<u64>), Error> {
    let (mut makes, mut read_count, mut i) = (false, None, 5);
    while let Some(word) = args.get(i) {
        match (word.to_ascii_uppercase().as_slice(), args.get(i + 1)) {
            (b"MKSTREAM", _) if of_create => makes = true,
            (b"ENTRIESREAD", Some(count)) => {
                read_count = match integer(count)? {
                    -1 => None,
                    count => Some(
                        u64::try_from(count)
                            .map_err(|_| Error::new("ERR value for ENTRIESREAD must be positive or -1"))?,
                    ),
                };
                i += 1;
            }
            _ => return Err(wrong_arguments(args, "XGROUP")),
        }
        i += 1;
    }
    Ok((makes, read_count))
}

fn create(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (makes, read_count) = options(args, true)?;
    let (key, group) = (&args[2], &args[3]);
    let stream = txn.collection::<Stream>(key)?;
    if stream.is_none() && !makes {
        return Err(NO_KEY);
    }
    if args.len() > 8 {
        return Err(wrong_arguments(args, "XGROUP"));
    }
    let id = match &args[4] {
        b"$" => stream.map_or(EntryId::ZERO, |stream| stream.last),
        id => entry_id(id)?,
    };
    if stream.is_some_and(|stream| stream.groups.contains_key(group)) {
        return Err(Error::new("BUSYGROUP Consumer Group name already exists"));
    }
    if stream.is_none() {
        txn.stream_set_ids(key, EntryId::ZERO, 0, EntryId::ZERO);
    }
    txn.stream_group(key, group, id, read_count);
    txn.announce(event::GROUP_CREATE, key);
    reply.ok();
    Ok(())
}

/// The stream that must be there.
fn stream<'t>(txn: &'t Txn<'_>, args: Args<'_>) -> Result<&'t Stream, Error> {
    txn.collection(&args[2])?.ok_or(NO_KEY)
}

/// Its group, which must be there as well.
fn group<'t>(txn: &'t Txn<'_>, args: Args<'_>) -> Result<(&'t Stream, &'t ConsumerGroup), Error> {
    let stream = stream(txn, args)?;
    let group = stream.groups.get(&args[3]).ok_or_else(|| no_such_group(&args[2], &args[3]))?;
    Ok((stream, group))
}

fn set_id(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (_, read_count) = options(args, false)?;
    let (stream, _) = group(txn, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(wrong_arguments(args, "XGROUP"));
    }
    let id = if &args[4] == b"$" { stream.last } else { group_id(&args[4])? };
    txn.stream_group(&args[2], &args[3], id, read_count);
    txn.announce(event::GROUP_SET_ID, &args[2]);
    reply.ok();
    Ok(())
}

fn destroy(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let is_there = stream(txn, args)?.groups.contains_key(&args[3]);
    if is_there {
        txn.stream_forget(&args[2], &args[3], None);
        txn.announce(event::GROUP_DESTROY, &args[2]);
    }
    reply.integer(i64::from(is_there));
    Ok(())
}

fn create_consumer(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let is_new = group(txn, args)?.1.consumer(&args[4]).is_none();
    if is_new {
        let now_ms = txn.now_ms;
        txn.stream_deliver(&args[2], (&args[3], &args[4]), now_ms, false, &[]);
        txn.announce(event::CONSUMER_CREATE, &args[2]);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

fn delete_consumer(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let pending_count = group(txn, args)?.1.consumer(&args[4]).map(|consumer| consumer.pending().len());
    if pending_count.is_some() {
        txn.stream_forget(&args[2], &args[3], Some(&args[4]));
        txn.announce(event::CONSUMER_DELETE, &args[2]);
    }
    reply.integer(pending_count.unwrap_or(0) as i64);
    Ok(())
}

fn xack(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let stream = txn.collection::<Stream>(&args[1])?;
    let Some(group) = stream.and_then(|stream| stream.groups.get(&args[2])) else {
        reply.integer(0);
        return Ok(());
    };
    let mut ids = entry_ids(arguments(args, 3))?;
    ids.retain(|id| group.pending().contains_key(id));
    let count = if ids.is_empty() { 0 } else { txn.stream_acknowledge(&args[1], &args[2], &ids) };
    reply.integer(count as i64);
    Ok(())
}
