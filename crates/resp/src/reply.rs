//! The client's side: replies read back, for tests, for the command line and for the load generator.

use crate::decode::ProtocolError;

/// One reply.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are RESP's kinds")]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Value>),
    Map(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(String),
    Boolean(bool),
    /// With its format in front: `txt:…`.
    Verbatim(Vec<u8>),
    BigNumber(String),
    /// Keys and values, and the reply they belong to.
    Attributed(Vec<Value>, Box<Value>),
}

/// Nested deeper than any server answers.
const DEPTH_MAX: usize = 64;

/// Reads one reply: the value and the bytes it took, or `None` until all of it has arrived.
pub fn parse_reply(input: &[u8]) -> Result<Option<(Value, usize)>, ProtocolError> {
    parse(input, 0)
}

/// The text between the kind and the line's end, and the offset behind it.
fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let mut from = 1;
    loop {
        let end = from + input.get(from..)?.iter().position(|&b| b == b'\n')?;
        if input.get(end - 1) == Some(&b'\r') {
            return Some((input.get(1..end - 1).unwrap_or_default(), end + 1));
        }
        from = end + 1;
    }
}

fn number(text: &[u8]) -> Result<i64, ProtocolError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(ProtocolError::InvalidBulkLength)
}

fn parse(input: &[u8], depth: usize) -> Result<Option<(Value, usize)>, ProtocolError> {
    let Some((text, next)) = line(input) else { return Ok(None) };
    let owned = || String::from_utf8_lossy(text).into_owned();
    let kind = input.first().copied().unwrap_or_default();
    let value = match kind {
        b'+' => Value::Simple(owned()),
        b'-' => Value::Error(owned()),
        b':' => Value::Integer(number(text)?),
        b',' => Value::Double(owned()),
        b'(' => Value::BigNumber(owned()),
        b'#' => Value::Boolean(text == b"t"),
        b'_' => Value::Null,
        b'$' | b'=' | b'!' => {
            let len = number(text)?;
            let Ok(len) = usize::try_from(len) else { return Ok(Some((Value::Null, next))) };
            let Some(bytes) = next.checked_add(len).and_then(|end| input.get(next..end)) else {
                return Ok(None);
            };
            if input.len() < next + len + 2 {
                return Ok(None);
            }
            let value = match kind {
                b'$' => Value::Bulk(bytes.to_vec()),
                b'!' => Value::Error(String::from_utf8_lossy(bytes).into_owned()),
                _ => Value::Verbatim(bytes.to_vec()),
            };
            return Ok(Some((value, next + len + 2)));
        }
        b'*' | b'%' | b'~' | b'>' | b'|' => {
            let len = number(text)?;
            let mut len = match usize::try_from(len) {
                Ok(len) => len,
                Err(_) if kind == b'|' => 0,
                Err(_) => return Ok(Some((Value::Null, next))),
            };
            if depth == DEPTH_MAX {
                return Err(ProtocolError::InvalidMultibulkLength);
            }
            if kind == b'%' || kind == b'|' {
                len = len.saturating_mul(2);
            }
            let (mut items, mut at) = (Vec::new(), next);
            for _ in 0..len {
                let Some((item, used)) = parse(input.get(at..).unwrap_or_default(), depth + 1)? else {
                    return Ok(None);
                };
                items.push(item);
                at += used;
            }
            let value = match kind {
                b'*' => Value::Array(items),
                b'%' => Value::Map(items),
                b'~' => Value::Set(items),
                b'|' => {
                    let rest = input.get(at..).unwrap_or_default();
                    let Some((reply, used)) = parse(rest, depth + 1)? else { return Ok(None) };
                    at += used;
                    Value::Attributed(items, Box::new(reply))
                }
                _ => Value::Push(items),
            };
            return Ok(Some((value, at)));
        }
        other => return Err(ProtocolError::ExpectedDollar(other)),
    };
    Ok(Some((value, next)))
}

/// Finds the end of one reply, however nested, without building it: what a load generator needs. Values are not looked
/// at, only lengths are.
pub fn skip_reply(input: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let (mut at, mut missing) = (0, 1i64);
    while missing > 0 {
        let rest = input.get(at..).unwrap_or_default();
        let Some((text, next)) = line(rest) else { return Ok(None) };
        at += next;
        missing -= 1;
        match rest.first().copied().unwrap_or_default() {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => {}
            b'$' | b'=' | b'!' => {
                if let Ok(len) = usize::try_from(number(text)?) {
                    at = at.saturating_add(len).saturating_add(2);
                    if input.len() < at {
                        return Ok(None);
                    }
                }
            }
            b'*' | b'~' | b'>' => missing = missing.saturating_add(number(text)?.max(0)),
            b'%' => missing = missing.saturating_add(number(text)?.max(0).saturating_mul(2)),
            // The reply they belong to follows.
            b'|' => {
                missing = missing.saturating_add(number(text)?.max(0).saturating_mul(2)).saturating_add(1);
            }
            other => return Err(ProtocolError::ExpectedDollar(other)),
        }
    }
    Ok(Some(at))
}
