//! XCLAIM and XAUTOCLAIM: a consumer takes over what others have not acknowledged.

use super::arguments::{entry_id, no_group, reply_entry, reply_id, start_id};
use crate::command::{Group, Row, keys, write};
use crate::commands::integer;
use crate::event;
use crate::txn::Delivery;
use crate::values::{EntryId, Group as ConsumerGroup, Stream};
use crate::{Args, Error, Reply, Txn, UnixMillis};
use std::collections::BTreeMap;

pub(in crate::commands) const ROWS: &[Row] = &[
    write("xclaim", -6, Group::Stream, xclaim)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(log N) with N being the number of messages in the PEL of the consumer group.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Gives entries that are pending to another consumer."),
    write("xautoclaim", -6, Group::Stream, xautoclaim)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("6.2.0")
        .cost("O(1) if COUNT is small.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Gives entries that have been pending for long to another consumer."),
];

/// The options of XCLAIM.
#[derive(Default)]
struct Claim {
    ids: Vec<EntryId>,
    force: bool,
    just_id: bool,
    /// As it was asked for.
    delivered_ms: Option<i64>,
    retry_count: Option<u64>,
    last: EntryId,
}

impl Claim {
    fn parse(args: Args<'_>, now_ms: UnixMillis) -> Result<Self, Error> {
        let mut claim = Claim::default();
        let mut i = 5;
        while let Some(id) = args.get(i).and_then(|id| EntryId::parse(id, 0)) {
            claim.ids.push(id);
            i += 1;
        }
        while let Some(word) = args.get(i) {
            let number = |error| {
                let number = args.get(i + 1).map(|number| integer(number).map_err(|_| Error::new(error)));
                number.transpose()
            };
            let mut takes_value = true;
            match (word.to_ascii_uppercase().as_slice(), args.get(i + 1)) {
                (b"FORCE", _) => (claim.force, takes_value) = (true, false),
                (b"JUSTID", _) => (claim.just_id, takes_value) = (true, false),
                (b"IDLE", Some(_)) => {
                    let idle = number("ERR Invalid IDLE option argument for XCLAIM")?;
                    claim.delivered_ms = idle.map(|idle| (now_ms as i64).wrapping_sub(idle));
                }
                (b"TIME", Some(_)) => {
                    claim.delivered_ms = number("ERR Invalid TIME option argument for XCLAIM")?;
                }
                (b"RETRYCOUNT", Some(_)) => {
                    let count = number("ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    claim.retry_count = count.and_then(|count| u64::try_from(count).ok());
                }
                (b"LASTID", Some(id)) => claim.last = entry_id(id)?,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(Error::Other(format!("ERR Unrecognized XCLAIM option '{word}'").into()));
                }
            }
            i += 1 + usize::from(takes_value);
        }
        Ok(claim)
    }

    /// Times that cannot be are now.
    fn delivered_ms(&self, now_ms: UnixMillis) -> UnixMillis {
        let asked = self.delivered_ms.and_then(|at| u64::try_from(at).ok());
        asked.filter(|at| *at <= now_ms).unwrap_or(now_ms)
    }
}

fn idle_min(args: Args<'_>, error: &'static str) -> Result<u64, Error> {
    let ms = integer(&args[4]).map_err(|_| Error::new(error))?;
    Ok(u64::try_from(ms).unwrap_or(0))
}

fn find<'t>(txn: &'t Txn<'_>, args: Args<'_>) -> Result<(&'t Stream, &'t ConsumerGroup), Error> {
    let stream = txn.collection::<Stream>(&args[1])?;
    let found = stream.and_then(|stream| Some((stream, stream.groups.get(&args[2])?)));
    found.ok_or_else(|| no_group(&args[1], &args[2], ""))
}

/// What a claim comes to.
#[derive(Default)]
struct Claimed {
    /// In the order of the answer.
    ids: Vec<EntryId>,
    deliveries: BTreeMap<EntryId, Delivery>,
    /// Pending and not there any more.
    deleted: Vec<EntryId>,
}

impl Claimed {
    fn take(&mut self, delivery: Delivery) {
        self.ids.push(delivery.id);
        self.deliveries.insert(delivery.id, delivery);
    }

