//! XREAD and XREADGROUP: what has come since, waiting for it if need be.

use super::arguments::{entry_id, no_group, reply_entries, reply_entry, reply_fields, reply_id};
use crate::command::{Group, Row, flag, halved_keys, wait, write};
use crate::commands::integer;
use crate::event;
use crate::txn::{Block, Delivery};
use crate::values::{EntryId, Group as ConsumerGroup, Pending, Stream, StreamEntry};
use crate::{Args, ArgsBuf, Error, Reply, Txn, UnixMillis, View};
use leveret_resp::Version;
use std::ops::Range;

pub(in crate::commands) const ROWS: &[Row] = &[
    wait("xread", -4, Group::Stream, xread)
        .keys(&[halved_keys(&["RO", "ACCESS"], "STREAMS", 1)])
        .since("5.0.0")
        .says("Returns the entries of streams behind an ID, or waits for one."),
    write("xreadgroup", -7, Group::Stream, xreadgroup)
        .flags(flag::BLOCKING)
        .keys(&[halved_keys(&["RO", "ACCESS"], "STREAMS", 4)])
        .since("5.0.0")
        .cost("For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.")
        .says("Returns entries that no consumer of the group has got, or what one has not acknowledged, or waits for one."),
];

const DOLLAR: Error = Error::new(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
);
const PLUS: Error = Error::new(
    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
);
const GREATER: Error = Error::new(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);

/// What is asked for.
struct Wanted<'a> {
    args: Args<'a>,
    /// Of each stream; `usize::MAX` is all.
    count: usize,
    /// Wait until then, or for ever.
    block: Option<Option<UnixMillis>>,
    /// The group and the consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// Take over what has been pending for so long. (Redis 8.4: CLAIM)
    claim_ms: Option<u64>,
    /// Where the keys stand; the names follow.
    keys: Range<usize>,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>, now_ms: UnixMillis, of_group: bool) -> Result<Self, Error> {
        let mut wanted = Wanted {
            args,
            count: usize::MAX,
            block: None,
            group: None,
            no_ack: false,
            claim_ms: None,
            keys: 0..0,
        };
        let mut i = 1;
        while let Some(word) = args.get(i) {
            let left = args.len() - i - 1;
            match word.to_ascii_uppercase().as_slice() {
                b"BLOCK" if left > 0 => {
                    wanted.block = Some(deadline(&args[i + 1], now_ms)?);
                    i += 1;
                }
                b"COUNT" if left > 0 => {
                    let count = usize::try_from(integer(&args[i + 1])?).unwrap_or(0);
                    wanted.count = if count == 0 { usize::MAX } else { count };
                    i += 1;
                }
                b"STREAMS" if left > 0 => {
                    if !left.is_multiple_of(2) {
                        return Err(unbalanced(of_group));
                    }
                    wanted.keys = i + 1..i + 1 + left / 2;
                    break;
                }
                b"GROUP" if left > 1 && of_group => {
                    wanted.group = args.get(i + 1).zip(args.get(i + 2));
                    i += 2;
                }
                b"GROUP" if left > 1 => return Err(only_of_group("GROUP")),
                b"CLAIM" if left > 0 && of_group => {
                    wanted.claim_ms = Some(idle_min(&args[i + 1])?);
                    i += 1;
                }
                b"CLAIM" if left > 0 => return Err(only_of_group("CLAIM")),
                b"NOACK" if of_group => wanted.no_ack = true,
                b"NOACK" => return Err(only_of_group("NOACK")),
                _ => return Err(Error::Syntax),
            }
            i += 1;
        }
        if wanted.keys.is_empty() { Err(Error::Syntax) } else { Ok(wanted) }
    }

    fn keys(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let args = self.args;
        self.keys.clone().map(move |i| args.get(i).unwrap_or_default())
    }

    /// The name for the key with this index.
    fn id(&self, index: usize) -> &'a [u8] {
        self.args.get(self.keys.end + index).unwrap_or_default()
    }

    /// What is taken over: entries that are still there and have been pending for long enough, the longest first.
    fn idle<'s>(
        &self,
        stream: &'s Stream,
        group: &'s ConsumerGroup,
        now_ms: UnixMillis,
    ) -> impl Iterator<Item = (StreamEntry<'s>, &'s Pending)> {
        let until = self.claim_ms.and_then(|ms| now_ms.checked_sub(ms));
        let due = until.into_iter().flat_map(|until| group.delivered_until(until));
        due.filter_map(|(id, pending)| Some((stream.get(id)?, pending)))
    }

    /// When the next entry will have been pending for long enough.
    fn next_idle(&self, txn: &Txn<'_>, group: &[u8]) -> Result<Option<UnixMillis>, Error> {
        let Some(claim_ms) = self.claim_ms else { return Ok(None) };
        let mut first = None;
        for key in self.keys() {
            let Some((stream, group)) = find(txn, key, group)? else { continue };
            let mut there =
                group.delivered_until(UnixMillis::MAX).filter(|(id, _)| stream.get(*id).is_some());
            let due = there.next().and_then(|(_, pending)| pending.delivered_ms.checked_add(claim_ms));
            first = first.into_iter().chain(due).min();
        }
        Ok(first.map(|at| at.max(txn.now_ms + 1)))
    }

    fn block_on(&self) -> Option<Block> {
        let keys = self.keys().map(Box::from).collect();
        self.block.map(|deadline| Block::new(keys, "stream", deadline))
    }
}

