//! Small collections as one run of bytes: elements and numbers one behind the other, each as short as it can be.
//!
//! An element's first byte says what follows. Below [`BYTES_8`] it is the length of a string that follows; the next
//! three say that the length follows in one, two or four bytes. [`INTEGER`] and one to eight more: an integer of so many
//! bytes, lowest first. Everything above is a small integer by itself or with the next byte. An element that is spelt as an
//! integer is always kept as one, so equal elements are equal bytes. A number's first byte is a small integer by itself
//! or with the next byte; or it says how many decimals an integer of how many bytes has; or that a float's eight follow.

use super::element::Element;
use crate::number::parse_integer;
use leveret_base::Thin;
use std::ops::Range;

const BYTES_8: u8 = 0x5e;
const BYTES_16: u8 = 0x5f;
const BYTES_32: u8 = 0x60;
const INTEGER: u8 = 0x60;
/// Integers of a byte by themselves begin here.
const SMALL: u8 = 0x69;
/// And here those below [`PAIRS`] times 256, of this byte and the next one.
const SMALL_PAIR: u8 = 0xe0;
const SMALL_MAX: i64 = (SMALL_PAIR - SMALL) as i64;

/// Integers below it are a byte by themselves.
const PAIR: u8 = 0x80;
/// Integers below it, times 256, are this byte less [`PAIR`] and the next one.
const PAIRS: i64 = 0x20;
const DECIMALS: u8 = 0xa0;
/// More decimals than this have their float's bytes.
const DECIMALS_MAX: u8 = 8;
const FLOAT: u8 = 0xf0;
/// 10 to the number of decimals.
const POWERS: [f64; DECIMALS_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
/// Up to here a float is an exact integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An element as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item<'a> {
    /// Never the spelling of an integer.
    Bytes(&'a [u8]),
    Integer(i64),
}

/// How many bytes hold an integer, its sign included.
fn width(integer: i64) -> usize {
    let bits = 65 - (if integer < 0 { !integer } else { integer }).leading_zeros();
    bits.div_ceil(8) as usize
}

fn read_integer(run: &[u8], width: usize) -> Option<i64> {
    let mut bytes = [0; 8];
    bytes.get_mut(8 - width..)?.copy_from_slice(run.get(..width)?);
    Some(i64::from_le_bytes(bytes) >> (64 - 8 * width))
}

fn write_integer(integer: i64, out: &mut [u8]) {
    let bytes = integer.to_le_bytes();
    out.copy_from_slice(&bytes[..out.len()]);
}

impl<'a> Item<'a> {
    /// How the bytes are kept.
    #[inline]
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        parse_integer(bytes).map_or(Item::Bytes(bytes), Item::Integer)
    }

    /// What was put in.
    #[inline]
    pub(super) fn element(self) -> Element<'a> {
        match self {
            Item::Bytes(bytes) => Element::Borrowed(bytes),
            Item::Integer(integer) => Element::integer(integer),
        }
    }

    /// The bytes it takes.
    pub(super) fn size(self) -> usize {
        match self {
            Item::Integer(integer) if (0..SMALL_MAX).contains(&integer) => 1,
            Item::Integer(integer) if (0..PAIRS << 8).contains(&integer) => 2,
            Item::Integer(integer) => 1 + width(integer),
            Item::Bytes(bytes) => match bytes.len() {
                len if len < usize::from(BYTES_8) => 1 + len,
                len @ ..=0xff => 2 + len,
                len @ ..=0xffff => 3 + len,
                len => 5 + len,
            },
        }
    }

    /// Writes it to the front of `out`; gives what is left of that.
    pub(super) fn write(self, out: &mut [u8]) -> &mut [u8] {
        let (out, rest) = out.split_at_mut(self.size());
        match self {
            Item::Integer(integer) if out.len() == 1 => out[0] = SMALL + integer as u8,
            Item::Integer(integer) if out.len() == 2 && (0..PAIRS << 8).contains(&integer) => {
                out.copy_from_slice(&[SMALL_PAIR + (integer >> 8) as u8, integer as u8]);
            }
            Item::Integer(integer) => {
                out[0] = INTEGER + (out.len() - 1) as u8;
                write_integer(integer, &mut out[1..]);
            }
            Item::Bytes(bytes) => {
                let (head, body) = out.split_at_mut(out.len() - bytes.len());
                match head.len() {
                    1 => head[0] = bytes.len() as u8,
                    2 => head.copy_from_slice(&[BYTES_8, bytes.len() as u8]),
                    3 => {
                        head[0] = BYTES_16;
                        head[1..].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
                    }
                    _ => {
                        head[0] = BYTES_32;
                        head[1..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
                    }
                }
                body.copy_from_slice(bytes);
            }
        }
        rest
    }

    /// The first element of a run, and the bytes it takes.
    #[inline]
    pub(super) fn read(run: &'a [u8]) -> Option<(Self, usize)> {
        let head = *run.first()?;
        let (start, len) = match head {
            ..BYTES_8 => (1, usize::from(head)),
            SMALL_PAIR.. => {
                let integer = i64::from(head - SMALL_PAIR) << 8 | i64::from(*run.get(1)?);
                return Some((Item::Integer(integer), 2));
            }
            SMALL.. => return Some((Item::Integer(i64::from(head - SMALL)), 1)),
            BYTES_8 => (2, usize::from(*run.get(1)?)),
            BYTES_16 => (3, usize::from(u16::from_le_bytes(*run.get(1..)?.first_chunk()?))),
            BYTES_32 => (5, u32::from_le_bytes(*run.get(1..)?.first_chunk()?) as usize),
            _ => {
                let width = usize::from(head - INTEGER);
                return Some((Item::Integer(read_integer(run.get(1..)?, width)?), 1 + width));
            }
        };
        Some((Item::Bytes(run.get(start..start + len)?), start + len))
    }
}

