//! Replies of commands as Lua values and back. (Redis: conversions between Lua and RESP)

use leveret_resp::Reply;
use mlua::{Lua, LuaString, Table, Value};

/// Replies and tables nested deeper than this are refused.
const DEPTH_MAX: usize = 200;

/// Reads one whole reply, of which nothing can be missing, and moves behind it.
pub(super) fn to_lua(lua: &Lua, bytes: &mut &[u8]) -> mlua::Result<Value> {
    let (kind, line) = take_line(bytes);
    Ok(match kind {
        b'+' => Value::Table(single(lua, "ok", line)?),
        b'-' => Value::Table(single(lua, "err", line)?),
        b':' => Value::Number(number(line) as f64),
        b'$' => match usize::try_from(number(line)) {
            Ok(len) => Value::String(lua.create_string(take_bulk(bytes, len))?),
            Err(_) => Value::Boolean(false),
        },
        b'*' => match usize::try_from(number(line)) {
            Ok(len) => Value::Table(array(lua, bytes, len)?),
            Err(_) => Value::Boolean(false),
        },
        b'>' => Value::Table(array(lua, bytes, number(line).max(0) as usize)?),
        b'_' => Value::Nil,
        b'#' => Value::Boolean(line == b"t"),
        b',' => {
            let table = lua.create_table_with_capacity(0, 1)?;
            let value = std::str::from_utf8(line).ok().and_then(|text| text.parse::<f64>().ok());
            table.raw_set("double", value.unwrap_or(f64::NAN))?;
            Value::Table(table)
        }
        b'(' => Value::Table(single(lua, "big_number", line)?),
        b'=' | b'!' => {
            let text = take_bulk(bytes, number(line).max(0) as usize);
            if kind == b'!' {
                return Ok(Value::Table(single(lua, "err", text)?));
            }
            let (format, text) = text.split_at_checked(4).unwrap_or((b"txt:", text));
            let inner = lua.create_table_with_capacity(0, 2)?;
            inner.raw_set("format", lua.create_string(format.get(..3).unwrap_or_default())?)?;
            inner.raw_set("string", lua.create_string(text)?)?;
            wrapped(lua, "verbatim_string", inner)?
        }
        b'%' => {
            let inner = lua.create_table()?;
            for _ in 0..number(line) {
                let key = to_lua(lua, bytes)?;
                inner.raw_set(key, to_lua(lua, bytes)?)?;
            }
            wrapped(lua, "map", inner)?
        }
        b'~' => {
            let inner = lua.create_table()?;
            for _ in 0..number(line) {
                inner.raw_set(to_lua(lua, bytes)?, true)?;
            }
            wrapped(lua, "set", inner)?
        }
        // Attributes are about the reply that follows.
        b'|' => {
            for _ in 0..2 * number(line) {
                to_lua(lua, bytes)?;
            }
            to_lua(lua, bytes)?
        }
        _ => Value::Nil,
    })
}

fn array(lua: &Lua, bytes: &mut &[u8], len: usize) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(len, 0)?;
    for i in 1..=len {
        table.raw_set(i, to_lua(lua, bytes)?)?;
    }
    Ok(table)
}

/// The error of a command as scripts see it, with the mark that it has been counted. (Redis: luaPushErrorBuff)
pub(super) fn failed(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let table = single(lua, "err", text)?;
    table.raw_set(NOTED, true)?;
    Ok(table)
}

const NOTED: &str = "ignore_error_stats_update";

/// True for the error of a command.
pub(super) fn is_noted(value: &Value) -> bool {
    matches!(value, Value::Table(table) if table.raw_get(NOTED).unwrap_or(false))
}

fn single(lua: &Lua, name: &str, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, lua.create_string(text)?)?;
    Ok(table)
}

fn wrapped(lua: &Lua, name: &str, inner: Table) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, inner)?;
    Ok(Value::Table(table))
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> (u8, &'a [u8]) {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    *bytes = rest.get(2..).unwrap_or_default();
    line.split_first().map_or((0, line), |(kind, text)| (*kind, text))
}

