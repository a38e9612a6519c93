//! Reading a value, in whichever of its encodings.

use super::packed::{intset, listpack, ziplist, zipmap};
use super::{BadFormat, Loaded, LoadedStream};
use crate::number::{IntegerText, parse_float};
use crate::{STRING_MAX, UnixMillis};
use std::collections::HashSet;

/// Bytes that have not been read yet.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], BadFormat> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadFormat)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFormat> {
        self.take(N)?.try_into().map_err(|_| BadFormat)
    }

    pub(super) fn byte(&mut self) -> Result<u8, BadFormat> {
        Ok(self.take(1)?[0])
    }

    /// A length, or which special encoding a string has.
    fn len_or_encoding(&mut self) -> Result<Result<u64, u8>, BadFormat> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            3 => Err(first & 0x3f),
            _ => return Err(BadFormat),
        })
    }

    pub(super) fn len(&mut self) -> Result<u64, BadFormat> {
        self.len_or_encoding()?.map_err(|_| BadFormat)
    }

    pub(super) fn size(&mut self) -> Result<usize, BadFormat> {
        usize::try_from(self.len()?).map_err(|_| BadFormat)
    }

    pub(super) fn string(&mut self) -> Result<Vec<u8>, BadFormat> {
        let integer = match self.len_or_encoding()? {
            Ok(len) => return Ok(self.take(usize::try_from(len).map_err(|_| BadFormat)?)?.to_vec()),
            Err(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Err(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Err(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Err(3) => {
                let (packed, len) = (self.size()?, self.size()?);
                return decompressed(self.take(packed)?, len);
            }
            Err(_) => return Err(BadFormat),
        };
        Ok(IntegerText::new(integer).as_bytes().to_vec())
    }

    fn strings(&mut self) -> Result<Vec<Vec<u8>>, BadFormat> {
        let count = self.len()?;
        (0..count).map(|_| self.string()).collect()
    }

    /// A score as text, with lengths that stand for what has no digits.
    fn score_text(&mut self) -> Result<f64, BadFormat> {
        match self.byte()? {
            253 => Err(BadFormat),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            len => parse_float(self.take(len as usize)?).ok_or(BadFormat),
        }
    }

    fn score(&mut self) -> Result<f64, BadFormat> {
        Some(f64::from_le_bytes(self.array()?)).filter(|score| !score.is_nan()).ok_or(BadFormat)
    }
}

/// LZF: runs of literal bytes, and references to what stands before.
fn decompressed(packed: &[u8], len: usize) -> Result<Vec<u8>, BadFormat> {
    /// Three bytes are at most so many.
    const EXPANSION_MAX: usize = 264;
    if len > STRING_MAX || len > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(BadFormat);
    }
    let (mut input, mut out) = (Input(packed), Vec::with_capacity(len));
    while !input.0.is_empty() {
        let control = usize::from(input.byte()?);
        if control < 32 {
            out.extend_from_slice(input.take(control + 1)?);
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(input.byte()?);
            }
            let back = ((control & 0x1f) << 8 | usize::from(input.byte()?)) + 1;
            let start = out.len().checked_sub(back).ok_or(BadFormat)?;
            // It may reach into what it writes.
            for i in start..start + count + 2 {
                out.push(out[i]);
            }
        }
        if out.len() > len {
            return Err(BadFormat);
        }
    }
    if out.len() == len { Ok(out) } else { Err(BadFormat) }
}

/// Reads a type and a value, and nothing behind them. Collections are not empty and contain nothing twice.
pub(crate) fn load(body: &[u8]) -> Result<Loaded, BadFormat> {
    let mut input = Input(body);
    let kind = input.byte()?;
    let loaded = value(kind, &mut input)?;
    let is_sound = match &loaded {
        Loaded::String(bytes) => bytes.len() <= STRING_MAX,
        Loaded::List(elements) => !elements.is_empty(),
        Loaded::Set(members) => are_different(members.iter()),
        Loaded::SortedSet(items) => are_different(items.iter().map(|(_, member)| member)),
        Loaded::Hash(fields) => are_different(fields.iter().map(|(name, ..)| name)),
        Loaded::Stream(stream) => stream.is_sound(),
    };
    if is_sound && input.0.is_empty() { Ok(loaded) } else { Err(BadFormat) }
}

