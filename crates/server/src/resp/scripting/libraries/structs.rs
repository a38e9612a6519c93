//! `struct.pack`, `struct.unpack`, `struct.size`: values in the layout of C's structures. (Roberto Ierusalimschy's struct library)

use super::{Outcome, bad_argument, bytes_of, function, number_of};
use mlua::{Lua, Table, Value};

/// One item of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Integer {
        size: usize,
        signed: bool,
    },
    Float,
    Double,
    /// `cN`; 0 takes its length from the string, or from the value before.
    Chars(usize),
    /// `s`: up to a zero byte.
    Terminated,
    Padding,
}

impl Item {
    /// How much of it has to be aligned.
    fn size(self) -> usize {
        match self {
            Item::Integer { size, .. } => size,
            Item::Float => 4,
            Item::Double => 8,
            Item::Chars(size) => size,
            Item::Terminated => 0,
            Item::Padding => 1,
        }
    }
}

/// Reads a format item by item, and keeps what the letters in between have chosen.
struct Format<'a> {
    /// Which function reads it.
    of: &'static str,
    rest: &'a [u8],
    little: bool,
    align: usize,
}

const ALIGN_MAX: usize = 16;
const INTEGER_MAX: usize = 32;
const NATIVE_ALIGN: usize = 8;

impl<'a> Format<'a> {
    fn new(of: &'static str, text: &'a [u8]) -> Self {
        Self { of, rest: text, little: true, align: 1 }
    }

    fn number(&mut self, default: usize) -> Result<usize, String> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits == 0 {
            return Ok(default);
        }
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
            .filter(|size| *size <= i32::MAX as u32)
            .map(|size| size as usize)
            .ok_or_else(|| "integral size overflow".to_owned())
    }

    fn integer(&mut self, size: usize, signed: bool, sized: bool) -> Result<Item, String> {
        let size = if sized { self.number(size)? } else { size };
        if size > INTEGER_MAX {
            return Err(format!("integral size {size} is larger than limit of {INTEGER_MAX}"));
        }
        Ok(Item::Integer { size, signed })
    }

    fn next(&mut self) -> Result<Option<Item>, String> {
        loop {
            let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
            self.rest = rest;
            let item = match letter {
                b' ' => continue,
                b'<' => {
                    self.little = true;
                    continue;
                }
                b'>' => {
                    self.little = false;
                    continue;
                }
                b'!' => {
                    let align = self.number(NATIVE_ALIGN)?;
                    if !align.is_power_of_two() || align > ALIGN_MAX {
                        return Err("alignment is not a power of 2".into());
                    }
                    self.align = align;
                    continue;
                }
                b'b' => self.integer(1, true, false)?,
                b'B' => self.integer(1, false, false)?,
                b'h' => self.integer(2, true, false)?,
                b'H' => self.integer(2, false, false)?,
                b'l' => self.integer(8, true, false)?,
                b'L' | b'T' => self.integer(8, false, false)?,
                b'i' => self.integer(4, true, true)?,
                b'I' => self.integer(4, false, true)?,
                b'f' => Item::Float,
                b'd' | b'n' => Item::Double,
                b's' => Item::Terminated,
                b'x' => Item::Padding,
                b'c' => Item::Chars(self.number(1)?),
                // Whatever else is a letter takes no place. (Lua's struct: `optsize`)
                other if self.of == "size" && other.is_ascii_alphanumeric() => continue,
                other => {
                    let (of, other) = (self.of, char::from(other));
                    return Err(format!("bad argument #1 to '{of}' (invalid format option '{other}')"));
                }
            };
            return Ok(Some(item));
        }
    }

    /// Bytes in front of an item, so that it stands at a multiple of its size.
    fn padding(&self, at: usize, item: Item) -> usize {
        let align = item.size().min(self.align);
        match item {
            Item::Chars(_) | Item::Terminated | Item::Padding => 0,
            Item::Integer { .. } | Item::Float | Item::Double if align <= 1 || !align.is_power_of_two() => 0,
            Item::Integer { .. } | Item::Float | Item::Double => at.wrapping_neg() & (align - 1),
        }
    }
}

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(
        "pack",
        function(lua, |lua, args| {
            let args: Vec<Value> = args.into_iter().collect();
            Ok(match pack(&args) {
                Ok(bytes) => Ok(vec![Value::String(lua.create_string(bytes)?)]),
                Err(why) => Err(why),
            })
        })?,
    )?;
    table.raw_set(
        "unpack",
        function(lua, |lua, args| {
            let args: Vec<Value> = args.into_iter().collect();
            unpack(lua, &args)
        })?,
    )?;
    table.raw_set(
        "size",
        function(lua, |_, args| {
            let format =
                bytes_of(args.front()).ok_or_else(|| bad_argument(1, "size", "string", args.front()));
            Ok(format.and_then(|format| size(&format)).map(|size| vec![Value::Number(size as f64)]))
        })?,
    )?;
    Ok(table)
}

fn put(out: &mut Vec<u8>, bytes: &[u8], little: bool) {
    if little { out.extend(bytes) } else { out.extend(bytes.iter().rev()) }
}

/// A number as an integer of 64 bits; large positive ones keep their bits.
fn wrapped(number: f64) -> i64 {
    if number < 0.0 { number as i64 } else { number as u64 as i64 }
}

