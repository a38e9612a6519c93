//! `cmsgpack.*`: MessagePack. (lua-cmsgpack 0.4)

use super::{Outcome, function, number_of};
use mlua::{Lua, Table, Value};

/// Tables nested deeper than this are written as nil.
const DEPTH_MAX: usize = 16;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(
        "pack",
        function(lua, |lua, args| {
            if args.is_empty() {
                return Ok(Err("bad argument #0 to 'pack' (MessagePack pack needs input.)".into()));
            }
            let mut out = Vec::new();
            args.iter().for_each(|value| pack(value, &mut out, 0));
            if out.len() > super::BYTES_MAX {
                return Ok(Err(super::TOO_LONG.into()));
            }
            Ok(Ok(vec![Value::String(lua.create_string(out)?)]))
        })?,
    )?;
    let unpacking = |name: &'static str, one: bool, limited: bool| {
        function(lua, move |lua, args| {
            let args: Vec<Value> = args.into_iter().collect();
            let limit = if one {
                Some(1.0)
            } else if limited {
                number_of(args.get(1))
            } else {
                Some(0.0)
            };
            let offset_at = if limited { 2 } else { 1 };
            let offset = if one || limited { args.get(offset_at) } else { None };
            unpack_all(lua, name, args.first(), limit, offset.map(|value| number_of(Some(value))))
        })
    };
    table.raw_set("unpack", unpacking("unpack", false, false)?)?;
    table.raw_set("unpack_one", unpacking("unpack_one", true, false)?)?;
    table.raw_set("unpack_limit", unpacking("unpack_limit", false, true)?)?;
    Ok(table)
}

fn put_len(out: &mut Vec<u8>, len: usize, fix: Option<(u8, usize)>, tags: [Option<u8>; 3]) {
    match (fix, tags) {
        (Some((tag, max)), _) if len <= max => out.push(tag | len as u8),
        (_, [Some(tag), _, _]) if len <= 0xff => out.extend([tag, len as u8]),
        (_, [_, Some(tag), _]) if len <= 0xffff => {
            out.push(tag);
            out.extend((len as u16).to_be_bytes());
        }
        (_, [_, _, tag]) => {
            out.push(tag.unwrap_or(0xc1));
            out.extend((len as u32).to_be_bytes());
        }
    }
}

fn pack(value: &Value, out: &mut Vec<u8>, depth: usize) {
    if out.len() > super::BYTES_MAX {
        // It is refused anyway.
        return;
    }
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            put_len(out, text.len(), Some((0xa0, 31)), [Some(0xd9), Some(0xda), Some(0xdb)]);
            out.extend_from_slice(&text);
        }
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => pack_integer(*number, out),
        Value::Number(number) => pack_number(*number, out),
        Value::Table(table) if depth < DEPTH_MAX => pack_table(table, out, depth),
        _ => out.push(0xc0),
    }
}