fn are_different<'m>(members: impl ExactSizeIterator<Item = &'m Vec<u8>>) -> bool {
    let count = members.len();
    count > 0 && members.collect::<HashSet<_>>().len() == count
}

fn value(kind: u8, input: &mut Input<'_>) -> Result<Loaded, BadFormat> {
    Ok(match kind {
        super::STRING => Loaded::String(input.string()?),
        super::LIST => Loaded::List(input.strings()?),
        super::SET => Loaded::Set(input.strings()?),
        super::SORTED_SET | super::SORTED_SET_2 => {
            let mut items = Vec::new();
            for _ in 0..input.len()? {
                let member = input.string()?;
                let score = if kind == super::SORTED_SET { input.score_text()? } else { input.score()? };
                items.push((score + 0.0, member));
            }
            Loaded::SortedSet(items)
        }
        super::HASH => {
            let mut fields = Vec::new();
            for _ in 0..input.len()? {
                fields.push((input.string()?, input.string()?, 0));
            }
            Loaded::Hash(fields)
        }
        super::HASH_METADATA => {
            let first = u64::from_le_bytes(input.array()?);
            let mut fields = Vec::new();
            for _ in 0..input.len()? {
                let deadline = match input.len()? {
                    0 => 0,
                    later => first.checked_add(later - 1).ok_or(BadFormat)?,
                };
                fields.push((input.string()?, input.string()?, deadline));
            }
            Loaded::Hash(fields)
        }
        super::HASH_LISTPACK_EX => {
            let _first: UnixMillis = u64::from_le_bytes(input.array()?);
            let items = listpack(&input.string()?)?;
            let triples = items.chunks_exact(3);
            if !triples.remainder().is_empty() {
                return Err(BadFormat);
            }
            let deadline = |text: &[u8]| crate::parse_integer(text).and_then(|at| u64::try_from(at).ok());
            let field = |t: &[Vec<u8>]| Ok((t[0].clone(), t[1].clone(), deadline(&t[2]).ok_or(BadFormat)?));
            Loaded::Hash(triples.map(field).collect::<Result<_, _>>()?)
        }
        super::STREAM | super::STREAM_2 | super::STREAM_3 => {
            Loaded::Stream(Box::new(LoadedStream::read(kind, input)?))
        }
        super::HASH_ZIPMAP => hash(zipmap(&input.string()?)?)?,
        super::HASH_ZIPLIST => hash(ziplist(&input.string()?)?)?,
        super::HASH_LISTPACK => hash(listpack(&input.string()?)?)?,
        super::LIST_ZIPLIST => Loaded::List(ziplist(&input.string()?)?),
        super::LIST_QUICKLIST => {
            let mut elements = Vec::new();
            for _ in 0..input.len()? {
                elements.extend(ziplist(&input.string()?)?);
            }
            Loaded::List(elements)
        }
        super::LIST_QUICKLIST_2 => {
            let mut elements = Vec::new();
            for _ in 0..input.len()? {
                match (input.len()?, input.string()?) {
                    (1, element) => elements.push(element),
                    (2, packed) => elements.extend(listpack(&packed)?),
                    _ => return Err(BadFormat),
                }
            }
            Loaded::List(elements)
        }
        super::SET_INTSET => Loaded::Set(intset(&input.string()?)?),
        super::SET_LISTPACK => Loaded::Set(listpack(&input.string()?)?),
        super::SORTED_SET_ZIPLIST => sorted_set(ziplist(&input.string()?)?)?,
        super::SORTED_SET_LISTPACK => sorted_set(listpack(&input.string()?)?)?,
        _ => return Err(BadFormat),
    })
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

fn sorted_set(items: Vec<Vec<u8>>) -> Result<Loaded, BadFormat> {
    let item = |(member, score): Pair| Ok((parse_float(&score).ok_or(BadFormat)? + 0.0, member));
    Ok(Loaded::SortedSet(pairs(items)?.into_iter().map(item).collect::<Result<_, _>>()?))
}