fn take_bulk<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (text, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    *bytes = rest.get(2..).unwrap_or_default();
    text
}

fn number(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Answers with what a script has returned.
pub(super) fn to_reply(value: &Value, is_resp3: bool, reply: &mut Reply<'_>) {
    let mark = reply.mark();
    Writer { is_resp3, end: mark + REPLY_BYTES_MAX }.write(value, reply, 0);
    if reply.mark() > mark + REPLY_BYTES_MAX {
        reply.truncate(mark);
        reply.error("ERR the reply of the script is too large");
    }
}

/// A longer reply is refused.
const REPLY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// As C converts: what has no place among the integers is the smallest.
fn integer(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) { number as i64 } else { i64::MIN }
}

/// Whether replies are RESP3 to the script: only then are truth values what they are. (Redis: redis.setresp)
struct Writer {
    is_resp3: bool,
    /// Nothing more is written behind this.
    end: usize,
}

impl Writer {
    fn write(&self, value: &Value, reply: &mut Reply<'_>, depth: usize) {
        match value {
            _ if reply.mark() > self.end => {}
            Value::String(text) => reply.bulk(&text.as_bytes()),
            Value::Integer(number) => reply.integer(*number),
            Value::Number(number) => reply.integer(integer(*number)),
            Value::Boolean(value) if self.is_resp3 => reply.boolean(*value),
            Value::Boolean(true) => reply.integer(1),
            Value::Table(table) if depth < DEPTH_MAX => self.write_table(table, reply, depth),
            Value::Table(_) => reply.error("ERR reached lua stack limit"),
            _ => reply.null(),
        }
    }

    fn write_table(&self, table: &Table, reply: &mut Reply<'_>, depth: usize) {
        if let Some(error) = text(table, "err") {
            return reply.error(&error.to_string_lossy());
        }
        if let Some(status) = text(table, "ok") {
            return reply.simple_bytes(&status.as_bytes());
        }
        match field(table, "double") {
            Some(Value::Number(number)) => return reply.double(number),
            Some(Value::Integer(number)) => return reply.double(number as f64),
            _ => {}
        }
        if let Some(Value::Table(map)) = field(table, "map") {
            let pairs: Vec<_> = map.pairs::<Value, Value>().flatten().collect();
            reply.map(pairs.len());
            for (key, value) in &pairs {
                self.write(key, reply, depth + 1);
                self.write(value, reply, depth + 1);
            }
            return;
        }
        if let Some(Value::Table(set)) = field(table, "set") {
            let members: Vec<_> = set.pairs::<Value, Value>().flatten().collect();
            reply.set(members.len());
            members.iter().for_each(|(member, _)| self.write(member, reply, depth + 1));
            return;
        }
        if let Some(digits) = text(table, "big_number") {
            return reply.big_number(&digits.to_string_lossy().replace(['\r', '\n'], " "));
        }
        if let Some(Value::Table(verbatim)) = field(table, "verbatim_string")
            && let (Some(format), Some(string)) = (text(&verbatim, "format"), text(&verbatim, "string"))
        {
            let format: String = format.to_string_lossy().chars().chain("   ".chars()).take(3).collect();
            return reply.verbatim(&format, &string.to_string_lossy());
        }
        // Up to the first that is nil.
        let mut items = Vec::new();
        for i in 1.. {
            match table.raw_get::<Value>(i) {
                Ok(item) if !item.is_nil() => items.push(item),
                Ok(_) | Err(_) => break,
            }
        }
        reply.array(items.len());
        items.iter().for_each(|item| self.write(item, reply, depth + 1));
    }
}

fn field(table: &Table, name: &str) -> Option<Value> {
    table.raw_get::<Value>(name).ok().filter(|value| !value.is_nil())
}

fn text(table: &Table, name: &str) -> Option<LuaString> {
    match field(table, name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
