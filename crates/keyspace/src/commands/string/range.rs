//! Parts of strings, and what else is done with strings now and then.

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::integer;
use crate::decimal::Wide;
use crate::event;
use crate::view::Text;
use crate::{Args, Error, Reply, STRING_MAX, Txn, View};
use std::borrow::Cow;

const ACCESS: &[&str] = &["RO", "ACCESS"];
const RANGE: &str = "O(N) where N is the length of the returned string.";

pub(in crate::commands) const ROWS: &[Row] = &[
    write("getset", 3, Group::String, getset)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .says("Returns the string value of a key after setting it to another."),
    write("msetnx", -3, Group::String, msetnx)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["OW", "INSERT"], 1, -1, 2)])
        .since("1.0.1")
        .cost("O(N) where N is the number of keys to set.")
        .says("Sets the string values of several keys if none of them exists."),
    write("incrbyfloat", 3, Group::String, incrbyfloat)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .since("2.6.0")
        .says("Adds a number to the floating point value of a key; a missing key counts as 0."),
    write("setrange", 4, Group::String, setrange)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("2.2.0")
        .cost("O(1), not counting the time taken to copy the new string in place.")
        .says("Overwrites a part of a string value, which is created if it is missing."),
    read("getrange", 4, Group::String, getrange)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.4.0")
        .cost(RANGE)
        .says("Returns a part of a string value."),
    read("substr", 4, Group::String, getrange)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .cost(RANGE)
        .says("Returns a part of a string value. GETRANGE does the same."),
    read("lcs", -3, Group::String, lcs)
        .keys(&[keys(ACCESS, 1, 1, 1)])
        .since("7.0.0")
        .cost("O(N*M) where N and M are the lengths of s1 and s2, respectively")
        .says("Finds the longest common subsequence of two string values."),
];

fn getset(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match txn.string(&args[1])? {
        Some(text) => text.reply(reply),
        None => reply.null(),
    }
    txn.put(&args[1], &args[2], None);
    Ok(())
}

fn msetnx(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::WrongArity("msetnx".into()));
    }
    let places = (1..args.len()).step_by(2);
    let free = places.clone().all(|i| txn.view().find(&args[i]).is_none());
    if free {
        places.for_each(|i| txn.put(&args[i], &args[i + 1], None));
    }
    reply.integer(i64::from(free));
    Ok(())
}

fn incrbyfloat(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let before = match txn.string(&args[1])? {
        Some(text) => Wide::parse(&text.to_bytes()),
        None => Wide::parse(b"0"),
    };
    let (before, by) = before.zip(Wide::parse(&args[2])).ok_or(Error::NotFloat)?;
    let after = before.plus(by).ok_or(Error::new("ERR increment would produce NaN or Infinity"))?;
    let deadline = txn.view().find(&args[1]).and_then(crate::entry::Entry::deadline);
    txn.announced_as(event::ADD_FLOAT);
    txn.put(&args[1], after.as_bytes(), deadline);
    reply.bulk(after.as_bytes());
    Ok(())
}

fn setrange(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let offset = integer(&args[2])?;
    let offset = usize::try_from(offset).map_err(|_| Error::new("ERR offset is out of range"))?;
    let before = txn.string(&args[1])?.map_or(0, Text::len);
    if args[3].is_empty() {
        reply.integer(before as i64);
        return Ok(());
    }
    let end =
        offset.checked_add(args[3].len()).filter(|end| *end <= STRING_MAX).ok_or(Error::StringTooLong)?;
    txn.set_range(&args[1], offset, &args[3]);
    reply.integer(before.max(end) as i64);
    Ok(())
}

fn getrange(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let text = view.string(&args[1])?;
    let len = text.map_or(0, Text::len) as i64;
    if len == 0 || (start < 0 && end < 0 && start > end) {
        reply.bulk(b"");
        return Ok(());
    }
    let inside = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (inside(start), inside(end).min(len - 1));
    match text {
        Some(text) if start <= end => reply.bulk(&text.range(start as usize, end as usize + 1)),
        Some(_) | None => reply.bulk(b""),
    }
    Ok(())
}

/// One match: where it begins and ends in both strings.
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

#[derive(Default)]
struct LcsOptions {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

fn lcs_options(args: Args<'_>) -> Result<LcsOptions, Error> {
    let (mut options, mut i) = (LcsOptions::default(), 3);
    while let Some(word) = args.get(i) {
        match word.to_ascii_uppercase().as_slice() {
            b"LEN" => options.len = true,
            b"IDX" => options.idx = true,
            b"WITHMATCHLEN" => options.with_match_len = true,
            b"MINMATCHLEN" if i + 1 < args.len() => {
                i += 1;
                options.min_match_len = usize::try_from(integer(&args[i])?).unwrap_or(0);
            }
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    if options.len && options.idx {
        return Err(Error::new("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

/// The table of the classic dynamic programme is walked back from its end, which gives the matches last first.
fn lcs(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wrong_type = |_| Error::new("ERR The specified keys must contain string values");
    let text = |key: &[u8]| -> Result<Cow<'_, [u8]>, Error> {
        Ok(view.string(key).map_err(wrong_type)?.map_or(Cow::Borrowed(&b""[..]), Text::to_bytes))
    };
    let (a, b) = (text(&args[1])?, text(&args[2])?);
    let options = lcs_options(args)?;
    let cells = (a.len() + 1).checked_mul(b.len() + 1).filter(|cells| *cells <= LCS_CELLS_MAX);
    let cells = cells
        .ok_or(Error::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"))?;
    let width = b.len() + 1;
    let mut table = vec![0u32; cells];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i * width + j] = if a[i - 1] == b[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    let total = table.last().copied().unwrap_or(0) as usize;
    if options.len {
        reply.integer(total as i64);
        return Ok(());
    }
    let (mut common, mut matches) = (Vec::with_capacity(total), Vec::<Match>::new());
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            common.push(a[i]);
            match matches.last_mut() {
                Some(last) if last.a.0 == i + 1 && last.b.0 == j + 1 => (last.a.0, last.b.0) = (i, j),
                Some(_) | None => matches.push(Match { a: (i, i), b: (j, j) }),
            }
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    if !options.idx {
        common.reverse();
        reply.bulk(&common);
        return Ok(());
    }
    matches.retain(|found| found.a.1 - found.a.0 + 1 >= options.min_match_len);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.len());
    for found in matches {
        reply.array(if options.with_match_len { 3 } else { 2 });
        for (start, end) in [found.a, found.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer(end as i64);
        }
        if options.with_match_len {
            reply.integer((found.a.1 - found.a.0 + 1) as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(total as i64);
    Ok(())
}

/// Four bytes each.
const LCS_CELLS_MAX: usize = STRING_MAX / 4;
