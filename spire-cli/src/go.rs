//! Values as Go prints and parses them, which is what scripts around SPIRE expect.

use std::io;
use std::time::Duration;

use spiffe_core::Timestamp;

/// `2006-01-02 15:04:05 +0000 UTC`.
pub(crate) fn time(unix: i64) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::from_unix(unix).to_civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// `2006-01-02T15:04:05Z`.
pub(crate) fn rfc3339(unix: i64) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::from_unix(unix).to_civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `1h2m3.5s`, `1.5ms`.
pub(crate) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let digits = unit.to_string().len() - 1;
        let (whole, rest) = (nanos / unit, nanos % unit);
        let rest = format!("{rest:0digits$}");
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() { format!("{whole}{name}") } else { format!("{whole}.{rest}{name}") }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let whole = Duration::new(seconds % 60, duration.subsec_nanos());
            let rest = format!("{:.9}", whole.as_secs_f64());
            let rest = rest.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// A duration such as `1h30m`, `1.5s` or `0`; negative ones count as nothing.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const BAD: &str = "parse error";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest.is_empty() {
        return Err(BAD.to_owned());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(BAD)?;
        let (number, after) = rest.split_at_checked(end).ok_or(BAD)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end).ok_or(BAD)?;
        let number: f64 = number.parse().map_err(|_| BAD)?;
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(BAD.to_owned()),
        };
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| BAD)?;
        total = total.checked_add(part).ok_or(BAD)?;
        rest = after;
    }
    Ok(if negative { Duration::ZERO } else { total })
}

/// A whole number, in any base that Go's literals have.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)),
        Some("0b") => (2, lower.get(2..)),
        Some("0o") => (8, lower.get(2..)),
        _ => (10, Some(lower.as_str())),
    };
    let digits = digits.filter(|digits| digits.chars().all(|c| c.is_digit(radix))).filter(|digits| !digits.is_empty());
    let digits = digits.ok_or("parse error")?;
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| "value out of range".to_owned())
}

/// `true`, `false` and the short forms that Go's flags take.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An error of the operating system, without its number and in lower case.
pub(crate) fn io_error(err: &io::Error) -> String {
    let text = err.to_string();
    let Some(at) = text.find(" (os error") else { return text };
    let text = text.get(..at).unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(15), "15ns"),
            (Duration::from_nanos(1_500), "1.5µs"),
            (Duration::from_micros(1_045), "1.045ms"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(102), "1m42s"),
            (Duration::from_secs(3600), "1h0m0s"),
        ] {
            assert_eq!(super::duration(duration), text);
        }
    }

    #[test]
    fn durations_parse_as_in_go() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("-1s"), Ok(Duration::ZERO));
        for text in ["", "1", "h", "1x", "-", "1..s", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_parse_as_in_go() {
        assert_eq!(parse_int("0x10"), Ok(16));
        assert_eq!(parse_int("-7"), Ok(-7));
        assert_eq!(parse_int("9223372036854775808"), Err("value out of range".to_owned()));
        for text in ["", "abc", "1.5", "--1", "0x"] {
            assert_eq!(parse_int(text), Err("parse error".to_owned()), "{text}");
        }
    }

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(time(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
