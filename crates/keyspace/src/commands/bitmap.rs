//! Strings as rows of bits, the first bit being the highest of the first byte. BITFIELD is in `bitmap/field.rs`.

mod field;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::integer;
use crate::event;
use crate::view::Text;
use crate::{Args, Error, Reply, STRING_MAX, Txn, View};
use std::borrow::Cow;

pub(super) use field::ROWS as FIELD_ROWS;

const ACCESS: &[&str] = &["RO", "ACCESS"];

pub(super) const ROWS: &[Row] = &[
    write("setbit", 4, Group::Bitmap, setbit)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .since("2.2.0")
        .says("Sets or clears a bit of a string value, which is created if it is missing."),
    read("getbit", 3, Group::Bitmap, getbit)
        .fast()
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.2.0")
        .says("Returns a bit of a string value."),
    read("bitcount", -2, Group::Bitmap, bitcount)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.6.0")
        .cost("O(N)")
        .says("Counts the bits of a string value that are set."),
    read("bitpos", -3, Group::Bitmap, bitpos)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("2.8.7")
        .cost("O(N)")
        .says("Finds the first bit of a string value that is set, or clear."),
    write("bitop", -4, Group::Bitmap, bitop)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["OW", "UPDATE"], 2, 0, 1), keys(ACCESS, 3, -1, 1)])
        .since("2.6.0")
        .cost("O(N)")
        .says("Combines several string values bit by bit and stores the result."),
];

/// The index of a bit. (Redis: at most 4 G of them)
fn bit_offset(bytes: &[u8]) -> Result<usize, Error> {
    let offset = crate::parse_integer(bytes).and_then(|offset| usize::try_from(offset).ok());
    offset
        .filter(|offset| offset >> 3 < STRING_MAX)
        .ok_or(Error::new("ERR bit offset is not an integer or out of range"))
}

fn byte_at(text: Option<Text<'_>>, index: usize) -> u8 {
    text.map_or(0, |text| text.range(index, (index + 1).min(text.len())).first().copied().unwrap_or(0))
}

fn setbit(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let offset = bit_offset(&args[2])?;
    let on = match &args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(Error::new("ERR bit is not an integer or out of range")),
    };
    let text = txn.string(&args[1])?;
    let (len, byte) = (text.map_or(0, Text::len), byte_at(text, offset >> 3));
    let mask = 0x80 >> (offset & 7);
    let changed = if on { byte | mask } else { byte & !mask };
    // Even a bit that stays what it is makes the string long enough.
    if changed != byte || offset >> 3 >= len {
        txn.announced_as(event::SET_BIT);
        txn.set_range(&args[1], offset >> 3, &[changed]);
    }
    reply.integer(i64::from(byte & mask != 0));
    Ok(())
}

fn getbit(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let offset = bit_offset(&args[2])?;
    let byte = byte_at(view.string(&args[1])?, offset >> 3);
    reply.integer(i64::from(byte & (0x80 >> (offset & 7)) != 0));
    Ok(())
}

/// A range in bits, both ends included, or nothing: `start end [BYTE|BIT]` of a string of so many bytes.
fn range(start: i64, end: i64, in_bits: bool, len: usize) -> Option<(usize, usize)> {
    let total = if in_bits { len as i64 * 8 } else { len as i64 };
    let inside = |index: i64| if index < 0 { index.saturating_add(total).max(0) } else { index };
    let (start, end) = (inside(start), inside(end).min(total - 1));
    if start > end {
        return None;
    }
    let (start, end) = (start as usize, end as usize);
    Some(if in_bits { (start, end) } else { (start * 8, end * 8 + 7) })
}

/// `BYTE` or `BIT`; true for bits.
fn unit(word: &[u8]) -> Result<bool, Error> {
    match word.to_ascii_uppercase().as_slice() {
        b"BYTE" => Ok(false),
        b"BIT" => Ok(true),
        _ => Err(Error::Syntax),
    }
}

fn is_set(bytes: &[u8], bit: usize) -> bool {
    bytes.get(bit >> 3).is_some_and(|byte| byte & (0x80 >> (bit & 7)) != 0)
}

