//! Ranges of sorted sets, by rank, score or member: returned, counted, stored, removed.

use super::bounds::{LexRange, ScoreRange, by_lex, by_score};
use super::reply_items;
use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::integer;
use crate::event;
use crate::values::{Element, SortedSet};
use crate::{Args, Error, Reply, Txn, View};

const ACCESS: &[&str] = &["RO", "ACCESS"];
const DELETE: &[&str] = &["RW", "DELETE"];
const SPAN: &str = "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.";
const CUT: &str = "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.";
const COUNT: &str = "O(log(N)) with N being the number of elements in the sorted set.";

macro_rules! range {
    ($name:literal, $arity:literal, $since:literal, $by:expr, $reverse:literal, $says:literal) => {
        read($name, $arity, Group::SortedSet, |view, args, reply| {
            answer(view, &Wanted::parse(args, 1, $by, $reverse)?, &args[1], reply)
        })
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since($since)
        .cost(SPAN)
        .says($says)
    };
}

macro_rules! remove {
    ($name:literal, $since:literal, $by:expr, $says:literal) => {
        write($name, 4, Group::SortedSet, |txn, args, reply| remove(txn, args, $by, reply))
            .keys(&[keys(DELETE, 1, 0, 1)])
            .since($since)
            .cost(CUT)
            .says($says)
    };
}

pub(in crate::commands) const ROWS: &[Row] = &[
    range!("zrange", -4, "1.2.0", None, false, "Returns a range of members of a sorted set."),
    range!("zrevrange", -4, "1.2.0", Some(By::Rank), true, "Returns a range of members by rank, highest score first."),
    range!("zrangebyscore", -4, "1.0.5", Some(By::Score), false, "Returns the members with scores in a range."),
    range!("zrevrangebyscore", -4, "2.2.0", Some(By::Score), true, "Returns the members with scores in a range, highest score first."),
    range!("zrangebylex", -4, "2.8.9", Some(By::Lex), false, "Returns the members in a lexicographical range."),
    range!("zrevrangebylex", -4, "2.8.9", Some(By::Lex), true, "Returns the members in a lexicographical range, last one first."),
    write("zrangestore", -5, Group::SortedSet, store)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["OW", "UPDATE"], 1, 0, 1), keys(ACCESS, 2, 0, 1)])
        .since("6.2.0")
        .cost("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.")
        .says("Stores a range of members of a sorted set."),
    read("zcount", 4, Group::SortedSet, |view, args, reply| count(view, args, By::Score, reply))
        .fast()
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.0.0")
        .cost(COUNT)
        .says("Counts the members with scores in a range."),
    read("zlexcount", 4, Group::SortedSet, |view, args, reply| count(view, args, By::Lex, reply))
        .fast()
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.8.9")
        .cost(COUNT)
        .says("Counts the members in a lexicographical range."),
    remove!("zremrangebyrank", "2.0.0", By::Rank, "Removes the members with ranks in a range."),
    remove!("zremrangebyscore", "1.2.0", By::Score, "Removes the members with scores in a range."),
    remove!("zremrangebylex", "2.8.9", By::Lex, "Removes the members in a lexicographical range."),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

enum Ends<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Names(LexRange<'a>),
}

impl<'a> Ends<'a> {
    /// `first` and `second` as they are said; backwards the greater one comes first, but for ranks.
    fn parse(by: By, first: &'a [u8], second: &'a [u8], reverse: bool) -> Result<Self, Error> {
        let (least, most) = if reverse { (second, first) } else { (first, second) };
        Ok(match by {
            By::Rank => Ends::Ranks(integer(first)?, integer(second)?),
            By::Score => Ends::Scores(ScoreRange::parse(least, most)?),
            By::Lex => Ends::Names(LexRange::parse(least, most)?),
        })
    }

    /// The ranks, counted from the lowest score.
    fn ranks(&self, set: &SortedSet, reverse: bool) -> (usize, usize) {
        match self {
            Ends::Scores(ends) => by_score(set, ends),
            Ends::Names(ends) => by_lex(set, ends),
            Ends::Ranks(start, stop) => {
                let len = set.len() as i64;
                let inside = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
                let (start, stop) = (inside(*start).max(0), inside(*stop).min(len - 1));
                if start > stop {
                    (0, 0)
                } else if reverse {
                    ((len - 1 - stop) as usize, (len - start) as usize)
                } else {
                    (start as usize, stop as usize + 1)
                }
            }
        }
    }
}