fn unbalanced(of_group: bool) -> Error {
    let (command, ids) = if of_group { ("xreadgroup", "ID or '>'") } else { ("xread", "ID, '+', or '$'") };
    Error::Other(
        format!(
            "ERR Unbalanced '{command}' list of streams: for each stream key an {ids} must be specified."
        )
        .into(),
    )
}

fn only_of_group(option: &str) -> Error {
    Error::Other(
        format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.").into(),
    )
}

fn idle_min(bytes: &[u8]) -> Result<u64, Error> {
    let ms = integer(bytes).map_err(|_| Error::new("ERR min-idle-time is not an integer or out of range"))?;
    u64::try_from(ms).map_err(|_| Error::new("ERR min-idle-time must be a positive integer"))
}

/// Milliseconds; 0 is for ever.
fn deadline(bytes: &[u8], now_ms: UnixMillis) -> Result<Option<UnixMillis>, Error> {
    let ms = integer(bytes).map_err(|_| Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TimeoutNegative)?;
    if ms > i64::MAX as u64 - now_ms {
        return Err(Error::TimeoutOutOfRange);
    }
    Ok((ms > 0).then_some(now_ms + ms))
}

/// Answers with so many streams: a map in RESP3.
fn reply_streams(reply: &mut Reply<'_>, len: usize) {
    match reply.version() {
        Version::Resp2 => reply.array(len),
        Version::Resp3 => reply.map(len),
    }
}

