//! Methods as one line of text and back, for scripts of conversations: `queue.declare queue=q durable
//! arguments={x-expires: 1000}`. Fields that are zero, empty or false are left out; a content's properties follow the
//! method's fields, its body comes last, in quotes.

use crate::methods::{ROWS, Row};
use crate::properties::PROPERTIES;
use crate::write::Writer;
use crate::{
    ArrayBuf, FRAME_MIN_SIZE, Method, Properties, PropertyValues, Table, TableBuf, Value, encode_content,
};
use std::fmt::Write;

/// The line of a method; `content` is raw properties and body.
pub fn show(method: &Method<'_>, content: Option<(&[u8], &[u8])>) -> String {
    let mut line = method.name().to_owned();
    for (name, value) in method.fields() {
        show_field(name, &value, &mut line);
    }
    if let Some((properties, body)) = content {
        for (name, value) in PropertyValues::from(Properties::from_validated(properties)).fields() {
            show_field(name, &value, &mut line);
        }
        line.push(' ');
        show_string(body, true, &mut line);
    }
    line
}

fn show_field(name: &str, value: &Value<'_>, line: &mut String) {
    match value {
        Value::Bool(false) => return,
        Value::Bool(true) => return line.extend([" ", name]),
        Value::Table(table) if table.is_empty() => return,
        Value::LongStr(b"") => return,
        _ => {}
    }
    let mut text = String::new();
    show_value(value, &mut text);
    if text != "0" {
        line.extend([" ", name, "=", &text]);
    }
}

fn show_value(value: &Value<'_>, out: &mut String) {
    // Writing into a string cannot fail.
    let _ = match value {
        Value::LongStr(text) => return show_string(text, false, out),
        Value::Binary(bytes) => write!(out, "binary {bytes:?}"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Byte(value) => write!(out, "{value}"),
        Value::UnsignedByte(value) => write!(out, "{value}"),
        Value::Short(value) => write!(out, "{value}"),
        Value::UnsignedShort(value) => write!(out, "{value}"),
        Value::SignedInt(value) => write!(out, "{value}"),
        Value::UnsignedInt(value) => write!(out, "{value}"),
        Value::Long(value) => write!(out, "{value}"),
        Value::Timestamp(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value:?}"),
        Value::Double(value) => write!(out, "{value:?}"),
        Value::Decimal { scale, value } => write!(out, "{value}e-{scale}"),
        Value::Void => write!(out, "null"),
        Value::Table(table) => {
            let start = out.len();
            for (name, value) in table.iter() {
                out.push_str(if out.len() == start { "{" } else { ", " });
                out.push_str(&String::from_utf8_lossy(name));
                out.push_str(": ");
                show_value(&value, out);
            }
            write!(out, "{}", if out.len() == start { "{}" } else { "}" })
        }
        Value::Array(array) => {
            out.push('[');
            for (i, value) in array.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                show_value(&value, out);
            }
            write!(out, "]")
        }
    };
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.*#/@%+<>".contains(&byte)
}

fn show_string(bytes: &[u8], always_quoted: bool, out: &mut String) {
    if !always_quoted && !bytes.is_empty() && bytes.iter().all(|byte| is_bare(*byte)) {
        return out.push_str(&String::from_utf8_lossy(bytes));
    }
    out.push_str(&format!("\"{}\"", bytes.escape_ascii()).replace("\\'", "'"));
}

/// The frames of a line: method, and header and body if it carries content.
pub fn parse_line(channel: u16, line: &str) -> Result<Vec<u8>, String> {
    let mut words = Words { rest: line };
    let name = words.bare();
    let row =
        ROWS.iter().find(|row| row.name == name).ok_or_else(|| format!("there is no method {name:?}"))?;
    let (mut fields, mut body) = (Vec::new(), None);
    while let Some(word) = words.next()? {
        match word {
            Word::Field(name, value) => fields.push((name, value)),
            Word::Body(bytes) => body = Some(bytes),
        }
    }
    let (of_method, of_content): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(name, _)| row.fields.iter().any(|(field, _)| field == name));
    let mut payload = Vec::new();
    encode_fields(row, &of_method, &mut payload)?;
    let method = Method::decode(&payload).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    if method.has_content() {
        let properties = encode_properties(&of_content)?;
        encode_content(channel, &method, &properties, &body.unwrap_or_default(), FRAME_MIN_SIZE, &mut out);
    } else if let Some((name, _)) = of_content.first() {
        return Err(format!("{} has no field {name:?}", row.name));
    } else {
        method.encode(channel, &mut out);
    }
    Ok(out)
}