fn bitcount(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let given = match args.len() {
        2 => None,
        4 => Some((integer(&args[2])?, integer(&args[3])?, false)),
        5 => Some((integer(&args[2])?, integer(&args[3])?, unit(&args[4])?)),
        _ => return Err(Error::Syntax),
    };
    let text = view.string(&args[1])?;
    let (start, end, in_bits) = given.unwrap_or((0, -1, false));
    // Two negative places the wrong way round are empty here, and clamped into the string by BITPOS. (Redis: BITCOUNT)
    let is_backwards = start < 0 && end < 0 && start > end;
    let bits = range(start, end, in_bits, text.map_or(0, Text::len)).filter(|_| !is_backwards);
    let (Some(text), Some((first, last))) = (text, bits) else {
        reply.integer(0);
        return Ok(());
    };
    let mut bytes = text.range(first >> 3, (last >> 3) + 1).into_owned();
    if let Some(byte) = bytes.first_mut() {
        *byte &= 0xff >> (first & 7);
    }
    if let Some(byte) = bytes.last_mut() {
        *byte &= 0xffu8 << (7 - (last & 7));
    }
    reply.integer(bytes.iter().map(|byte| i64::from(byte.count_ones())).sum());
    Ok(())
}

fn bitpos(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted = match &args[2] {
        b"0" => false,
        b"1" => true,
        other if crate::parse_integer(other).is_none() => return Err(Error::NotInteger),
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    if args.len() > 6 {
        return Err(Error::Syntax);
    }
    let start = args.get(3).map(integer).transpose()?.unwrap_or(0);
    let end = args.get(4).map(integer).transpose()?;
    let in_bits = args.get(5).map(unit).transpose()?.unwrap_or(false);
    let Some(text) = view.string(&args[1])? else {
        reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let bytes = text.to_bytes();
    let Some((first, last)) = range(start, end.unwrap_or(-1), in_bits, bytes.len()) else {
        reply.integer(-1);
        return Ok(());
    };
    let dull = if wanted { 0 } else { 0xff };
    let mut bit = first;
    while bit <= last {
        if bit & 7 == 0 && last - bit >= 7 && bytes.get(bit >> 3) == Some(&dull) {
            bit += 8;
        } else if is_set(&bytes, bit) == wanted {
            reply.integer(bit as i64);
            return Ok(());
        } else {
            bit += 1;
        }
    }
    // Without an end the string counts as followed by clear bits for ever.
    reply.integer(if !wanted && end.is_none() { bytes.len() as i64 * 8 } else { -1 });
    Ok(())
}

fn bitop(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operation = args[1].to_ascii_uppercase();
    if operation == b"NOT" && args.len() != 4 {
        return Err(Error::new("ERR BITOP NOT must be called with a single source key."));
    }
    if !matches!(operation.as_slice(), b"AND" | b"OR" | b"XOR" | b"NOT") {
        return Err(Error::Syntax);
    }
    let sources = (3..args.len())
        .map(|i| Ok(txn.string(&args[i])?.map_or(Cow::Borrowed(&b""[..]), Text::to_bytes)))
        .collect::<Result<Vec<_>, Error>>()?;
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let byte = |source: &Cow<'_, [u8]>, i: usize| source.get(i).copied().unwrap_or(0);
    let combined: Vec<u8> = (0..len)
        .map(|i| {
            let bytes = sources.iter().map(|source| byte(source, i));
            match operation.as_slice() {
                b"AND" => bytes.fold(0xff, |all, byte| all & byte),
                b"OR" => bytes.fold(0, |all, byte| all | byte),
                b"XOR" => bytes.fold(0, |all, byte| all ^ byte),
                _ => bytes.fold(0, |_, byte| !byte),
            }
        })
        .collect();
    drop(sources);
    if len > 0 {
        txn.put(&args[2], &combined, None);
    } else {
        txn.delete(&args[2]);
    }
    reply.integer(len as i64);
    Ok(())
}
