//! Recorded changes as lines. The tags stand here a second time on purpose: they are part of the log's format, and a
//! script notices when one of them is given another meaning.

use crate::answer::quoted;
use leveret_base::codec::{Malformed, Reader};

/// Name, numbers before the strings, strings; a negative number of strings is a key, a count and so many strings.
const CHANGES: &[(u8, &str, usize, i32)] = &[
    (0x01, "put", 0, 2),
    (0x02, "put_with_deadline", 1, 2),
    (0x03, "delete", 0, 1),
    (0x04, "deadline", 1, 1),
    (0x05, "persist", 0, 1),
    (0x06, "rename", 0, 2),
    (0x07, "flush", 0, 0),
    (0x08, "append", 0, 2),
    (0x09, "list_push_left", 0, -1),
    (0x0a, "list_push_right", 0, -1),
    (0x0b, "list_pop_left", 1, 1),
    (0x0c, "list_pop_right", 1, 1),
    (0x0d, "splice", 2, 2),
    (0x10, "list_set", 1, 2),
    (0x11, "list_insert", 1, 2),
    (0x13, "list_trim", 2, 1),
    (0x14, "set_range", 1, 2),
    (0x15, "copy", 1, 2),
    (0x16, "move", 1, 1),
    (0x17, "swap", 0, 1),
    (0x18, "hash_set", 0, -1),
    (0x19, "hash_set_keep", 0, -1),
    (0x1a, "hash_delete", 0, -1),
    (0x1b, "hash_deadline", 1, -1),
    (0x20, "set_add", 0, -1),
    (0x21, "set_remove", 0, -1),
    (0x29, "sorted_set_remove", 0, -1),
    (0x30, "stream_add", 2, -1),
    (0x32, "stream_trim", 2, 1),
    (0x33, "stream_set_ids", 5, 1),
    (0x34, "stream_group", 3, 2),
    (0x35, "stream_forget", 0, -1),
];

/// One line for each change; a database other than 0 is named.
pub(crate) fn print(changes: &[u8]) -> String {
    let (mut fields, mut out) = (Reader::new(changes), String::new());
    while !fields.is_empty() {
        out += &line(&mut fields).expect("what was recorded can be read");
    }
    out
}

fn line(fields: &mut Reader<'_>) -> Result<String, Malformed> {
    let (tag, db) = (fields.byte()?, fields.byte()?);
    if tag == 0x28 {
        return scores(fields);
    }
    // Strings, then numbers: so many before the count, and for each.
    match tag {
        0x31 => return numbers(fields, "stream_delete", 1, 1, 2),
        0x36 => return numbers(fields, "stream_deliver", 2, 3, 4),
        0x37 => return numbers(fields, "stream_acknowledge", 0, 2, 2),
        _ => {}
    }
    let (_, name, numbers, strings) =
        CHANGES.iter().find(|(known, ..)| *known == tag).unwrap_or_else(|| panic!("change {tag:#04x}"));
    let mut line = format!("= {name}");
    if db != 0 {
        line += &format!(" db={db}");
    }
    for _ in 0..*numbers {
        line += &format!(" {}", fields.varint()?);
    }
    for _ in 0..strings.abs() {
        line += &format!(" {}", quoted(fields.bytes()?));
    }
    if *strings < 0 {
        for _ in 0..fields.varint()? {
            line += &format!(" {}", quoted(fields.bytes()?));
        }
    }
    line.push('\n');
    Ok(line)
}

/// The one change whose strings have a number each.
fn scores(fields: &mut Reader<'_>) -> Result<String, Malformed> {
    let mut line = format!("= sorted_set_put {}", quoted(fields.bytes()?));
    for _ in 0..fields.varint()? {
        let score = f64::from_bits(fields.varint()?.reverse_bits());
        line += &format!(" {score} {}", quoted(fields.bytes()?));
    }
    line.push('\n');
    Ok(line)
}

/// Changes that name entries of streams.
fn numbers(
    fields: &mut Reader<'_>,
    name: &str,
    before: usize,
    strings: usize,
    each: usize,
) -> Result<String, Malformed> {
    let mut line = format!("= {name}");
    for _ in 0..before {
        line += &format!(" {}", fields.varint()?);
    }
    for _ in 0..strings {
        line += &format!(" {}", quoted(fields.bytes()?));
    }
    for _ in 0..fields.varint()? {
        let numbers = (0..each).map(|_| fields.varint()).collect::<Result<Vec<_>, _>>()?;
        line += &format!(" {}", numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(":"));
    }
    line.push('\n');
    Ok(line)
}
