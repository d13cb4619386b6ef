//! Durations as Go writes them: `1h30m`, `500ms`, `0`.

use std::time::Duration;

use spiffe_core::Ttl;

use crate::DurationError;

/// Parses a duration that is not negative.
///
/// # Errors
/// [`DurationError`]
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (number, after) = split_at(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_at(after, |c| c.is_ascii_digit() || c == '.');
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let scale = scale_of(unit).ok_or_else(|| match unit {
            "" => DurationError::MissingUnit(text.to_owned()),
            _ => DurationError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() },
        })?;
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(scale).and_then(|part| part.checked_add(fraction_of(fraction, scale)));
        nanoseconds = part.and_then(|part| nanoseconds.checked_add(part)).ok_or_else(invalid)?;
        rest = after;
    }
    // Go's durations are nanoseconds in 63 bits.
    let nanoseconds = i64::try_from(nanoseconds).map_err(|_| invalid())?;
    if text.starts_with('-') && nanoseconds != 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    Ok(Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// Parses a lifetime, of whole seconds.
///
/// # Errors
/// [`DurationError`]
pub fn parse_ttl(text: &str) -> Result<Ttl, DurationError> {
    let duration = parse_duration(text)?;
    if duration.subsec_nanos() != 0 {
        return Err(DurationError::Fraction(text.to_owned()));
    }
    Ok(Ttl::from_secs(duration.as_secs()))
}

fn split_at(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(end).unwrap_or(text.len())).unwrap_or((text, ""))
}

fn scale_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// What the digits behind the point are worth; those below a nanosecond nothing.
fn fraction_of(digits: &str, scale: u128) -> u128 {
    let kept = digits.get(..18).unwrap_or(digits);
    let places = u32::try_from(kept.len()).unwrap_or_default();
    kept.parse::<u128>().unwrap_or_default() * scale / 10_u128.pow(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("-0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.000001ms", 1),
            ("3us2ns", 3_002),
            ("+1m", 60_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        assert_eq!(parse_duration("3600"), Err(DurationError::MissingUnit("3600".into())));
        assert_eq!(parse_duration("-1s"), Err(DurationError::Negative("-1s".into())));
        assert_eq!(parse_ttl("1500ms"), Err(DurationError::Fraction("1500ms".into())));
        let unknown = DurationError::UnknownUnit { text: "1d".into(), unit: "d".into() };
        assert_eq!(parse_duration("1d"), Err(unknown));
        for text in ["", "-", "h", ".s", "1..2s", " 1s", "99999999999h", "340282366920938463463374607431768211456s"] {
            assert_eq!(parse_duration(text), Err(DurationError::Invalid(text.into())), "{text}");
        }
    }
}