fn reply_key(reply: &mut Reply<'_>, key: &[u8]) {
    if reply.version() == Version::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

fn xread(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Block>, Error> {
    let wanted = Wanted::parse(args, view.now_ms, false)?;
    let (mut found, mut after) = (Vec::new(), Vec::new());
    for (index, key) in wanted.keys().enumerate() {
        let stream = view.collection::<Stream>(key)?;
        let last = stream.map_or(EntryId::ZERO, |stream| stream.last);
        after.push(match wanted.id(index) {
            b"$" => last,
            b"+" => stream.and_then(Stream::last_entry_id).and_then(EntryId::previous).unwrap_or(last),
            b">" => return Err(GREATER),
            id => entry_id(id)?,
        });
        found.extend(stream.map(|stream| (index, key, stream)));
    }
    let answers: Vec<(&[u8], Vec<StreamEntry<'_>>)> = found
        .into_iter()
        .map(|(index, key, stream)| {
            let from = after[index].next();
            (
                key,
                from.into_iter()
                    .flat_map(|from| stream.range(from, EntryId::MAX))
                    .take(wanted.count)
                    .collect(),
            )
        })
        .filter(|(_, entries): &(_, Vec<_>)| !entries.is_empty())
        .collect();
    if answers.is_empty() {
        reply.null_array();
        return Ok(wanted
            .block_on()
            .map(|block| Block { again: Some(with_names(&wanted, &after)), ..block }));
    }
    reply_streams(reply, answers.len());
    for (key, entries) in &answers {
        reply_key(reply, key);
        reply_entries(reply, entries);
    }
    Ok(None)
}

/// The arguments with what `$` stands for now.
fn with_names(wanted: &Wanted<'_>, after: &[EntryId]) -> ArgsBuf {
    let mut again = ArgsBuf::default();
    for (i, arg) in wanted.args.iter().enumerate() {
        match i.checked_sub(wanted.keys.end).and_then(|index| after.get(index)) {
            Some(id) if arg == b"$" => again.push(&id.text()),
            Some(_) | None => again.push(arg),
        }
    }
    again
}

/// What a consumer wants of one stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// `>`: what nobody has got.
    New,
    /// What it has and has not acknowledged, behind a name.
    Own(EntryId),
}

fn xreadgroup(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted = Wanted::parse(args, txn.now_ms, true)?;
    let names = wanted.group.ok_or(Error::new("ERR Missing GROUP option for XREADGROUP"))?;
    let (mut shares, mut served) = (Vec::new(), Vec::new());
    for (index, key) in wanted.keys().enumerate() {
        let Some((stream, group)) = find(txn, key, names.0)? else {
            return Err(no_group(key, names.0, " in XREADGROUP with GROUP option"));
        };
        let from = match wanted.id(index) {
            b"$" => return Err(DOLLAR),
            b"+" => return Err(PLUS),
            b">" => Share::New,
            id => Share::Own(entry_id(id)?),
        };
        // A key may be there twice: then the first one takes its share first.
        let before = wanted.keys().zip(&shares).filter(|(other, from)| *other == key && **from == Share::New);
        let before_count = before.count();
        let taken = before_count.saturating_mul(wanted.count);
        let has_new = || unread(stream, group).nth(taken).is_some();
        let has_idle = || before_count == 0 && wanted.idle(stream, group, txn.now_ms).next().is_some();
        served.push(from != Share::New || has_new() || has_idle());
        shares.push(from);
    }
    let count = served.iter().filter(|served| **served).count();
    if count > 0 {
        reply_streams(reply, count);
    }
    for ((key, from), served) in wanted.keys().zip(shares).zip(served) {
        let is_new = find(txn, key, names.0)?.is_some_and(|(_, group)| group.consumer(names.1).is_none());
        if is_new {
            let now_ms = txn.now_ms;
            txn.stream_deliver(key, names, now_ms, false, &[]);
            txn.announce(event::CONSUMER_CREATE, key);
        } else {
            txn.note_seen(key, names);
        }
        if served {
            reply_key(reply, key);
            match from {
                Share::New => read_new(txn, key, names, &wanted, reply)?,
                Share::Own(after) => read_own(txn, key, names, after, wanted.count, reply)?,
            }
        }
    }
    if count == 0 {
        reply.null_array();
        if let Some(block) = wanted.block_on() {
            let again_at = wanted.next_idle(txn, names.0)?;
            txn.block_on(Block { or_lost: true, again_at, ..block });
        }
    }
    Ok(())
}

fn find<'t>(
    txn: &'t Txn<'_>,
    key: &[u8],
    group: &[u8],
) -> Result<Option<(&'t Stream, &'t ConsumerGroup)>, Error> {
    let stream = txn.collection::<Stream>(key)?;
    Ok(stream.and_then(|stream| Some((stream, stream.groups.get(group)?))))
}

fn unread<'s>(stream: &'s Stream, group: &ConsumerGroup) -> impl Iterator<Item = StreamEntry<'s>> {
    let from = group.last.next();
    from.into_iter().flat_map(|from| stream.range(from, EntryId::MAX))
}

