//! Adding decimal numbers as people write them: 0.1 and 0.2 are 0.3. Redis uses floats of 80 bits and prints 17 digits
//! behind the point, which comes to the same wherever the exact sum has no more digits; beyond that, 64 bits must do.

/// Digits behind the point that Redis prints.
const SCALE_MAX: u32 = 17;

/// A number of `digits` divided by ten to the power of `scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits: i128 = format!("{whole}{part}").parse().ok()?;
        let scale = i32::try_from(part.len()).ok()? - exponent;
        if scale >= 0 {
            return Some(Self { digits, scale: scale as u32 }).filter(|decimal| decimal.scale <= SCALE_MAX);
        }
        let factor = 10i128.checked_pow(scale.unsigned_abs())?;
        Some(Self { digits: digits.checked_mul(factor)?, scale: 0 })
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10i128.checked_pow(scale - self.scale)?)
    }

    fn show(self) -> String {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.digits.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, part) = digits.split_at(digits.len() - self.scale as usize);
        let part = part.trim_end_matches('0');
        format!("{sign}{whole}{}{part}", if part.is_empty() { "" } else { "." })
    }
}

/// The sum as Redis' INCRBYFLOAT prints it; `None` when it is not finite. Both texts are numbers.
pub(crate) fn add(left: &str, right: &str) -> Option<String> {
    let exact = Decimal::parse(left).zip(Decimal::parse(right)).and_then(|(left, right)| {
        let scale = left.scale.max(right.scale);
        let digits = left.at_scale(scale)?.checked_add(right.at_scale(scale)?)?;
        Some(Decimal { digits, scale }.show())
    });
    if exact.is_some() {
        return exact;
    }
    let sum = left.parse::<f64>().ok()? + right.parse::<f64>().ok()?;
    if !sum.is_finite() {
        return None;
    }
    let text = format!("{sum:.17}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::add;

    #[test]
    fn sums_are_what_people_expect() {
        for (left, right, sum) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1", "1", "0"),
            ("3", "-5.25", "-2.25"),
            ("0", "-0.001", "-0.001"),
            ("1e20", "1", "100000000000000000001"),
            ("+1.5", ".5", "2"),
            ("1e-17", "0", "0.00000000000000001"),
        ] {
            assert_eq!(add(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
        assert_eq!(add("1.7e308", "1.7e308"), None);
        assert_eq!(add("inf", "1"), None);
    }
}
