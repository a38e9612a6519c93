//! Reading a value, in whichever of its encodings, in pieces: a collection may be larger than the memory that is to spare.

use super::input::{Input, Slice};
use super::packed::{intset, listpack, ziplist, zipmap};
use super::stream::Blocks;
use super::{BadFormat, Loaded};
use crate::number::parse_float;
use crate::{STRING_MAX, UnixMillis};
use std::collections::HashSet;

/// Whose numbers of types these are. Both count on from 21, each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Redis'.
    Redis,
    /// Valkey's.
    Valkey,
}

/// What an element takes in memory beside its bytes, about.
const ELEMENT_BYTES: usize = 24;

/// A value that is being read.
pub(super) struct Value {
    kind: u8,
    rest: Rest,
}

/// What has not been read.
enum Rest {
    /// All of it, which is one string.
    Whole,
    /// Elements, or what holds several of them.
    Items(u64),
    /// Fields with deadlines that count from here.
    Fields {
        left: u64,
        form: Deadlines,
    },
    Blocks(Blocks),
    Nothing,
}

/// How a field's deadline stands in a value.
#[derive(Debug, Clone, Copy)]
enum Deadlines {
    /// Before the field: 0 for none, else one more than the distance from the first of all.
    From(UnixMillis),
    /// Before the field: 0 for none, else a time.
    Before,
    /// Behind the value: eight bytes, all ones for none.
    Behind,
}

impl Value {
    /// Reads what stands before the first element.
    pub(super) fn begin(family: Family, kind: u8, input: &mut impl Input) -> Result<Self, BadFormat> {
        let rest = match (kind, family) {
            (
                super::STRING
                | super::HASH_ZIPMAP
                | super::HASH_ZIPLIST
                | super::HASH_LISTPACK
                | super::LIST_ZIPLIST
                | super::SET_INTSET
                | super::SET_LISTPACK
                | super::SORTED_SET_ZIPLIST
                | super::SORTED_SET_LISTPACK,
                _,
            )
            | (super::HASH_LISTPACK_EX | super::HASH_LISTPACK_EX_EARLY, Family::Redis) => Rest::Whole,
            (
                super::LIST
                | super::SET
                | super::SORTED_SET
                | super::SORTED_SET_2
                | super::HASH
                | super::LIST_QUICKLIST
                | super::LIST_QUICKLIST_2,
                _,
            ) => Rest::Items(input.len()?),
            (super::HASH_METADATA, Family::Redis) => {
                let first = u64::from_le_bytes(input.array()?);
                Rest::Fields { left: input.len()?, form: Deadlines::From(first) }
            }
            (super::HASH_METADATA_EARLY, Family::Redis) => {
                Rest::Fields { left: input.len()?, form: Deadlines::Before }
            }
            (super::HASH_2, Family::Valkey) => Rest::Fields { left: input.len()?, form: Deadlines::Behind },
            (super::STREAM | super::STREAM_2 | super::STREAM_3, _)
            | (super::STREAM_4 | super::STREAM_5, Family::Redis) => Rest::Blocks(Blocks::begin(kind, input)?),
            _ => return Err(BadFormat),
        };
        Ok(Self { kind, rest })
    }

    /// The next part of the value, of about so many bytes; `None` behind the last. An empty value is one empty piece.
    pub(super) fn piece(
        &mut self,
        input: &mut impl Input,
        budget: usize,
    ) -> Result<Option<Loaded>, BadFormat> {
        let kind = self.kind;
        let (piece, is_last) = match &mut self.rest {
            Rest::Nothing => return Ok(None),
            Rest::Whole => (whole(kind, input)?, true),
            Rest::Items(left) => (items(kind, left, input, budget)?, *left == 0),
            Rest::Fields { left, form } => (fields(*form, left, input, budget)?, *left == 0),
            Rest::Blocks(blocks) => match blocks.entries(input, budget)? {
                Some(entries) => (Loaded::Entries(entries), false),
                None => (Loaded::Stream(Box::new(blocks.rest(input)?)), true),
            },
        };
        if is_last {
            self.rest = Rest::Nothing;
        }
        if is_sound(&piece) { Ok(Some(piece)) } else { Err(BadFormat) }
    }
}

/// Reads a type and a value, and nothing behind them. Collections are not empty and contain nothing twice.
pub(crate) fn load(family: Family, body: &[u8]) -> Result<Loaded, BadFormat> {
    let mut input = Slice(body);
    let kind = input.byte()?;
    let mut value = Value::begin(family, kind, &mut input)?;
    let mut loaded = value.piece(&mut input, usize::MAX)?.ok_or(BadFormat)?;
    if let Loaded::Entries(entries) = loaded {
        let Some(Loaded::Stream(mut stream)) = value.piece(&mut input, usize::MAX)? else {
            return Err(BadFormat);
        };
        stream.entries = entries;
        loaded = Loaded::Stream(stream);
    }
    if input.0.is_empty() && !loaded.is_empty() { Ok(loaded) } else { Err(BadFormat) }
}

fn is_sound(piece: &Loaded) -> bool {
    match piece {
        Loaded::String(bytes) => bytes.len() <= STRING_MAX,
        Loaded::Set(members) => are_different(members.iter()),
        Loaded::SortedSet(items) => are_different(items.iter().map(|(_, member)| member)),
        Loaded::Hash(fields) => are_different(fields.iter().map(|(name, ..)| name)),
        Loaded::List(_) | Loaded::Entries(_) | Loaded::Stream(_) => true,
    }
}

fn are_different<'m>(members: impl ExactSizeIterator<Item = &'m Vec<u8>>) -> bool {
    let count = members.len();
    members.collect::<HashSet<_>>().len() == count
}

