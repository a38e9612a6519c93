//! Redis' compact encodings of small collections, each a string of its own: listpack, ziplist, zipmap, intset.

use super::BadFormat;
use super::input::{Input, Slice};
use crate::number::IntegerText;

fn text(integer: i64) -> Vec<u8> {
    IntegerText::new(integer).as_bytes().to_vec()
}

fn int24(bytes: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8)
}

/// Checks the length in the head and takes head and end mark away; gives the entries and how many they should be.
fn framed<'a>(bytes: &'a [u8], head: usize) -> Result<(Slice<'a>, usize), BadFormat> {
    let total = u32::from_le_bytes(bytes.get(..4).ok_or(BadFormat)?.try_into().map_err(|_| BadFormat)?);
    let count = bytes.get(head - 2..head).ok_or(BadFormat)?.try_into().map_err(|_| BadFormat)?;
    match bytes.get(head..) {
        Some([entries @ .., 0xff]) if total as usize == bytes.len() => {
            Ok((Slice(entries), usize::from(u16::from_le_bytes(count))))
        }
        _ => Err(BadFormat),
    }
}

/// The most that a head can count; then the entries have to be.
const UNCOUNTED: usize = u16::MAX as usize;

fn counted(items: Vec<Vec<u8>>, count: usize) -> Result<Vec<Vec<u8>>, BadFormat> {
    if count == UNCOUNTED || items.len() == count { Ok(items) } else { Err(BadFormat) }
}

/// The entries of a listpack.
pub(super) fn listpack(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BadFormat> {
    let (mut input, count) = framed(bytes, 6)?;
    let mut items = Vec::new();
    while !input.0.is_empty() {
        let before = input.0.len();
        let first = input.byte()?;
        let item = match first {
            0x00..=0x7f => text(i64::from(first)),
            0x80..=0xbf => input.take(usize::from(first & 0x3f))?.to_vec(),
            0xc0..=0xdf => {
                let value = i64::from(first & 0x1f) << 8 | i64::from(input.byte()?);
                text(if value >= 1 << 12 { value - (1 << 13) } else { value })
            }
            0xe0..=0xef => {
                let len = usize::from(first & 0x0f) << 8 | usize::from(input.byte()?);
                input.take(len)?.to_vec()
            }
            0xf0 => {
                let len = u32::from_le_bytes(input.array()?);
                input.take(len as usize)?.to_vec()
            }
            0xf1 => text(i64::from(i16::from_le_bytes(input.array()?))),
            0xf2 => text(int24(input.array()?)),
            0xf3 => text(i64::from(i32::from_le_bytes(input.array()?))),
            0xf4 => text(i64::from_le_bytes(input.array()?)),
            0xf5..=0xff => return Err(BadFormat),
        };
        items.push(item);
        // Behind each stands its own length, to be read backwards: seven bits a byte, the last one first.
        let len = before - input.0.len();
        let back = input.take(match len {
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000..0x20_0000 => 3,
            0x20_0000..0x1000_0000 => 4,
            _ => 5,
        })?;
        if back.iter().fold(0usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f)) != len {
            return Err(BadFormat);
        }
    }
    counted(items, count)
}

/// The entries of a ziplist.
pub(super) fn ziplist(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BadFormat> {
    let (mut input, count) = framed(bytes, 10)?;
    let (mut items, mut previous) = (Vec::new(), 0);
    while !input.0.is_empty() {
        let before = input.0.len();
        let said = match input.byte()? {
            0xfe => u32::from_le_bytes(input.array()?) as usize,
            0xff => return Err(BadFormat),
            len => usize::from(len),
        };
        if said != previous {
            return Err(BadFormat);
        }
        let first = input.byte()?;
        items.push(match first {
            0x00..=0x3f => input.take(usize::from(first))?.to_vec(),
            0x40..=0x7f => {
                let len = usize::from(first & 0x3f) << 8 | usize::from(input.byte()?);
                input.take(len)?.to_vec()
            }
            0x80 => {
                let len = u32::from_be_bytes(input.array()?);
                input.take(len as usize)?.to_vec()
            }
            0xc0 => text(i64::from(i16::from_le_bytes(input.array()?))),
            0xd0 => text(i64::from(i32::from_le_bytes(input.array()?))),
            0xe0 => text(i64::from_le_bytes(input.array()?)),
            0xf0 => text(int24(input.array()?)),
            0xfe => text(i64::from(i8::from_le_bytes(input.array()?))),
            0xf1..=0xfd => text(i64::from(first & 0x0f) - 1),
            _ => return Err(BadFormat),
        });
        previous = before - input.0.len();
    }
    counted(items, count)
}

/// Fields and values of a zipmap, one after the other.
pub(super) fn zipmap(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BadFormat> {
    let mut input = Slice(bytes);
    input.byte()?;
    let mut items = Vec::new();
    loop {
        let len = match input.byte()? {
            0xff => break,
            0xfe => u32::from_le_bytes(input.array()?) as usize,
            len => usize::from(len),
        };
        let is_value = items.len() % 2 == 1;
        // A value may have unused bytes behind it.
        let unused = if is_value { usize::from(input.byte()?) } else { 0 };
        items.push(input.take(len)?.to_vec());
        input.take(unused)?;
    }
    if input.0.is_empty() { Ok(items) } else { Err(BadFormat) }
}

/// The members of an intset, which ascend.
pub(super) fn intset(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BadFormat> {
    let mut input = Slice(bytes);
    let (width, count) = (u32::from_le_bytes(input.array()?), u32::from_le_bytes(input.array()?));
    if !matches!(width, 2 | 4 | 8) || input.0.len() != width as usize * count as usize {
        return Err(BadFormat);
    }
    let mut members = Vec::with_capacity(count as usize);
    for _ in 0..count {
        members.push(match width {
            2 => i64::from(i16::from_le_bytes(input.array()?)),
            4 => i64::from(i32::from_le_bytes(input.array()?)),
            _ => i64::from_le_bytes(input.array()?),
        });
    }
    if !members.is_sorted_by(|a, b| a < b) {
        return Err(BadFormat);
    }
    Ok(members.into_iter().map(text).collect())
}
