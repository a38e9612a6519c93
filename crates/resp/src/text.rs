//! Answers as redis-cli prints them, so that no two look alike: for scripts of conversations.

use crate::Value;

/// The lines of an answer. `sorted` gives an array that has no order one.
pub fn show(value: &Value, sorted: bool) -> String {
    show_at(value, 0, sorted)
}

fn show_at(value: &Value, indent: usize, sorted: bool) -> String {
    match value {
        Value::Simple(text) => format!("{text}\n"),
        Value::Error(text) => format!("(error) {text}\n"),
        Value::Integer(integer) => format!("(integer) {integer}\n"),
        Value::Bulk(bytes) => format!("{}\n", quoted(bytes)),
        Value::Null => "(nil)\n".to_owned(),
        Value::Array(items) => items_at(items, ')', "(empty array)", indent, sorted),
        Value::Set(items) => items_at(items, '~', "(empty set)", indent, sorted),
        Value::Push(items) => items_at(items, '>', "(empty push)", indent, sorted),
        Value::Map(items) => pairs_at(items, indent),
        Value::Double(text) => format!("(double) {text}\n"),
        Value::Boolean(value) => format!("({value})\n"),
        Value::Verbatim(bytes) => format!("(verbatim) {}\n", quoted(bytes)),
        Value::BigNumber(text) => format!("(big number) {text}\n"),
        Value::Attributed(_, value) => show_at(value, indent, sorted),
    }
}

fn items_at(items: &[Value], mark: char, empty: &str, indent: usize, sorted: bool) -> String {
    if items.is_empty() {
        return format!("{empty}\n");
    }
    let width = items.len().to_string().len();
    let mut items: Vec<String> = items.iter().map(|item| show_at(item, indent + width + 2, sorted)).collect();
    if sorted {
        items.sort();
    }
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out += &" ".repeat(indent);
        }
        out += &format!("{:>width$}{mark} {item}", i + 1);
    }
    out
}

fn pairs_at(items: &[Value], indent: usize) -> String {
    let pairs = items.chunks(2).enumerate().map(|(i, pair)| {
        let key = pair.first().map(|key| show_at(key, 0, false)).unwrap_or_default();
        let value = pair.get(1).map(|value| show_at(value, indent + 3, false)).unwrap_or_default();
        let margin = if i > 0 { " ".repeat(indent) } else { String::new() };
        format!("{margin}{}# {} => {value}", i + 1, key.trim_end())
    });
    if items.is_empty() { "(empty map)\n".to_owned() } else { pairs.collect() }
}

/// A string in double quotes, with the escapes that an inline command understands.
pub fn quoted(bytes: &[u8]) -> String {
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
