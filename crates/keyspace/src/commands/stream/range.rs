//! Entries between two names.

use super::arguments::{end_id, reply_entries, start_id};
use crate::command::{Group, Row, keys, read};
use crate::commands::integer;
use crate::values::{Stream, StreamEntry};
use crate::{Args, Error, Reply, View};

const COST: &str = "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).";

pub(in crate::commands) const ROWS: &[Row] = &[
    read("xrange", -4, Group::Stream, |view, args, reply| xrange(view, args, false, reply))
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("5.0.0")
        .cost(COST)
        .says("Returns the entries of a stream between two IDs."),
    read("xrevrange", -4, Group::Stream, |view, args, reply| xrange(view, args, true, reply))
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("5.0.0")
        .cost(COST)
        .says("Returns the entries of a stream between two IDs, the last one first."),
];

fn xrange(view: &View<'_>, args: Args<'_>, back: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (first, last) = if back { (3, 2) } else { (2, 3) };
    let (from, to) = (start_id(&args[first])?, end_id(&args[last])?);
    let (mut count, mut i) = (None, 4);
    while let Some(word) = args.get(i) {
        let number = args.get(i + 1).filter(|_| word.eq_ignore_ascii_case(b"count")).ok_or(Error::Syntax)?;
        count = Some(usize::try_from(integer(number)?).unwrap_or(0));
        i += 2;
    }
    let Some(stream) = view.collection::<Stream>(&args[1])? else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let count = count.unwrap_or(usize::MAX);
    let entries: Vec<StreamEntry<'_>> = match back {
        _ if from > to => Vec::new(),
        false => stream.range(from, to).take(count).collect(),
        true => stream.range_back(from, to).take(count).collect(),
    };
    reply_entries(reply, &entries);
    Ok(())
}