fn read_new(
    txn: &mut Txn<'_>,
    key: &[u8],
    names: (&[u8], &[u8]),
    wanted: &Wanted<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let now_ms = txn.now_ms;
    let Some((stream, group)) = find(txn, key, names.0)? else { return Ok(()) };
    let idle: Vec<_> = wanted.idle(stream, group, now_ms).take(wanted.count).collect();
    let entries: Vec<StreamEntry<'_>> = unread(stream, group).take(wanted.count - idle.len()).collect();
    if wanted.claim_ms.is_some() {
        reply_with_pending(reply, &idle, &entries, now_ms);
    } else {
        reply_entries(reply, &entries);
    }
    let (mut last, mut read_count) = (group.last, group.read_count);
    for entry in &entries {
        if let Some(count) = read_count.filter(|_| stream.counts_on_from(last)) {
            read_count = Some(count.wrapping_add(1));
        } else if stream.added_count > 0 {
            read_count = stream.count_through(entry.id);
        }
        last = entry.id;
    }
    let deliver = |id, count| Delivery { id, at_ms: now_ms, count };
    let again =
        |(entry, pending): &(StreamEntry<'_>, &Pending)| deliver(entry.id, pending.count.saturating_add(1));
    let mut deliveries: Vec<Delivery> = idle.iter().map(again).collect();
    if !wanted.no_ack {
        deliveries.extend(entries.iter().map(|entry| deliver(entry.id, 1)));
    }
    if !entries.is_empty() {
        txn.stream_group(key, names.0, last, read_count);
    }
    if !deliveries.is_empty() {
        txn.stream_deliver(key, names, now_ms, true, &deliveries);
    }
    Ok(())
}

/// Entries that were pending and new ones, each with the time since its last delivery and how often it was delivered.
fn reply_with_pending(
    reply: &mut Reply<'_>,
    idle: &[(StreamEntry<'_>, &Pending)],
    new: &[StreamEntry<'_>],
    now_ms: UnixMillis,
) {
    let idle = idle
        .iter()
        .map(|(entry, pending)| (entry, now_ms.saturating_sub(pending.delivered_ms), pending.count));
    reply.array(idle.len() + new.len());
    for (entry, idle_ms, count) in idle.chain(new.iter().map(|entry| (entry, 0, 0))) {
        reply.array(4);
        reply_id(reply, entry.id);
        reply_fields(reply, entry);
        reply.integer(idle_ms as i64);
        reply.integer(count as i64);
    }
}

fn read_own(
    txn: &mut Txn<'_>,
    key: &[u8],
    names: (&[u8], &[u8]),
    after: EntryId,
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let now_ms = txn.now_ms;
    let Some((stream, group)) = find(txn, key, names.0)? else { return Ok(()) };
    let own = group.consumer(names.1).into_iter().flat_map(|consumer| {
        let from = after.next();
        from.into_iter().flat_map(|from| consumer.pending().range(from..))
    });
    let ids: Vec<EntryId> = own.copied().take(count).collect();
    let mut deliveries = Vec::new();
    reply.array(ids.len());
    for id in ids {
        if let Some(entry) = stream.get(id) {
            reply_entry(reply, &entry);
            let count = group.pending().get(&id).map_or(0, |pending| pending.count);
            deliveries.push(Delivery { id, at_ms: now_ms, count: count.saturating_add(1) });
        } else {
            // It was deleted since.
            reply.array(2);
            reply_id(reply, id);
            reply.null_array();
        }
    }
    if !deliveries.is_empty() {
        txn.stream_deliver(key, names, now_ms, false, &deliveries);
    }
    Ok(())
}