/// What a command of this family is told.
struct Wanted<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    limit: Option<(i64, i64)>,
}

impl<'a> Wanted<'a> {
    /// The key stands at `at`, the ends behind it. Without `by` the options decide, as for ZRANGE.
    fn parse(args: Args<'a>, at: usize, by: Option<By>, reverse: bool) -> Result<Self, Error> {
        let (mut chosen, mut reverse, mut with_scores, mut limit) = (by, reverse, false, None);
        let mut i = at + 3;
        while let Some(word) = args.get(i) {
            match word.to_ascii_uppercase().as_slice() {
                b"WITHSCORES" if at == 1 => with_scores = true,
                b"LIMIT" if i + 2 < args.len() => {
                    limit = Some((integer(&args[i + 1])?, integer(&args[i + 2])?));
                    i += 2;
                }
                b"REV" if by.is_none() && !reverse => reverse = true,
                b"BYSCORE" if chosen.is_none() => chosen = Some(By::Score),
                b"BYLEX" if chosen.is_none() => chosen = Some(By::Lex),
                _ => return Err(Error::Syntax),
            }
            i += 1;
        }
        let by = chosen.unwrap_or(By::Rank);
        if by == By::Rank {
            // One that sets no bound counts as none, whatever it leaves out.
            if limit.is_some_and(|(_, count)| count != -1) {
                return Err(Error::new(
                    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
                ));
            }
            limit = None;
        }
        if with_scores && by == By::Lex {
            return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (first, second) = (args.get(at + 1).unwrap_or_default(), args.get(at + 2).unwrap_or_default());
        Ok(Self { ends: Ends::parse(by, first, second, reverse)?, reverse, with_scores, limit })
    }

    fn items<'s>(&self, set: &'s SortedSet) -> Vec<(f64, Element<'s>)> {
        let (start, end) = self.ends.ranks(set, self.reverse);
        let items = set.range(start, end, self.reverse);
        match self.limit {
            None => items.collect(),
            Some((offset, _)) if offset < 0 => Vec::new(),
            Some((offset, count)) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                items.skip(offset as usize).take(count).collect()
            }
        }
    }
}

fn answer(view: &View<'_>, wanted: &Wanted<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<SortedSet>(key)?;
    let items = set.map_or(Vec::new(), |set| wanted.items(set));
    reply_items(reply, items.into_iter(), wanted.with_scores);
    Ok(())
}

fn store(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted = Wanted::parse(args, 2, None, false)?;
    let set = txn.collection::<SortedSet>(&args[2])?;
    let items = set.map_or(Vec::new(), |set| wanted.items(set));
    let items: Vec<(f64, Vec<u8>)> =
        items.into_iter().map(|(score, member)| (score, member.to_vec())).collect();
    super::combine::replace(txn, &args[1], &items, event::RANGE_STORE)?;
    reply.integer(items.len() as i64);
    Ok(())
}

fn count(view: &View<'_>, args: Args<'_>, by: By, reply: &mut Reply<'_>) -> Result<(), Error> {
    let ends = Ends::parse(by, &args[2], &args[3], false)?;
    let set = view.collection::<SortedSet>(&args[1])?;
    let (start, end) = set.map_or((0, 0), |set| ends.ranks(set, false));
    reply.integer((end - start) as i64);
    Ok(())
}

fn remove(txn: &mut Txn<'_>, args: Args<'_>, by: By, reply: &mut Reply<'_>) -> Result<(), Error> {
    let ends = Ends::parse(by, &args[2], &args[3], false)?;
    let set = txn.collection::<SortedSet>(&args[1])?;
    let gone: Vec<Vec<u8>> = set.map_or(Vec::new(), |set| {
        let (start, end) = ends.ranks(set, false);
        set.range(start, end, false).map(|(_, member)| member.to_vec()).collect()
    });
    if !gone.is_empty() {
        txn.announced_as(match by {
            By::Rank => event::REMOVE_RANKS,
            By::Score => event::REMOVE_SCORES,
            By::Lex => event::REMOVE_NAMES,
        });
        txn.sorted_set_remove(&args[1], gone.iter().map(Vec::as_slice));
    }
    reply.integer(gone.len() as i64);
    Ok(())
}