fn encode_fields(row: &Row, fields: &[(String, Parsed)], out: &mut Vec<u8>) -> Result<(), String> {
    let mut writer = Writer::new(out);
    writer.short(row.ids.0);
    writer.short(row.ids.1);
    for (name, kind) in row.fields {
        let value = fields.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        encode_field(kind, value, &mut writer).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn encode_field(kind: &str, value: Option<&Parsed>, writer: &mut Writer<'_>) -> Result<(), String> {
    let number = value.map_or(Ok(0), Parsed::number);
    match kind {
        "bit" => writer.bit(matches!(value, Some(Parsed::Bool(true)))),
        "octet" => writer.octet(number? as u8),
        "short" => writer.short(number? as u16),
        "long" => writer.long(number? as u32),
        "longlong" | "timestamp" => writer.longlong(number? as u64),
        "shortstr" => writer.shortstr(&value.map(Parsed::text).unwrap_or_default()),
        "longstr" => writer.longstr(&value.map(Parsed::text).unwrap_or_default()),
        "table" => match value {
            Some(Parsed::Table(table)) => writer.table(table.as_table()),
            Some(_) => return Err("a table is written {name: value}".into()),
            None => writer.table(Table::from_validated(b"")),
        },
        other => return Err(format!("type {other}")),
    }
    Ok(())
}

fn encode_properties(fields: &[(String, Parsed)]) -> Result<Vec<u8>, String> {
    if let Some((name, _)) = fields.iter().find(|(name, _)| PROPERTIES.iter().all(|(known, _)| known != name))
    {
        return Err(format!("there is no field or property {name:?}"));
    }
    let (mut flags, mut raw) = (0u16, vec![0, 0]);
    for (i, (name, kind)) in PROPERTIES.iter().enumerate() {
        if let Some((_, value)) = fields.iter().find(|(given, _)| given == name) {
            flags |= 1 << (15 - i);
            encode_field(kind, Some(value), &mut Writer::new(&mut raw))?;
        }
    }
    raw[..2].copy_from_slice(&flags.to_be_bytes());
    Ok(raw)
}

enum Parsed {
    Bool(bool),
    Number(i64),
    Text(Vec<u8>),
    /// Written `@2000000000`, to tell it from a number.
    Time(u64),
    Void,
    Table(TableBuf),
    Array(ArrayBuf),
}

impl Parsed {
    fn number(&self) -> Result<i64, String> {
        match self {
            Parsed::Number(number) => Ok(*number),
            Parsed::Bool(_)
            | Parsed::Text(_)
            | Parsed::Time(_)
            | Parsed::Void
            | Parsed::Table(_)
            | Parsed::Array(_) => Err("it is a number".into()),
        }
    }

    fn text(&self) -> Vec<u8> {
        match self {
            Parsed::Text(text) => text.clone(),
            Parsed::Number(number) => number.to_string().into_bytes(),
            Parsed::Bool(value) => value.to_string().into_bytes(),
            Parsed::Time(_) | Parsed::Void | Parsed::Table(_) | Parsed::Array(_) => Vec::new(),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Parsed::Bool(value) => Value::Bool(*value),
            Parsed::Number(number) => i32::try_from(*number).map_or(Value::Long(*number), Value::SignedInt),
            Parsed::Text(text) => Value::LongStr(text),
            Parsed::Time(seconds) => Value::Timestamp(*seconds),
            Parsed::Void => Value::Void,
            Parsed::Table(inner) => Value::Table(inner.as_table()),
            Parsed::Array(inner) => Value::Array(inner.as_array()),
        }
    }
}

enum Word {
    Field(String, Parsed),
    Body(Vec<u8>),
}

/// What is left of a line.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn skip(&mut self, mark: &str) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.strip_prefix(mark).map(|rest| self.rest = rest).is_some()
    }

    fn bare(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let len = self.rest.bytes().position(|byte| !is_bare(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        word.to_owned()
    }

    fn next(&mut self) -> Result<Option<Word>, String> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.rest.starts_with('"') {
            return Ok(Some(Word::Body(self.quoted()?)));
        }
        let name = self.bare();
        if name.is_empty() {
            return Err(format!("{:?} is no field", self.rest));
        }
        let value = if self.rest.starts_with('=') {
            self.rest = &self.rest[1..];
            self.value()?
        } else {
            Parsed::Bool(true)
        };
        Ok(Some(Word::Field(name, value)))
    }

    fn value(&mut self) -> Result<Parsed, String> {
        if self.skip("{") {
            let mut table = TableBuf::new();
            while !self.skip("}") {
                let name = self.bare();
                if name.is_empty() || !self.skip(":") {
                    return Err("a table is written {name: value, …}".into());
                }
                table.push(name.as_bytes(), self.value()?.value());
                self.skip(",");
            }
            return Ok(Parsed::Table(table));
        }
        if self.skip("[") {
            let mut array = ArrayBuf::new();
            while !self.skip("]") {
                let before = self.rest.len();
                array.push(self.value()?.value());
                if self.rest.len() == before {
                    return Err("an array is written [value, …]".into());
                }
                self.skip(",");
            }
            return Ok(Parsed::Array(array));
        }
        if self.rest.starts_with('"') {
            return self.quoted().map(Parsed::Text);
        }
        let word = self.bare();
        if let Some(seconds) = word.strip_prefix('@').and_then(|seconds| seconds.parse().ok()) {
            return Ok(Parsed::Time(seconds));
        }
        Ok(match (word.as_str(), word.parse()) {
            ("true", _) => Parsed::Bool(true),
            ("false", _) => Parsed::Bool(false),
            ("null", _) => Parsed::Void,
            (_, Ok(number)) => Parsed::Number(number),
            (_, Err(_)) => Parsed::Text(word.into_bytes()),
        })
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let (mut out, mut bytes) = (Vec::new(), self.rest.bytes().enumerate().skip(1));
        while let Some((i, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[i + 1..];
                    return Ok(out);
                }
                b'\\' => match bytes.next().map(|(_, byte)| byte) {
                    Some(b'n') => out.push(b'\n'),
                    Some(b'r') => out.push(b'\r'),
                    Some(b't') => out.push(b'\t'),
                    Some(b'x') => {
                        let digits: String =
                            bytes.by_ref().take(2).map(|(_, digit)| char::from(digit)).collect();
                        out.push(u8::from_str_radix(&digits, 16).map_err(|error| error.to_string())?);
                    }
                    Some(other) => out.push(other),
                    None => break,
                },
                other => out.push(other),
            }
        }
        Err("a quote is not closed".into())
    }
}
