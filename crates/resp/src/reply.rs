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
    Verbatim(Vec<u8>),
}

/// Nested deeper than any server answers.
const DEPTH_MAX: usize = 64;

/// Reads one reply: the value and the bytes it took, or `None` until all of it has arrived.
pub fn parse_reply(input: &[u8]) -> Result<Option<(Value, usize)>, ProtocolError> {
    parse(input, 0)
}

fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some((input.get(1..end).unwrap_or_default(), end + 2))
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
        b'#' => Value::Boolean(text == b"t"),
        b'_' => Value::Null,
        b'$' | b'=' => {
            let len = number(text)?;
            let Ok(len) = usize::try_from(len) else { return Ok(Some((Value::Null, next))) };
            let Some(bytes) = next.checked_add(len).and_then(|end| input.get(next..end)) else {
                return Ok(None);
            };
            if input.len() < next + len + 2 {
                return Ok(None);
            }
            let value =
                if kind == b'$' { Value::Bulk(bytes.to_vec()) } else { Value::Verbatim(bytes.to_vec()) };
            return Ok(Some((value, next + len + 2)));
        }
        b'*' | b'%' | b'~' | b'>' => {
            let len = number(text)?;
            let Ok(mut len) = usize::try_from(len) else { return Ok(Some((Value::Null, next))) };
            if depth == DEPTH_MAX {
                return Err(ProtocolError::InvalidMultibulkLength);
            }
            if kind == b'%' {
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
                _ => Value::Push(items),
            };
            return Ok(Some((value, at)));
        }
        other => return Err(ProtocolError::ExpectedDollar(other)),
    };
    Ok(Some((value, next)))
}

/// Finds the end of one flat reply or array of flat replies without building it.
pub fn skip_reply(input: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let (mut at, mut missing) = (0, 1i64);
    while missing > 0 {
        let rest = input.get(at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let text = rest.get(1..end.max(2) - 1).unwrap_or_default();
        at += end + 1;
        missing -= 1;
        match rest.first().copied().unwrap_or_default() {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => {}
            b'$' | b'=' => {
                let len = number(text)?;
                if len >= 0 {
                    at += len as usize + 2;
                    if input.len() < at {
                        return Ok(None);
                    }
                }
            }
            b'*' | b'~' | b'>' => missing += number(text)?.max(0),
            b'%' => missing += number(text)?.max(0).saturating_mul(2),
            other => return Err(ProtocolError::ExpectedDollar(other)),
        }
    }
    Ok(Some(at))
}
