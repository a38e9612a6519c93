//! Libraries of functions in a payload: for each an opcode and its text, then the same end as of a value. (Redis: FUNCTION DUMP)

use super::input::{Input, Slice};
use super::write::put_string;
use super::{BadFormat, VERSION, finish, verified};
use crate::Error;

const LIBRARY: u8 = 245;

/// The payload of texts.
pub fn dump_libraries<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.push(LIBRARY);
        put_string(&mut out, text);
    }
    finish(out, VERSION)
}

/// The texts of a payload.
pub fn load_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    const BAD: Error = Error::new("ERR DUMP payload version or checksum are wrong");
    let (_, body) = verified(payload).ok_or(BAD)?;
    texts(body).map_err(|BadFormat| Error::new("ERR failed loading functions from the payload"))
}

fn texts(body: &[u8]) -> Result<Vec<Vec<u8>>, BadFormat> {
    let (mut texts, mut input) = (Vec::new(), Slice(body));
    while !input.0.is_empty() {
        if input.byte()? != LIBRARY {
            return Err(BadFormat);
        }
        texts.push(input.string()?);
    }
    Ok(texts)
}
