//! What commands of streams are told: names of entries, bounds of intervals, how to trim; and how entries are answered.

use super::references::References;
use crate::commands::integer;
use crate::values::limits::STREAM_ENTRIES;
use crate::values::{EntryId, Keep, StreamEntry};
use crate::{Args, Error, Reply};

const INVALID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");

/// A name; 0 is the number that it leaves out.
pub(super) fn entry_id(text: &[u8]) -> Result<EntryId, Error> {
    EntryId::parse(text, 0).ok_or(INVALID)
}

/// Many of them.
pub(super) fn entry_ids<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<EntryId>, Error> {
    texts.map(entry_id).collect()
}

/// `-` and `+` as well.
fn any_id(text: &[u8], seq_missing: u64) -> Result<EntryId, Error> {
    match text {
        b"-" => Ok(EntryId::ZERO),
        b"+" => Ok(EntryId::MAX),
        _ => EntryId::parse(text, seq_missing).ok_or(INVALID),
    }
}

/// Likewise; without a number it is the first of its millisecond.
pub(super) fn group_id(text: &[u8]) -> Result<EntryId, Error> {
    any_id(text, 0)
}

/// Where an interval begins: `(` excludes.
pub(super) fn start_id(text: &[u8]) -> Result<EntryId, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            let id = EntryId::parse(rest, 0).ok_or(INVALID)?;
            id.next().ok_or(Error::new("ERR invalid start ID for the interval"))
        }
        _ => any_id(text, 0),
    }
}

/// Where it ends.
pub(super) fn end_id(text: &[u8]) -> Result<EntryId, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            let id = EntryId::parse(rest, u64::MAX).ok_or(INVALID)?;
            id.previous().ok_or(Error::new("ERR invalid end ID for the interval"))
        }
        _ => any_id(text, u64::MAX),
    }
}

/// How XADD names an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// `*`
    Auto,
    /// `ms-*`
    Millis(u64),
    /// `ms-seq`
    Whole(EntryId),
}

/// The options of XADD and XTRIM.
pub(super) struct TrimOptions {
    pub(super) keep: Option<Keep>,
    pub(super) exact: bool,
    /// Entries that are removed at most; 0 is no limit.
    pub(super) limit: u64,
    /// What becomes of entries that groups know.
    pub(super) references: Option<References>,
    /// `NOMKSTREAM`
    pub(super) no_stream: bool,
    pub(super) name: Named,
    /// Where the name stands.
    pub(super) at: usize,
}

impl TrimOptions {
    pub(super) fn parse(args: Args<'_>, is_add: bool) -> Result<Self, Error> {
        let (keep, exact, no_stream, name) = (None, true, false, Named::Auto);
        let mut options = Self { keep, exact, limit: 0, references: None, no_stream, name, at: 2 };
        let mut limit = None;
        while let Some(word) = args.get(options.at) {
            let upper = word.to_ascii_uppercase();
            let has_more = options.at + 1 < args.len();
            match upper.as_slice() {
                b"*" if is_add => break,
                b"MAXLEN" | b"MINID" if has_more => options.parse_keep(args, upper == b"MAXLEN")?,
                b"LIMIT" if has_more => {
                    options.at += 1;
                    let given = u64::try_from(integer(&args[options.at])?);
                    limit = Some(given.map_err(|_| Error::new("ERR The LIMIT argument must be >= 0."))?);
                }
                b"NOMKSTREAM" if is_add => options.no_stream = true,
                b"KEEPREF" | b"DELREF" | b"ACKED" => References::give(&mut options.references, &upper)?,
                _ if is_add => {
                    options.name = match EntryId::parse_ms(word) {
                        Some(ms) => Named::Millis(ms),
                        None => Named::Whole(entry_id(word)?),
                    };
                    break;
                }
                _ => return Err(Error::Syntax),
            }
            options.at += 1;
        }
        if options.keep.is_none() && limit.is_some_and(|limit| limit > 0) {
            return Err(Error::new(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if options.keep.is_none() && !is_add {
            return Err(Error::new("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        if options.exact && limit.is_some() {
            return Err(Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        if !options.exact {
            options.limit = limit.unwrap_or_else(limit_usual);
        }
        Ok(options)
    }

    /// `MAXLEN|MINID [=|~] threshold`.
    fn parse_keep(&mut self, args: Args<'_>, is_len: bool) -> Result<(), Error> {
        if self.keep.is_some() {
            return Err(Error::new(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        self.at += 1;
        let sign = args.get(self.at).filter(|_| self.at + 1 < args.len()).unwrap_or_default();
        self.exact = sign != b"~";
        if sign == b"~" || sign == b"=" {
            self.at += 1;
        }
        self.keep = Some(if is_len {
            let max = u64::try_from(integer(&args[self.at])?);
            Keep::Last(max.map_err(|_| Error::new("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            Keep::From(entry_id(&args[self.at])?)
        });
        Ok(())
    }
}

/// So many entries go at most by a trim with `~`, so that it does not take long.
fn limit_usual() -> u64 {
    const FEW: u64 = 10_000;
    const MANY: u64 = 1_000_000;
    match u64::try_from(STREAM_ENTRIES.get()).unwrap_or(0).saturating_mul(100) {
        0 => FEW,
        limit => limit.min(MANY),
    }
}

/// Answers with an entry: its name, then its fields.
pub(super) fn reply_entry(reply: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply_fields(reply, entry);
}

/// Answers with its fields only.
pub(super) fn reply_fields(reply: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    reply.array(entry.len * 2);
    for (name, value) in entry.fields() {
        reply.bulk(&name);
        reply.bulk(&value);
    }
}

/// Answers with many.
pub(super) fn reply_entries(reply: &mut Reply<'_>, entries: &[StreamEntry<'_>]) {
    reply.array(entries.len());
    entries.iter().for_each(|entry| reply_entry(reply, entry));
}

/// Answers with a name.
pub(super) fn reply_id(reply: &mut Reply<'_>, id: EntryId) {
    reply.bulk(&id.text());
}

/// A number as an answer has it.
pub(super) fn reply_count(reply: &mut Reply<'_>, count: usize) {
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
}

/// A refusal that names the key and the group.
pub(super) fn no_group(key: &[u8], group: &[u8], where_to: &str) -> Error {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Error::Other(format!("NOGROUP No such key '{key}' or consumer group '{group}'{where_to}").into())
}