/// A float as it is kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Number {
    /// An integer and where its decimal point is.
    Decimal(i64, u8),
    /// As it is.
    Float(f64),
}

impl Number {
    /// The shortest way to keep exactly this float.
    pub(super) fn of(value: f64) -> Self {
        for (decimals, power) in (0..).zip(POWERS) {
            let integer = (value * power).round();
            if integer.abs() >= EXACT || !integer.is_finite() {
                break;
            }
            if (integer / power).to_bits() == value.to_bits() && integer.to_bits() != (-0.0f64).to_bits() {
                return Number::Decimal(integer as i64, decimals);
            }
        }
        Number::Float(value)
    }

    /// The float.
    #[inline]
    pub(super) fn value(self) -> f64 {
        match self {
            Number::Decimal(integer, 0) => integer as f64,
            Number::Decimal(integer, decimals) => integer as f64 / POWERS[usize::from(decimals)],
            Number::Float(value) => value,
        }
    }

    /// The bytes it takes.
    pub(super) fn size(self) -> usize {
        match self {
            Number::Decimal(integer, 0) if (0..i64::from(PAIR)).contains(&integer) => 1,
            Number::Decimal(integer, 0) if (0..PAIRS << 8).contains(&integer) => 2,
            Number::Decimal(integer, _) => 1 + width(integer),
            Number::Float(_) => 9,
        }
    }

    /// Writes it to the front of `out`; gives what is left of that.
    pub(super) fn write(self, out: &mut [u8]) -> &mut [u8] {
        let (out, rest) = out.split_at_mut(self.size());
        match self {
            Number::Decimal(integer, _) if out.len() == 1 => out[0] = integer as u8,
            Number::Decimal(integer, 0) if out.len() == 2 && (0..PAIRS << 8).contains(&integer) => {
                out.copy_from_slice(&[PAIR + (integer >> 8) as u8, integer as u8]);
            }
            Number::Decimal(integer, decimals) => {
                out[0] = DECIMALS + decimals * 8 + (out.len() - 2) as u8;
                write_integer(integer, &mut out[1..]);
            }
            Number::Float(value) => {
                out[0] = FLOAT;
                out[1..].copy_from_slice(&value.to_le_bytes());
            }
        }
        rest
    }

    /// The first number of a run, and the bytes it takes.
    #[inline]
    pub(super) fn read(run: &[u8]) -> Option<(Self, usize)> {
        let (head, rest) = run.split_first()?;
        match *head {
            head @ ..PAIR => Some((Number::Decimal(i64::from(head), 0), 1)),
            head @ ..DECIMALS => {
                Some((Number::Decimal(i64::from(head - PAIR) << 8 | i64::from(*rest.first()?), 0), 2))
            }
            FLOAT.. => Some((Number::Float(f64::from_le_bytes(*rest.first_chunk()?)), 9)),
            head => {
                let (decimals, width) = ((head - DECIMALS) / 8, usize::from((head - DECIMALS) % 8) + 1);
                Some((Number::Decimal(read_integer(rest, width)?, decimals.min(DECIMALS_MAX)), 1 + width))
            }
        }
    }
}

/// Of the first byte: a mark of the owner's.
const MARK: u8 = 0x80;
/// Of the first byte: the number follows in four bytes.
const MANY: u8 = 0x7f;

fn head_of(len: usize) -> usize {
    if len < usize::from(MANY) { 1 } else { 5 }
}

/// A run in an allocation of just its size, behind the number of what is in it. An empty one takes none.
#[derive(Default, Clone)]
#[repr(transparent)]
pub(crate) struct Run(Option<Thin>);