fn pack_integer(number: i64, out: &mut Vec<u8>) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend([0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(number.to_be_bytes());
        }
        -32..=-1 => out.push(number as i8 as u8),
        -128..=-33 => out.extend([0xd0, number as i8 as u8]),
        -0x8000..=-129 => {
            out.push(0xd1);
            out.extend((number as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend((number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(number.to_be_bytes());
        }
    }
}

fn pack_number(number: f64, out: &mut Vec<u8>) {
    if number as i64 as f64 == number && number.abs() < 9.2e18 {
        pack_integer(number as i64, out);
    } else if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend((number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(number.to_be_bytes());
    }
}

/// The pairs of a table, and whether its keys are 1 to their number.
fn pairs(table: &Table) -> (Vec<(Value, Value)>, bool) {
    let pairs: Vec<_> = table.pairs::<Value, Value>().flatten().collect();
    let mut largest = 0.0f64;
    let is_array = pairs.iter().all(|(key, _)| match key {
        Value::Integer(key) if *key > 0 => {
            largest = largest.max(*key as f64);
            true
        }
        _ => false,
    });
    let is_array = is_array && largest == pairs.len() as f64;
    (pairs, is_array)
}

fn pack_table(table: &Table, out: &mut Vec<u8>, depth: usize) {
    let (pairs, is_array) = pairs(table);
    if is_array {
        put_len(out, pairs.len(), Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)]);
        for i in 1..=pairs.len() {
            pack(&table.raw_get::<Value>(i).unwrap_or(Value::Nil), out, depth + 1);
        }
        return;
    }
    put_len(out, pairs.len(), Some((0x80, 15)), [None, Some(0xde), Some(0xdf)]);
    for (key, value) in &pairs {
        pack(key, out, depth + 1);
        pack(value, out, depth + 1);
    }
}

/// Unpacks so many values, or all if the limit is 0; with an offset given or a limit, the next offset comes first, -1 at the end.
fn unpack_all(
    lua: &Lua,
    name: &str,
    data: Option<&Value>,
    limit: Option<f64>,
    offset: Option<Option<f64>>,
) -> mlua::Result<Outcome> {
    let Some(Value::String(text)) = data else {
        return Ok(Err(super::bad_argument(1, name, "string", data)));
    };
    let (Some(limit), Some(offset)) = (limit, offset.unwrap_or(Some(0.0))) else {
        return Ok(Err(super::bad_argument(2, name, "number", None)));
    };
    let text = text.as_bytes();
    if offset < 0.0 || limit < 0.0 {
        return Ok(Err(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            text.len()
        )));
    }
    if offset > text.len() as f64 {
        return Ok(Err(format!("Start offset {offset} greater than input length {}.", text.len())));
    }
    let mut cursor = Cursor { bytes: &text, at: offset as usize };
    let (mut values, tells_offset) = (Vec::new(), limit > 0.0);
    while cursor.at < text.len() && (limit == 0.0 || (values.len() as f64) < limit) {
        match cursor.value(lua, 0)? {
            Ok(value) => values.push(value),
            Err(why) => return Ok(Err(why.into())),
        }
    }
    if tells_offset {
        let next = if cursor.at == text.len() { -1.0 } else { cursor.at as f64 };
        values.insert(0, Value::Number(next));
    }
    Ok(Ok(values))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

const MISSING: &str = "Missing bytes in input.";
const BAD: &str = "Bad data format in input.";
/// Deeper input would exhaust the stack.
const INPUT_DEPTH_MAX: usize = 200;

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], &'static str> {
        let end = self.at.checked_add(len).ok_or(MISSING)?;
        let taken = self.bytes.get(self.at..end).ok_or(MISSING)?;
        self.at = end;
        Ok(taken)
    }

    fn unsigned(&mut self, len: usize) -> Result<u64, &'static str> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, len: usize) -> Result<i64, &'static str> {
        let unused = 64 - 8 * len as u32;
        Ok((self.unsigned(len)? << unused) as i64 >> unused)
    }

    fn value(&mut self, lua: &Lua, depth: usize) -> mlua::Result<Result<Value, &'static str>> {
        if depth > INPUT_DEPTH_MAX {
            return Ok(Err(BAD));
        }
        let tag = match self.unsigned(1) {
            Ok(tag) => tag as u8,
            Err(why) => return Ok(Err(why)),
        };
        let number = |number: Result<f64, &'static str>| Ok(number.map(Value::Number));
        let len = match tag {
            0x00..=0x7f => return number(Ok(f64::from(tag))),
            0xe0..=0xff => return number(Ok(f64::from(tag as i8))),
            0xc0 => return Ok(Ok(Value::Nil)),
            0xc2 | 0xc3 => return Ok(Ok(Value::Boolean(tag == 0xc3))),
            0xca => return number(self.unsigned(4).map(|bits| f64::from(f32::from_bits(bits as u32)))),
            0xcb => return number(self.unsigned(8).map(f64::from_bits)),
            0xcc..=0xcf => return number(self.unsigned(1 << (tag - 0xcc)).map(|number| number as f64)),
            0xd0..=0xd3 => return number(self.signed(1 << (tag - 0xd0)).map(|number| number as f64)),
            0x80..=0x9f => Ok(u64::from(tag & 0x0f)),
            0xa0..=0xbf => Ok(u64::from(tag & 0x1f)),
            0xc4..=0xc6 => self.unsigned(1 << (tag - 0xc4)),
            0xd9..=0xdb => self.unsigned(1 << (tag - 0xd9)),
            0xdc..=0xdd => self.unsigned(2 << (tag - 0xdc)),
            0xde..=0xdf => self.unsigned(2 << (tag - 0xde)),
            _ => Err(BAD),
        };
        let len = match len {
            Ok(len) => len as usize,
            Err(why) => return Ok(Err(why)),
        };
        match tag {
            0x80..=0x8f | 0xde..=0xdf => self.map(lua, len, depth),
            0x90..=0x9f | 0xdc..=0xdd => self.array(lua, len, depth),
            _ => match self.take(len) {
                Ok(text) => Ok(Ok(Value::String(lua.create_string(text)?))),
                Err(why) => Ok(Err(why)),
            },
        }
    }

    fn array(&mut self, lua: &Lua, len: usize, depth: usize) -> mlua::Result<Result<Value, &'static str>> {
        let table = lua.create_table()?;
        for i in 1..=len {
            match self.value(lua, depth + 1)? {
                Ok(value) => table.raw_set(i, value)?,
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(Value::Table(table)))
    }

    fn map(&mut self, lua: &Lua, len: usize, depth: usize) -> mlua::Result<Result<Value, &'static str>> {
        let table = lua.create_table()?;
        for _ in 0..len {
            let key = match self.value(lua, depth + 1)? {
                Ok(Value::Nil) => return Ok(Err(BAD)),
                Ok(Value::Number(number)) if number.is_nan() => return Ok(Err(BAD)),
                Ok(key) => key,
                Err(why) => return Ok(Err(why)),
            };
            match self.value(lua, depth + 1)? {
                Ok(value) => table.raw_set(key, value)?,
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(Value::Table(table)))
    }
}
