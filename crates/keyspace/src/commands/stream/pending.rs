//! XPENDING: what a group has got and not acknowledged.

use super::arguments::{end_id, no_group, reply_count, reply_id, start_id};
use crate::command::{Group, Row, keys, read};
use crate::commands::integer;
use crate::values::{EntryId, Group as ConsumerGroup, Pending, Stream};
use crate::{Args, Error, Reply, View};

pub(in crate::commands) const ROWS: &[Row] = &[
    read("xpending", -3, Group::Stream, xpending)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns what a consumer group has not acknowledged."),
];

/// `[IDLE ms] start end count [consumer]`.
struct Wanted<'a> {
    idle_ms: u64,
    from: EntryId,
    to: EntryId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// `None` is the summary.
    fn parse(args: Args<'a>) -> Result<Option<Self>, Error> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(Error::Syntax);
        }
        let (mut idle_ms, mut at) = (0, 3);
        if args[3].eq_ignore_ascii_case(b"idle") {
            idle_ms = u64::try_from(integer(&args[4])?).unwrap_or(0);
            if args.len() < 8 {
                return Err(Error::Syntax);
            }
            at = 5;
        }
        let count = usize::try_from(integer(&args[at + 2])?).unwrap_or(0);
        let (from, to) = (start_id(&args[at])?, end_id(&args[at + 1])?);
        Ok(Some(Self { idle_ms, from, to, count, consumer: args.get(at + 3) }))
    }
}

fn xpending(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted = Wanted::parse(args)?;
    let stream = view.collection::<Stream>(&args[1])?;
    let group = stream.and_then(|stream| stream.groups.get(&args[2]));
    let group = group.ok_or_else(|| no_group(&args[1], &args[2], ""))?;
    let Some(Wanted { idle_ms, from, to, count, consumer }) = wanted else {
        summary(group, reply);
        return Ok(());
    };
    let idle = |pending: &Pending| view.now_ms.saturating_sub(pending.delivered_ms);
    let all = (from <= to).then(|| group.pending().range(from..=to)).into_iter().flatten();
    let found: Vec<(&EntryId, &Pending)> = match consumer {
        // Only those of a consumer are looked at, not all of the group.
        Some(name) => {
            let own = group.consumer(name).filter(|_| from <= to);
            let ids = own.into_iter().flat_map(|consumer| consumer.pending().range(from..=to));
            let own = ids.filter_map(|id| group.pending().get_key_value(id));
            own.filter(|(_, pending)| idle(pending) >= idle_ms).take(count).collect()
        }
        None => all.filter(|(_, pending)| idle(pending) >= idle_ms).take(count).collect(),
    };
    reply.array(found.len());
    for (id, pending) in found {
        reply.array(4);
        reply_id(reply, *id);
        reply.bulk(&pending.consumer);
        reply.integer(idle(pending) as i64);
        reply.integer(pending.count as i64);
    }
    Ok(())
}

/// How many, the first and the last of them, and how many each consumer has.
fn summary(group: &ConsumerGroup, reply: &mut Reply<'_>) {
    reply.array(4);
    reply_count(reply, group.pending().len());
    let edges = group.pending().keys().next().zip(group.pending().keys().next_back());
    let Some((first, last)) = edges else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, *first);
    reply_id(reply, *last);
    let busy = || group.consumers().iter().filter(|(_, consumer)| !consumer.pending().is_empty());
    reply.array(busy().count());
    for (name, consumer) in busy() {
        reply.array(2);
        reply.bulk(name);
        reply.bulk_integer(consumer.pending().len() as i64);
    }
}
