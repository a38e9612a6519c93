//! Numbers as Redis reads them from strings: canonical decimal integers, and floats without surrounding blanks.

/// The integer that `bytes` spell, if it is spelt as Redis would print it: no plus sign, no leading zero, no blank.
pub fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (first, rest) = digits.split_first()?;
    match first {
        b'0' => return (rest.is_empty() && !negative).then_some(0),
        b'1'..=b'9' if rest.len() < 19 => {}
        _ => return None,
    }
    let mut value = u64::from(first - b'0');
    for digit in rest {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    match negative {
        true if value == 1 << 63 => Some(i64::MIN),
        true => i64::try_from(value).ok().map(|value| -value),
        false => i64::try_from(value).ok(),
    }
}

/// The finite or infinite float that `bytes` spell; NaN is refused, and a number that no float can hold.
pub fn parse_float(bytes: &[u8]) -> Option<f64> {
    let says_infinity = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'i' | b'I'));
    parse_wide_float(bytes).filter(|value| value.is_finite() || says_infinity(bytes))
}

/// As [`parse_float`], but a number that is too large is infinity.
pub(crate) fn parse_wide_float(bytes: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// The order of scores, which are never NaN; both zeroes are equal.
pub(crate) fn compare_scores(left: f64, right: f64) -> std::cmp::Ordering {
    left.partial_cmp(&right).unwrap_or(std::cmp::Ordering::Equal)
}

/// An integer as text, without an allocation.
pub(crate) struct IntegerText {
    bytes: [u8; 20],
    start: u8,
}

impl IntegerText {
    /// Prints `value` in decimal.
    pub(crate) fn new(value: i64) -> Self {
        let (mut bytes, mut start, mut rest) = ([0; 20], 20usize, value.unsigned_abs());
        loop {
            start -= 1;
            bytes[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        Self { bytes, start: start as u8 }
    }

    /// The digits.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical() {
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN, -90] {
            assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
            assert_eq!(IntegerText::new(value).as_bytes(), value.to_string().as_bytes());
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "9223372036854775808",
            "-9223372036854775809",
            "1e3",
            "99999999999999999999",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
