//! RESP2 answers as redis-cli prints them, so that no two answers look alike.

use crate::session::Waits;
use leveret_resp::{Value, parse_reply};

/// The lines of an answer; `sorted` gives an array without order one.
pub(crate) fn print(reply: &[u8], waits: Option<&Waits>, sorted: bool) -> String {
    let (value, len) = parse_reply(reply).expect("an answer is RESP").expect("an answer is whole");
    assert_eq!(len, reply.len(), "there is more than one answer");
    let text = match value {
        // As a value both kinds of null are the same.
        Value::Null if reply.starts_with(b"*") => "(nil array)\n".to_owned(),
        value => print_value(&value, 0, sorted),
    };
    match waits {
        None => text,
        Some((keys, None)) => format!("(waits for {})\n", quoted_all(keys)),
        Some((keys, Some(ms))) => format!("(waits {ms} ms for {}, then) {text}", quoted_all(keys)),
    }
}

fn quoted_all(keys: &[Box<[u8]>]) -> String {
    keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(" ")
}

fn print_value(value: &Value, indent: usize, sorted: bool) -> String {
    match value {
        Value::Simple(text) => format!("{text}\n"),
        Value::Error(text) => format!("(error) {text}\n"),
        Value::Integer(integer) => format!("(integer) {integer}\n"),
        Value::Bulk(bytes) => format!("{}\n", quoted(bytes)),
        Value::Null => "(nil)\n".to_owned(),
        Value::Array(items) if items.is_empty() => "(empty array)\n".to_owned(),
        Value::Array(items) => {
            let width = items.len().to_string().len();
            let inner = indent + width + 2;
            let mut items: Vec<String> = items.iter().map(|item| print_value(item, inner, sorted)).collect();
            if sorted {
                items.sort();
            }
            let mut out = String::new();
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out += &" ".repeat(indent);
                }
                out += &format!("{:>width$}) {item}", i + 1);
            }
            out
        }
        other => panic!("{other:?} is not RESP2"),
    }
}

/// A string in double quotes, with the escapes that an inline command understands.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'\n' => out += "\\n",
            b'\r' => out += "\\r",
            b'\t' => out += "\\t",
            7 => out += "\\a",
            8 => out += "\\b",
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out += &format!("\\x{byte:02x}"),
        }
    }
    out.push('"');
    out
}
