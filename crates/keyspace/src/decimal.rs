//! Adding decimal numbers as Redis does it: in floats whose mantissa has 64 bits, printed with 17 digits behind the point. So 0.1
//! and 0.2 are 0.3, and whoever goes beyond the digits that such a float has gets those that Redis gives. No type of Rust is
//! that wide: both ways between text and float are exact and rounded once, to even.

/// A mantissa whose highest bit is set, unless all is zero, times two to the power of `exponent`.
#[derive(Debug, Clone, Copy)]
struct Finite {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// What a text says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide(Option<Finite>);

/// From here on it is infinite: the exponent behind the mantissa's highest bit.
const EXPONENT_END: i32 = 16_384;
/// Anything below is nothing.
const EXPONENT_LEAST: i32 = -16_446;
/// Texts as long as this are no numbers. (Redis: MAX_LONG_DOUBLE_CHARS)
const LEN_MAX: usize = 5 * 1024;
/// Digits behind the point.
const SCALE: usize = 17;
/// As many digits as a word is multiplied or divided by at once.
const STEP: usize = 9;
const TEN_TO_STEP: u32 = 1_000_000_000;

impl Wide {
    /// The number that `text` spells; infinity only if that is what it says.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < LEN_MAX)?;
        let near: f64 = text.parse().ok()?;
        if near.is_nan() {
            return None;
        }
        if text.bytes().any(|byte| matches!(byte, b'i' | b'I')) {
            return Some(Self(None));
        }
        let number = text.trim_start_matches(['+', '-']);
        let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let mut digits = Big::default();
        for step in [whole, part].into_iter().flat_map(|part| part.as_bytes().chunks(STEP)) {
            let more = step.iter().fold(0, |all, digit| all * 10 + u32::from(digit - b'0'));
            digits.multiply_add(10u32.pow(step.len() as u32), more);
        }
        let is_negative = text.starts_with('-');
        if digits.is_zero() {
            return Some(Self(Some(Finite { is_negative, mantissa: 0, exponent: 0 })));
        }
        // Longer exponents are far out on their side.
        let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let power = exponent.parse().unwrap_or(far).clamp(i64::MIN / 2, i64::MAX / 2) - part.len() as i64;
        let power = i32::try_from(power).ok().filter(|power| power.unsigned_abs() <= 2 * LEN_MAX as u32)?;
        let (exponent, is_inexact) = digits.times_ten_to(power);
        let (value, is_more, words) = digits.top();
        let found = round(is_negative, value, is_inexact || is_more, exponent + words * 32)?;
        (found.exponent + 63 >= EXPONENT_LEAST).then_some(Self(Some(found)))
    }

    /// True unless it is infinite.
    pub(crate) fn is_finite(self) -> bool {
        self.0.is_some()
    }

    /// The sum as Redis' INCRBYFLOAT prints it; `None` when it is not finite.
    pub(crate) fn plus(self, other: Self) -> Option<String> {
        sum(self.0?, other.0?).map(show)
    }
}

/// Of a value times two to a power, with a little more behind it if `is_more`, the nearest float; `None` for infinity.
fn round(is_negative: bool, value: u128, is_more: bool, exponent: i32) -> Option<Finite> {
    if value == 0 {
        return Some(Finite { is_negative, mantissa: 0, exponent: 0 });
    }
    let zeros = value.leading_zeros();
    let value = value << zeros;
    let (high, low) = ((value >> 64) as u64, value as u64);
    let half = 1 << 63;
    let goes_up = low > half || low == half && (is_more || high & 1 == 1);
    let (mantissa, carry) = if goes_up { high.overflowing_add(1) } else { (high, false) };
    let mantissa = if carry { half } else { mantissa };
    let exponent = exponent - zeros as i32 + 64 + i32::from(carry);
    (exponent + 64 <= EXPONENT_END).then_some(Finite { is_negative, mantissa, exponent })
}

fn sum(left: Finite, right: Finite) -> Option<Finite> {
    if left.mantissa == 0 || right.mantissa == 0 {
        return Some(if left.mantissa == 0 { right } else { left });
    }
    let is_less = (left.exponent, left.mantissa) < (right.exponent, right.mantissa);
    let (large, small) = if is_less { (right, left) } else { (left, right) };
    // Below both there is room for what the smaller one loses: its last bit stands for all of that.
    const ROOM: u32 = 62;
    let wide = |number: Finite| u128::from(number.mantissa) << ROOM;
    let apart = large.exponent.abs_diff(small.exponent);
    let shifted = wide(small).checked_shr(apart).unwrap_or(0);
    let is_whole = shifted.checked_shl(apart).is_some_and(|back| back == wide(small));
    let shifted = shifted | u128::from(!is_whole);
    let value =
        if large.is_negative == small.is_negative { wide(large) + shifted } else { wide(large) - shifted };
    round(large.is_negative, value, false, large.exponent - ROOM as i32)
}

