//! An answer as a script shows it, with what a blocking command waits for.

use crate::session::Waits;
use leveret_resp::text::show;
use leveret_resp::{Value, parse_reply};

pub(crate) use leveret_resp::text::quoted;

/// The lines of an answer; `sorted` gives an array without order one.
pub(crate) fn print(reply: &[u8], waits: Option<&Waits>, sorted: bool) -> String {
    let (value, len) = parse_reply(reply).expect("an answer is RESP").expect("an answer is whole");
    assert_eq!(len, reply.len(), "there is more than one answer");
    let text = match value {
        // As a value both kinds of null are the same.
        Value::Null if reply.starts_with(b"*") => "(nil array)\n".to_owned(),
        value => show(&value, sorted),
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