    fn reply(&self, stream: &Stream, just_id: bool, reply: &mut Reply<'_>) {
        reply.array(self.ids.len());
        for id in &self.ids {
            match stream.get(*id) {
                Some(entry) if !just_id => reply_entry(reply, &entry),
                Some(_) | None => reply_id(reply, *id),
            }
        }
    }

    /// Does what was decided.
    fn apply(self, txn: &mut Txn<'_>, args: Args<'_>) -> Result<(), Error> {
        let (key, names, now_ms) = (&args[1], (&args[2], &args[3]), txn.now_ms);
        let is_new = find(txn, args)?.1.consumer(names.1).is_none();
        if !self.deleted.is_empty() {
            txn.stream_acknowledge(key, names.0, &self.deleted);
        }
        if is_new || !self.deliveries.is_empty() {
            let deliveries: Vec<Delivery> = self.deliveries.into_values().collect();
            txn.stream_deliver(key, names, now_ms, !deliveries.is_empty(), &deliveries);
        }
        // Who waits for what has been pending for long may have to wait less now.
        txn.keyspace.watches.filled(txn.db, key);
        if is_new {
            txn.announce(event::CONSUMER_CREATE, key);
        } else {
            txn.note_seen(key, names);
        }
        Ok(())
    }
}

fn xclaim(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    find(txn, args)?;
    let idle_min = idle_min(args, "ERR Invalid min-idle-time argument for XCLAIM")?;
    let now_ms = txn.now_ms;
    let claim = Claim::parse(args, now_ms)?;
    let (stream, group) = find(txn, args)?;
    let mut claimed = Claimed::default();
    for id in &claim.ids {
        let pending = group.pending().get(id);
        // An ID may be there twice.
        let before = claimed.deliveries.get(id).copied();
        let before = before.or_else(|| {
            pending.map(|pending| Delivery { id: *id, at_ms: pending.delivered_ms, count: pending.count })
        });
        if stream.get(*id).is_none() {
            claimed.deleted.extend(before.map(|before| before.id));
            continue;
        }
        let count = match before {
            Some(before) if now_ms.saturating_sub(before.at_ms) >= idle_min => before.count,
            Some(_) => continue,
            None if claim.force => 1,
            None => continue,
        };
        let count = claim.retry_count.unwrap_or(count.saturating_add(u64::from(!claim.just_id)));
        claimed.take(Delivery { id: *id, at_ms: claim.delivered_ms(now_ms), count });
    }
    claimed.reply(stream, claim.just_id, reply);
    if claim.last > group.last {
        let read_count = group.read_count;
        txn.stream_group(&args[1], &args[2], claim.last, read_count);
    }
    claimed.apply(txn, args)
}

/// So many are looked at for each that is wanted. (Redis: `attempts_factor`)
const ATTEMPTS: usize = 10;
/// More cannot be wanted.
const COUNT_MAX: i64 = i64::MAX / 16;

fn xautoclaim(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let idle_min = idle_min(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let start = start_id(&args[5])?;
    let (mut count, mut just_id, mut i) = (100, false, 6);
    while let Some(word) = args.get(i) {
        match (word.to_ascii_uppercase().as_slice(), args.get(i + 1)) {
            (b"COUNT", Some(number)) => {
                let number = integer(number).ok().filter(|number| (1..=COUNT_MAX).contains(number));
                count = number.ok_or(Error::new("ERR COUNT must be > 0"))? as usize;
                i += 1;
            }
            (b"JUSTID", _) => just_id = true,
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    let now_ms = txn.now_ms;
    let (stream, group) = find(txn, args)?;
    let mut claimed = Claimed::default();
    let mut left = group.pending().range(start..);
    for (id, pending) in left.by_ref().take(count.saturating_mul(ATTEMPTS)) {
        if stream.get(*id).is_none() {
            claimed.deleted.push(*id);
        } else if now_ms.saturating_sub(pending.delivered_ms) >= idle_min {
            let count = pending.count.saturating_add(u64::from(!just_id));
            claimed.take(Delivery { id: *id, at_ms: now_ms, count });
        }
        if claimed.ids.len() + claimed.deleted.len() == count {
            break;
        }
    }
    reply.array(3);
    reply_id(reply, left.next().map_or(EntryId::ZERO, |(id, _)| *id));
    claimed.reply(stream, just_id, reply);
    reply.array(claimed.deleted.len());
    claimed.deleted.iter().for_each(|id| reply_id(reply, *id));
    claimed.apply(txn, args)
}