fn pack(args: &[Value]) -> Result<Vec<u8>, String> {
    let format = bytes_of(args.first()).ok_or_else(|| bad_argument(1, "pack", "string", args.first()))?;
    let (mut format, mut out, mut at) = (Format::new("pack", &format), Vec::new(), 1);
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), item), 0);
        let value = args.get(at);
        let number = || number_of(value).ok_or_else(|| bad_argument(at + 1, "pack", "number", value));
        let text = || bytes_of(value).ok_or_else(|| bad_argument(at + 1, "pack", "string", value));
        match item {
            Item::Integer { size, .. } => {
                let number = wrapped(number()?);
                let filler = if number < 0 { 0xff } else { 0 };
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.resize(size, filler);
                put(&mut out, &bytes, format.little);
            }
            Item::Float => put(&mut out, &(number()? as f32).to_le_bytes(), format.little),
            Item::Double => put(&mut out, &number()?.to_le_bytes(), format.little),
            Item::Chars(size) => {
                let text = text()?;
                let size = if size == 0 { text.len() } else { size };
                out.extend(
                    text.get(..size)
                        .ok_or_else(|| format!("bad argument #{} to 'pack' (string too short)", at + 1))?,
                );
            }
            Item::Terminated => {
                out.extend(text()?);
                out.push(0);
            }
            Item::Padding => {
                out.push(0);
                continue;
            }
        }
        at += 1;
    }
    Ok(out)
}

fn integer(bytes: &[u8], little: bool, signed: bool) -> f64 {
    let mut value = [0u8; 8];
    for (i, place) in value.iter_mut().enumerate() {
        let from = if little { Some(i) } else { bytes.len().checked_sub(i + 1) };
        *place = from.and_then(|from| bytes.get(from)).copied().unwrap_or(0);
    }
    let value = u64::from_le_bytes(value);
    if !signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    (value.checked_shl(unused).unwrap_or(0) as i64 >> unused.min(63)) as f64
}

fn unpack(lua: &Lua, args: &[Value]) -> mlua::Result<Outcome> {
    let parts = || -> Result<(Vec<u8>, Vec<u8>, usize), String> {
        let format =
            bytes_of(args.first()).ok_or_else(|| bad_argument(1, "unpack", "string", args.first()))?;
        let data = bytes_of(args.get(1)).ok_or_else(|| bad_argument(2, "unpack", "string", args.get(1)))?;
        let from = match args.get(2) {
            None => 1.0,
            place => number_of(place).ok_or_else(|| bad_argument(3, "unpack", "number", place))?,
        };
        if from.is_nan() || from < 1.0 {
            return Err("bad argument #3 to 'unpack' (offset must be 1 or greater)".into());
        }
        Ok((format, data, from as usize - 1))
    };
    let (format, data, mut at) = match parts() {
        Ok(parts) => parts,
        Err(why) => return Ok(Err(why)),
    };
    let (mut format, mut values) = (Format::new("unpack", &format), Vec::new());
    const SHORT: &str = "bad argument #2 to 'unpack' (data string too short)";
    loop {
        let item = match format.next() {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(why) => return Ok(Err(why)),
        };
        at = at.saturating_add(format.padding(at, item));
        let rest = data.get(at..).unwrap_or_default();
        let (value, len) = match item {
            Item::Integer { size, signed } => match rest.get(..size) {
                Some(bytes) if at <= data.len() => {
                    (Value::Number(integer(bytes, format.little, signed)), size)
                }
                Some(_) | None => return Ok(Err(SHORT.into())),
            },
            Item::Float | Item::Double => {
                let Some(bytes) = rest.get(..item.size()) else { return Ok(Err(SHORT.into())) };
                let mut ordered = bytes.to_vec();
                if !format.little {
                    ordered.reverse();
                }
                let number = match *ordered.as_slice() {
                    [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
                    [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
                    _ => 0.0,
                };
                (Value::Number(number), item.size())
            }
            Item::Chars(size) => {
                let mut size = size;
                if size == 0 {
                    match number_of(values.pop().as_ref()) {
                        Some(before) if before >= 0.0 => size = before as usize,
                        Some(_) | None => return Ok(Err("format 'c0' needs a previous size".into())),
                    }
                }
                let Some(text) = rest.get(..size) else { return Ok(Err(SHORT.into())) };
                (Value::String(lua.create_string(text)?), size)
            }
            Item::Terminated => match memchr::memchr(0, rest) {
                Some(end) => {
                    let text = rest.get(..end).unwrap_or_default();
                    (Value::String(lua.create_string(text)?), end + 1)
                }
                None => return Ok(Err("unfinished string in data".into())),
            },
            Item::Padding if rest.is_empty() => return Ok(Err(SHORT.into())),
            Item::Padding => {
                at += 1;
                continue;
            }
        };
        values.push(value);
        at += len;
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(Ok(values))
}

fn size(format: &[u8]) -> Result<usize, String> {
    let (mut format, mut at) = (Format::new("size", format), 0usize);
    while let Some(item) = format.next()? {
        at += format.padding(at, item);
        match item {
            Item::Terminated => return Err("bad argument #1 to 'size' (option 's' has no fixed size)".into()),
            Item::Chars(0) => {
                return Err("bad argument #1 to 'size' (option 'c0' has no fixed size)".into());
            }

            Item::Integer { .. } | Item::Float | Item::Double | Item::Chars(_) | Item::Padding => {
                at = at.checked_add(item.size()).ok_or_else(|| "integral size overflow".to_owned())?;
            }
        }
    }
    Ok(at)
}
