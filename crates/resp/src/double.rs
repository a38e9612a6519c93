//! Doubles as text the way Redis writes them since 7.2: the shortest digits that come back as the same number, integers
//! without a point, exponents only where its rules ask for them. They differ from those of `%g` and of Rust: 0.00015 is
//! written so, 0.000123456 as 1.23456e-4. (Redis: `d2string`)

use std::fmt::Write;

/// The text of a double, on the stack.
#[derive(Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; 32],
    len: usize,
}

/// Integers up to half of 2^63 are written as such.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

impl DoubleText {
    /// Writes `value`: `3`, `0.1`, `1e+20`, `-0`, `inf`, `nan`.
    pub fn new(value: f64) -> Self {
        let mut text = Self { bytes: [0; 32], len: 0 };
        if value.is_nan() {
            text.push(b"nan");
        } else if value.is_infinite() {
            text.push(if value > 0.0 { b"inf" } else { b"-inf" });
        } else if value == 0.0 {
            text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        } else if value.abs() <= INTEGER_MAX && value.trunc() == value {
            text.write(format_args!("{}", value as i64));
        } else {
            text.fraction(value);
        }
        text
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        self.bytes.get_mut(self.len..end).expect("at most 26 bytes are ever needed").copy_from_slice(part);
        self.len = end;
    }

    fn zeros(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(b"0"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.write_fmt(text).expect("the buffer never refuses");
    }

    /// What is neither zero nor a small integer: digits times a power of ten, laid out.
    fn fraction(&mut self, value: f64) {
        // Rust's exponent form has the shortest digits: `1.23456e-4`.
        let mut form = Self { bytes: [0; 32], len: 0 };
        form.write(format_args!("{:e}", value.abs()));
        let mut digits = Self { bytes: [0; 32], len: 0 };
        let (mut exponent, mut negative, mut in_exponent) = (0i32, false, false);
        for &byte in form.as_bytes() {
            match byte {
                b'e' => in_exponent = true,
                b'-' => negative = true,
                b'0'..=b'9' if in_exponent => exponent = exponent * 10 + i32::from(byte - b'0'),
                b'0'..=b'9' => digits.push(&[byte]),
                _ => {}
            }
        }
        if negative {
            exponent = -exponent;
        }
        let digits = digits.as_bytes();
        // The value is the digits as an integer, times ten to the power of `scale`.
        let scale = exponent + 1 - digits.len() as i32;
        if value < 0.0 {
            self.push(b"-");
        }
        if scale >= 0 && exponent < digits.len() as i32 + 7 {
            self.push(digits);
            self.zeros(scale as usize);
        } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
            match digits.split_at_checked((exponent + 1).max(0) as usize) {
                Some((whole, part)) if !whole.is_empty() => {
                    self.push(whole);
                    self.push(b".");
                    self.push(part);
                }
                _ => {
                    self.push(b"0.");
                    self.zeros((-exponent - 1) as usize);
                    self.push(digits);
                }
            }
        } else {
            let (first, rest) = digits.split_at_checked(1).unwrap_or_default();
            self.push(first);
            if !rest.is_empty() {
                self.push(b".");
                self.push(rest);
            }
            self.write(format_args!("e{exponent:+}"));
        }
    }
}

impl Write for DoubleText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