fn whole(kind: u8, input: &mut impl Input) -> Result<Loaded, BadFormat> {
    if kind == super::HASH_LISTPACK_EX {
        let _first: UnixMillis = u64::from_le_bytes(input.array()?);
    }
    let bytes = input.string()?;
    Ok(match kind {
        super::STRING => Loaded::String(bytes),
        super::HASH_ZIPMAP => hash(zipmap(&bytes)?)?,
        super::HASH_ZIPLIST => hash(ziplist(&bytes)?)?,
        super::HASH_LISTPACK => hash(listpack(&bytes)?)?,
        super::LIST_ZIPLIST => Loaded::List(ziplist(&bytes)?),
        super::SET_INTSET => Loaded::Set(intset(&bytes)?),
        super::SET_LISTPACK => Loaded::Set(listpack(&bytes)?),
        super::SORTED_SET_ZIPLIST => sorted_set(ziplist(&bytes)?)?,
        super::SORTED_SET_LISTPACK => sorted_set(listpack(&bytes)?)?,
        super::HASH_LISTPACK_EX | super::HASH_LISTPACK_EX_EARLY => hash_with_deadlines(listpack(&bytes)?)?,
        _ => return Err(BadFormat),
    })
}

fn items(kind: u8, left: &mut u64, input: &mut impl Input, budget: usize) -> Result<Loaded, BadFormat> {
    let mut bytes = 0usize;
    let mut more = |taken: usize| {
        bytes = bytes.saturating_add(taken + ELEMENT_BYTES);
        bytes < budget
    };
    let mut loaded = match kind {
        super::SET => Loaded::Set(Vec::new()),
        super::SORTED_SET | super::SORTED_SET_2 => Loaded::SortedSet(Vec::new()),
        super::HASH => Loaded::Hash(Vec::new()),
        _ => Loaded::List(Vec::new()),
    };
    while *left > 0 {
        *left -= 1;
        let taken = match &mut loaded {
            Loaded::SortedSet(items) => {
                let member = input.string()?;
                let score = if kind == super::SORTED_SET { input.score_text()? } else { input.score()? };
                let taken = member.len();
                items.push((score + 0.0, member));
                taken
            }
            Loaded::Hash(fields) => {
                let (name, value) = (input.string()?, input.string()?);
                let taken = name.len() + value.len();
                fields.push((name, value, 0));
                taken
            }
            Loaded::List(elements) | Loaded::Set(elements) => {
                let before = elements.len();
                match kind {
                    super::LIST_QUICKLIST => elements.extend(ziplist(&input.string()?)?),
                    super::LIST_QUICKLIST_2 => match (input.len()?, input.string()?) {
                        (1, element) => elements.push(element),
                        (2, packed) => elements.extend(listpack(&packed)?),
                        _ => return Err(BadFormat),
                    },
                    _ => elements.push(input.string()?),
                }
                let new = elements.get(before..).unwrap_or_default();
                new.iter().map(|element| element.len() + ELEMENT_BYTES).sum()
            }
            Loaded::String(_) | Loaded::Entries(_) | Loaded::Stream(_) => return Err(BadFormat),
        };
        if !more(taken) {
            break;
        }
    }
    Ok(loaded)
}

fn fields(
    form: Deadlines,
    left: &mut u64,
    input: &mut impl Input,
    budget: usize,
) -> Result<Loaded, BadFormat> {
    let (mut fields, mut bytes) = (Vec::new(), 0usize);
    while *left > 0 && bytes < budget {
        *left -= 1;
        let before = match form {
            Deadlines::From(_) | Deadlines::Before => input.len()?,
            Deadlines::Behind => 0,
        };
        let (name, value) = (input.string()?, input.string()?);
        let deadline = match form {
            Deadlines::From(first) if before > 0 => first.checked_add(before - 1).ok_or(BadFormat)?,
            Deadlines::From(_) | Deadlines::Before => before,
            Deadlines::Behind => match i64::from_le_bytes(input.array()?) {
                -1 => 0,
                at => u64::try_from(at).map_err(|_| BadFormat)?,
            },
        };
        bytes = bytes.saturating_add(name.len() + value.len() + ELEMENT_BYTES);
        fields.push((name, value, deadline));
    }
    Ok(Loaded::Hash(fields))
}

type Pair = (Vec<u8>, Vec<u8>);

/// Two by two.
fn pairs(items: Vec<Vec<u8>>) -> Result<Vec<Pair>, BadFormat> {
    let (mut items, mut pairs) = (items.into_iter(), Vec::new());
    while let Some(first) = items.next() {
        pairs.push((first, items.next().ok_or(BadFormat)?));
    }
    Ok(pairs)
}

fn hash(items: Vec<Vec<u8>>) -> Result<Loaded, BadFormat> {
    Ok(Loaded::Hash(pairs(items)?.into_iter().map(|(name, value)| (name, value, 0)).collect()))
}

/// Name, value and deadline in turn.
fn hash_with_deadlines(items: Vec<Vec<u8>>) -> Result<Loaded, BadFormat> {
    let (mut items, mut fields) = (items.into_iter(), Vec::new());
    while let Some(name) = items.next() {
        let (value, deadline) = items.next().zip(items.next()).ok_or(BadFormat)?;
        let deadline = crate::parse_integer(&deadline).and_then(|at| u64::try_from(at).ok());
        fields.push((name, value, deadline.ok_or(BadFormat)?));
    }
    Ok(Loaded::Hash(fields))
}

fn sorted_set(items: Vec<Vec<u8>>) -> Result<Loaded, BadFormat> {
    let item = |(member, score): Pair| Ok((parse_float(&score).ok_or(BadFormat)? + 0.0, member));
    Ok(Loaded::SortedSet(pairs(items)?.into_iter().map(item).collect::<Result<_, _>>()?))
}