impl Run {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Thin::bytes)
    }

    fn first(&self) -> u8 {
        self.bytes().first().copied().unwrap_or(0)
    }

    /// How many bytes the number of entries takes.
    #[inline]
    fn head(&self) -> usize {
        match self.bytes().first() {
            None => 0,
            Some(first) if first & MANY == MANY => 5,
            Some(_) => 1,
        }
    }

    /// How many entries there are, whatever those are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.bytes() {
            [] => 0,
            [first, rest @ ..] if first & MANY == MANY => {
                rest.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
            }
            [first, ..] => usize::from(first & MANY),
        }
    }

    /// Whether its owner has marked it. An empty one that takes nothing is not.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.first() & MARK != 0
    }

    /// Marks it.
    pub(super) fn mark(&mut self) {
        let len = self.len();
        self.set_head(len, MARK);
    }

    fn set_head(&mut self, len: usize, mark: u8) -> &mut Thin {
        let (before, head) = (self.head(), head_of(len));
        let run = self.0.get_or_insert_with(|| Thin::new(&[]));
        if head != before {
            run.splice(0..before, head);
        }
        let bytes = run.bytes_mut();
        if head == 1 {
            bytes[0] = mark | len as u8;
        } else {
            bytes[0] = mark | MANY;
            bytes[1..5].copy_from_slice(&(len as u32).to_le_bytes());
        }
        run
    }

    /// Their bytes; places are counted from the start.
    #[inline]
    pub(super) fn run(&self) -> &[u8] {
        self.bytes().get(self.head()..).unwrap_or_default()
    }

    /// Every entry with its place; `read` gives the first one of a run, and the bytes it takes.
    #[inline]
    pub(super) fn entries<'a, T>(
        &'a self,
        read: impl Fn(&'a [u8]) -> Option<(T, usize)> + 'a,
    ) -> impl Iterator<Item = (Range<usize>, T)> + 'a {
        let (run, mut start) = (self.run(), 0);
        std::iter::from_fn(move || {
            let (entry, size) = read(run.get(start..)?)?;
            start += size;
            Some((start - size..start, entry))
        })
    }

    /// What it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Makes room for `size` bytes instead of those at `place`, and says that there are `len` entries then.
    pub(super) fn room(&mut self, place: Range<usize>, size: usize, len: usize) -> &mut [u8] {
        let mark = self.first() & MARK;
        let run = self.set_head(len, mark);
        let head = head_of(len);
        run.splice(place.start + head..place.end + head, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = |len: usize| vec![b'x'; len];
        let mut elements: Vec<Vec<u8>> =
            [0, 1, 93, 94, 255, 256, 65_535, 65_536].into_iter().map(long).collect();
        for integer in [
            0,
            118,
            119,
            8191,
            8192,
            -1,
            127,
            128,
            -128,
            -129,
            32_767,
            32_768,
            1 << 23,
            1 << 31,
            i64::MAX,
            i64::MIN,
        ] {
            elements.push(integer.to_string().into_bytes());
            elements.push(format!("0{integer}").into_bytes());
        }
        for element in elements {
            let item = Item::of(&element);
            let mut out = vec![0; item.size() + 3];
            assert_eq!(item.write(&mut out).len(), 3);
            assert_eq!(Item::read(&out), Some((item, out.len() - 3)));
            assert_eq!(*item.element(), *element);
            assert!((0..item.size()).all(|end| Item::read(&out[..end]).is_none()));
        }
    }

    #[test]
    fn a_number_is_exactly_the_float_it_was() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut values =
            vec![0.0, -0.0, 127.0, 128.0, 8191.0, 8192.0, -1.0, 0.1, 3.25, -2.5e-8, 1e300, f64::INFINITY];
        values.extend([f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, EXACT, EXACT + 2.0, 1_700_000_000.123]);
        values.extend((0..1000).map(|_| f64::from_bits(rng.u64(..))).filter(|value| !value.is_nan()));
        values.extend((0..1000).map(|_| rng.i64(-1_000_000..1_000_000) as f64 / 1000.0));
        for value in values {
            let number = Number::of(value);
            let mut out = vec![0; number.size() + 3];
            assert_eq!(number.write(&mut out).len(), 3);
            let (read, size) = Number::read(&out).unwrap();
            assert_eq!((read.value().to_bits(), size), (value.to_bits(), out.len() - 3), "{value}");
        }
    }

    /// As Redis' listpack has it: a head, the contents, and the length of both once more.
    fn listpack_size(text: &[u8]) -> usize {
        let size = match parse_integer(text) {
            Some(0..=127) => 1,
            Some(-4096..=4095) => 2,
            Some(integer) => [3, 4, 5]
                [[2, 3, 4].iter().position(|bytes| width(integer) <= *bytes).unwrap_or(0)]
            .max(if width(integer) > 4 { 9 } else { 0 }),
            None => text.len() + [1, 2, 5][usize::from(text.len() > 63) + usize::from(text.len() > 4095)],
        };
        size + if size < 128 { 1 } else { 2 }
    }

    #[test]
    fn nothing_takes_more_than_in_a_listpack() {
        let mut rng = fastrand::Rng::with_seed(2);
        for shift in 0..64 {
            for _ in 0..20 {
                let integer = rng.i64(..) >> shift;
                let text = integer.to_string().into_bytes();
                assert!(Item::of(&text).size() <= listpack_size(&text), "{integer}");
                let score = integer as f64;
                assert!(Number::of(score).size() <= listpack_size(&text), "{score}");
                let score = integer as f64 / 1000.0;
                assert!(Number::of(score).size() <= listpack_size(format!("{score}").as_bytes()).max(9));
            }
        }
        for len in 0..5000 {
            assert!(Item::Bytes(&vec![b'x'; len]).size() <= listpack_size(&vec![b'x'; len]));
        }
    }
}