/// As `%.17Lf` prints it, without zeros at the end.
fn show(number: Finite) -> String {
    let Finite { is_negative, mantissa, exponent } = number;
    let digits = if mantissa == 0 {
        0
    } else if exponent >= 0 {
        let mut whole = Big::from(mantissa);
        whole.shift_left(exponent as u32);
        return format!("{}{}", if is_negative { "-" } else { "" }, whole.show());
    } else {
        let shift = exponent.unsigned_abs();
        let scaled = u128::from(mantissa) * 10u128.pow(SCALE as u32);
        let whole = scaled.checked_shr(shift).unwrap_or(0);
        // It has less than 127 bits, so far away nothing is half of the last digit.
        let part = scaled - whole.checked_shl(shift).unwrap_or(0);
        let half = 1u128.checked_shl(shift - 1).unwrap_or(u128::MAX);
        whole + u128::from(part > half || part == half && whole & 1 == 1)
    };
    let digits = format!("{digits:0>width$}", width = SCALE + 1);
    let (whole, part) = digits.split_at(digits.len() - SCALE);
    let part = part.trim_end_matches('0');
    let sign = if is_negative && (whole != "0" || !part.is_empty()) { "-" } else { "" };
    format!("{sign}{whole}{}{part}", if part.is_empty() { "" } else { "." })
}

/// A natural number of any size: words, the lowest first, the highest one not zero.
#[derive(Default)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(number: u64) -> Self {
        let mut big = Big(vec![number as u32, (number >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, more: u32) {
        let mut carry = u64::from(more);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    /// Gives the rest.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for word in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*word);
            *word = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    fn shift_left(&mut self, bits: u32) {
        self.multiply_add(1 << (bits % 32), 0);
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, (bits / 32) as usize));
        }
    }

    /// Multiplies by ten to a power, and by two to minus the exponent that it gives; true when something was cut off.
    fn times_ten_to(&mut self, power: i32) -> (i32, bool) {
        let steps = |count: u32| {
            let (whole, rest) = (count / STEP as u32, count % STEP as u32);
            std::iter::repeat_n(TEN_TO_STEP, whole as usize).chain((rest > 0).then(|| 10u32.pow(rest)))
        };
        if power >= 0 {
            steps(power.unsigned_abs()).for_each(|factor| self.multiply_add(factor, 0));
            return (0, false);
        }
        // A digit is less than 27/8 bits; three words are left for what is looked at.
        let words = power.unsigned_abs() * 27 / 8 / 32 + 4;
        self.shift_left(words * 32);
        let mut is_inexact = false;
        for divisor in steps(power.unsigned_abs()) {
            is_inexact |= self.divide(divisor) > 0;
        }
        (-(words as i32) * 32, is_inexact)
    }

    /// The highest four words, whether there is anything below them, and how many words those are.
    fn top(&self) -> (u128, bool, i32) {
        let (low, high) = self.0.split_at(self.0.len().saturating_sub(4));
        let value = high.iter().rev().fold(0, |all, word| all << 32 | u128::from(*word));
        (value, low.iter().any(|word| *word > 0), low.len() as i32)
    }

    fn show(mut self) -> String {
        let mut parts = Vec::new();
        while !self.is_zero() {
            parts.push(self.divide(TEN_TO_STEP));
        }
        let mut text = parts.pop().unwrap_or(0).to_string();
        parts.iter().rev().for_each(|part| text += &format!("{part:0>STEP$}"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Wide;

    fn add(left: &str, right: &str) -> Option<String> {
        Wide::parse(left.as_bytes())?.plus(Wide::parse(right.as_bytes())?)
    }

    #[test]
    fn sums_are_what_people_expect() {
        for (left, right, sum) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1", "1", "0"),
            ("3", "-5.25", "-2.25"),
            ("0", "-0.001", "-0.001"),
            ("+1.5", ".5", "2"),
            ("1e-17", "0", "0.00000000000000001"),
            ("-0", "-0.0", "0"),
            ("-1e-18", "0", "0"),
        ] {
            assert_eq!(add(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
        for (left, right) in [("inf", "1"), ("-inf", "inf"), ("1e4932", "1e4932")] {
            assert_eq!(add(left, right), None);
        }
        for text in ["", "x", "nan", " 1", "1 ", "1e5000", "1e-5000", "1e99999999999999999999", "0x1", "--1"]
        {
            assert!(Wide::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Wide::parse(&[b'2'; 4932]).is_some() && Wide::parse(&[b'2'; 4933]).is_none());
    }

    /// As the processor's own floats of 80 bits have it.
    #[test]
    fn sums_have_the_digits_of_a_mantissa_of_64_bits() {
        for (left, right, sum) in [
            ("3000", "1.123456789012345678", "3001.12345678901234569"),
            ("1e20", "1", "100000000000000000000"),
        ] {
            assert_eq!(add(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
    }
}
