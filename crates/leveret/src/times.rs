//! Times and durations as people write them.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A time as people write it: days are counted by the calendar's own rules, in eras of 400 years.
pub(crate) fn utc(time_ms: u64) -> String {
    let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", year + era * 400)
}

/// A time as `2026-11-27T10:00:00Z`, with or without fractions of a second, with `Z` or `+01:00`; or milliseconds since
/// 1970. (RFC 3339)
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at_checked(zone_at)?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    // A leap second is the first moment of the next minute.
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 || !is_fraction {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let offset_minutes = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let [hours, minutes] = numbers(offset, ':')?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == "-" { -1 } else { 1 }
        }
    };
    let midnight = days(year, month, day) * DAY_MS;
    // No such day, and no such month.
    if !utc(u64::try_from(midnight).ok()?).starts_with(&format!("{year:04}-{month:02}-{day:02}T")) {
        return None;
    }
    let minutes = hour * 60 + minute - offset_minutes;
    u64::try_from(midnight + (minutes * 60 + second) * 1000 + ms).ok()
}

/// Two or three numbers of two digits; a year has four.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for (i, number) in numbers.iter_mut().enumerate() {
        let part = parts.next()?;
        let digits = if between == '-' && i == 0 { 4 } else { 2 };
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that a leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Milliseconds of `30d`, `12h`, `90m` or `20s`.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS as u64,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_600_001, "2027-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(utc(time_ms), text);
            assert_eq!(parse_time(text), Some(time_ms));
        }
        for day in 0..80_000 {
            let time_ms = day * DAY_MS as u64 + 12_345_678;
            assert_eq!(parse_time(&utc(time_ms)), Some(time_ms));
        }
    }

    #[test]
    fn times_may_have_zones_and_fractions() {
        let noon = 1_795_780_800_000;
        for text in [
            "2026-11-27T12:00:00Z",
            "2026-11-27 12:00:00.000999Z",
            "2026-11-27t13:00:00+01:00",
            "2026-11-27T06:30:00.0-05:30",
            "1795780800000",
        ] {
            assert_eq!(parse_time(text), Some(noon), "{text}");
        }
        for text in [
            "",
            "Z",
            "2026-11-27",
            "2026-11-27T12:00:00",
            "2026-11-27T12:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-27T24:00:00Z",
            "2026-11-27T12:00:00+1:00",
            "26-11-27T12:00:00Z",
            "2026-11-27T12:00:00.Z",
            "1969-01-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-27T12:00:00Zx",
            "-5",
            "ü",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("30d"), Some(2_592_000_000));
        assert_eq!(
            [parse_duration("2h"), parse_duration("5m"), parse_duration("1s")].map(Option::unwrap),
            [7_200_000, 300_000, 1000]
        );
        for text in ["", "d", "5", "-1d", "1.5h", "5w", "99999999999999999999d", "999999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
