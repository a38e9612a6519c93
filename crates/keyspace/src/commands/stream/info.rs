//! XINFO: what a stream, its groups and their consumers are made of.

use super::arguments::{reply_count, reply_entries, reply_entry, reply_id};
use super::group::{no_such_group, wrong_arguments};
use crate::command::{Group, Row, keys, read};
use crate::commands::integer;
use crate::values::{Consumer, EntryId, Group as ConsumerGroup, Stream, StreamEntry};
use crate::{Args, Error, Reply, View};

const ACCESS: &[&str] = &["RO", "ACCESS"];

pub(in crate::commands) const ROWS: &[Row] = &[
    read("xinfo|stream", -3, Group::Stream, stream)
        .keys(&[keys(ACCESS, 2, 0, 1)])
        .since("5.0.0")
        .says("Returns what a stream consists of."),
    read("xinfo|groups", 3, Group::Stream, groups)
        .keys(&[keys(ACCESS, 2, 0, 1)])
        .since("5.0.0")
        .says("Returns the consumer groups of a stream."),
    read("xinfo|consumers", 4, Group::Stream, consumers)
        .keys(&[keys(ACCESS, 2, 0, 1)])
        .since("5.0.0")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns the consumers of a consumer group."),
];

fn find<'v>(view: &View<'v>, args: Args<'_>) -> Result<&'v Stream, Error> {
    view.collection::<Stream>(&args[2])?.ok_or(Error::NoSuchKey)
}

fn reply_optional(reply: &mut Reply<'_>, number: Option<i64>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

fn consumers(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let group = find(view, args)?.groups.get(&args[3]);
    let group = group.ok_or_else(|| no_such_group(&args[2], &args[3]))?;
    reply.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"pending");
        reply_count(reply, consumer.pending().len());
        reply.bulk(b"idle");
        reply.integer(view.now_ms.saturating_sub(consumer.seen_ms) as i64);
        reply.bulk(b"inactive");
        reply.integer(consumer.active_ms.map_or(-1, |at| view.now_ms.saturating_sub(at) as i64));
    }
    Ok(())
}

fn groups(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let stream = find(view, args)?;
    reply.array(stream.groups.len());
    for (name, group) in &stream.groups {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply_count(reply, group.consumers().len());
        reply.bulk(b"pending");
        reply_count(reply, group.pending().len());
        reply_progress(reply, stream, group);
    }
    Ok(())
}

/// Three fields of a group.
fn reply_progress(reply: &mut Reply<'_>, stream: &Stream, group: &ConsumerGroup) {
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last);
    reply.bulk(b"entries-read");
    reply_optional(reply, group.read_count.map(|count| count as i64));
    reply.bulk(b"lag");
    reply_optional(reply, stream.lag(group));
}

/// How many entries `FULL` shows; `None` without it.
fn full_count(args: Args<'_>) -> Result<Option<usize>, Error> {
    const USUAL: usize = 10;
    let is = |i: usize, word: &str| args.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    match args.len() {
        3 => Ok(None),
        4 if is(3, "full") => Ok(Some(USUAL)),
        6 if is(3, "full") && is(4, "count") => Ok(Some(match integer(&args[5])? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(USUAL),
        })),
        _ => Err(wrong_arguments(args, "XINFO")),
    }
}

fn stream(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let stream = find(view, args)?;
    let full = full_count(args)?;
    reply.map(if full.is_some() { 9 } else { 10 });
    reply.bulk(b"length");
    reply.integer(stream.len() as i64);
    // A tree of blocks has a node for each and one for itself.
    reply.bulk(b"radix-tree-keys");
    reply_count(reply, stream.blocks_count());
    reply.bulk(b"radix-tree-nodes");
    reply_count(reply, stream.blocks_count() + 1);
    reply.bulk(b"last-generated-id");
    reply_id(reply, stream.last);
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, stream.deleted_max);
    reply.bulk(b"entries-added");
    reply.integer(stream.added_count as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, stream.first_id());
    match full {
        None => {
            reply.bulk(b"groups");
            reply_count(reply, stream.groups.len());
            reply.bulk(b"first-entry");
            reply_edge(reply, stream.iter().next());
            reply.bulk(b"last-entry");
            reply_edge(reply, stream.range_back(EntryId::ZERO, EntryId::MAX).next());
        }
        Some(count) => {
            reply.bulk(b"entries");
            reply_entries(reply, &stream.iter().take(count).collect::<Vec<_>>());
            reply.bulk(b"groups");
            reply.array(stream.groups.len());
            stream.groups.iter().for_each(|(name, group)| reply_group(reply, stream, (name, group), count));
        }
    }
    Ok(())
}

fn reply_edge(reply: &mut Reply<'_>, entry: Option<StreamEntry<'_>>) {
    match entry {
        Some(entry) => reply_entry(reply, &entry),
        None => reply.null(),
    }
}

/// A group with so many of its pending entries.
fn reply_group(reply: &mut Reply<'_>, stream: &Stream, (name, group): (&[u8], &ConsumerGroup), count: usize) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    reply_progress(reply, stream, group);
    reply.bulk(b"pel-count");
    reply_count(reply, group.pending().len());
    reply.bulk(b"pending");
    reply.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        reply.array(4);
        reply_id(reply, *id);
        reply.bulk(&pending.consumer);
        reply.integer(pending.delivered_ms as i64);
        reply.integer(pending.count as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers().len());
    group.consumers().iter().for_each(|consumer| reply_consumer(reply, group, consumer, count));
}

fn reply_consumer(
    reply: &mut Reply<'_>,
    group: &ConsumerGroup,
    (name, consumer): (&std::sync::Arc<[u8]>, &Consumer),
    count: usize,
) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms as i64);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_ms.map_or(-1, |at| at as i64));
    reply.bulk(b"pel-count");
    reply_count(reply, consumer.pending().len());
    reply.bulk(b"pending");
    reply.array(consumer.pending().len().min(count));
    for id in consumer.pending().iter().take(count) {
        let pending = group.pending().get(id);
        reply.array(3);
        reply_id(reply, *id);
        reply.integer(pending.map_or(0, |pending| pending.delivered_ms as i64));
        reply.integer(pending.map_or(0, |pending| pending.count as i64));
    }
}
