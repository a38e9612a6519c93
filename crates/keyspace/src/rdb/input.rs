//! Where bytes of Redis' format come from, and what they are made of everywhere: lengths and strings. No length is believed
//! before its bytes are there.

use super::BadFormat;
use crate::STRING_MAX;
use crate::number::{IntegerText, parse_float};

/// Bytes in their order.
pub(super) trait Input {
    /// The next so many bytes.
    fn take(&mut self, len: usize) -> Result<&[u8], BadFormat>;

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFormat> {
        self.take(N)?.try_into().map_err(|_| BadFormat)
    }

    fn byte(&mut self) -> Result<u8, BadFormat> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A length, or which special encoding a string has.
    fn len_or_encoding(&mut self) -> Result<Result<u64, u8>, BadFormat> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            3 => Err(first & 0x3f),
            _ => return Err(BadFormat),
        })
    }

    fn len(&mut self) -> Result<u64, BadFormat> {
        self.len_or_encoding()?.map_err(|_| BadFormat)
    }

    fn size(&mut self) -> Result<usize, BadFormat> {
        usize::try_from(self.len()?).ok().filter(|len| *len <= STRING_MAX).ok_or(BadFormat)
    }

    fn string(&mut self) -> Result<Vec<u8>, BadFormat> {
        let integer = match self.len_or_encoding()? {
            Ok(len) => {
                let len = usize::try_from(len).ok().filter(|len| *len <= STRING_MAX).ok_or(BadFormat)?;
                return Ok(self.take(len)?.to_vec());
            }
            Err(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Err(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Err(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Err(3) => {
                let (packed, len) = (self.size()?, self.size()?);
                return decompressed(self.take(packed)?, len);
            }
            Err(_) => return Err(BadFormat),
        };
        Ok(IntegerText::new(integer).as_bytes().to_vec())
    }

    /// A score as text, with lengths that stand for what has no digits.
    fn score_text(&mut self) -> Result<f64, BadFormat> {
        match self.byte()? {
            253 => Err(BadFormat),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            len => parse_float(self.take(len as usize)?).ok_or(BadFormat),
        }
    }

    fn score(&mut self) -> Result<f64, BadFormat> {
        Some(f64::from_le_bytes(self.array()?)).filter(|score| !score.is_nan()).ok_or(BadFormat)
    }
}

/// Bytes that are there already and have not been read yet.
pub(super) struct Slice<'a>(pub(super) &'a [u8]);

impl Input for Slice<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], BadFormat> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadFormat)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// LZF: runs of literal bytes, and references to what stands before.
fn decompressed(packed: &[u8], len: usize) -> Result<Vec<u8>, BadFormat> {
    /// Three bytes are at most so many.
    const EXPANSION_MAX: usize = 264;
    if len > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(BadFormat);
    }
    let (mut input, mut out) = (Slice(packed), Vec::with_capacity(len));
    while !input.0.is_empty() {
        let control = usize::from(input.byte()?);
        if control < 32 {
            out.extend_from_slice(input.take(control + 1)?);
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(input.byte()?);
            }
            let back = ((control & 0x1f) << 8 | usize::from(input.byte()?)) + 1;
            let start = out.len().checked_sub(back).ok_or(BadFormat)?;
            // It may reach into what it writes.
            for i in start..start + count + 2 {
                out.push(out[i]);
            }
        }
        if out.len() > len {
            return Err(BadFormat);
        }
    }
    if out.len() == len { Ok(out) } else { Err(BadFormat) }
}
