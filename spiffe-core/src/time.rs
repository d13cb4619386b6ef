//! Points in time and lifetimes, in whole seconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: seconds since 1970-01-01T00:00:00Z, negative before.
///
/// Arithmetic saturates, so that a hostile lifetime cannot wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before everything.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything.
    pub const MAX: Self = Self(i64::MAX);

    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn as_unix(self) -> i64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Ttl {
        Ttl(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The civil date and time in UTC: year, month, day, hour, minute, second.
    #[must_use]
    pub fn to_civil(self) -> (i64, u8, u8, u8, u8, u8) {
        let days = self.0.div_euclid(SECONDS_A_DAY);
        let seconds = self.0.rem_euclid(SECONDS_A_DAY);
        // Days are counted from 0000-03-01, where leap days fall at the end of the year.
        let shifted = days + DAYS_TO_1970;
        let era = shifted.div_euclid(DAYS_AN_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_AN_ERA);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let small = |value: i64| u8::try_from(value).unwrap_or(0);
        (year, small(month), small(day), small(seconds / 3600), small(seconds / 60 % 60), small(seconds % 60))
    }

    /// From a civil date and time in UTC; `None` for one that does not exist.
    #[must_use]
    pub fn from_civil(year: i64, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        if !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let shifted_year = if month <= 2 { year.checked_sub(1)? } else { year };
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era.checked_mul(DAYS_AN_ERA)?.checked_add(day_of_era - DAYS_TO_1970)?;
        let time = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        let timestamp = Self(days.checked_mul(SECONDS_A_DAY)?.checked_add(time)?);
        let (y, m, d, ..) = timestamp.to_civil();
        ((y, m, d) == (year, month, day) || second == 60).then_some(timestamp)
    }
}

const SECONDS_A_DAY: i64 = 86_400;
const DAYS_AN_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

impl Add<Ttl> for Timestamp {
    type Output = Self;

    fn add(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add_unsigned(ttl.0))
    }
}

impl Sub<Ttl> for Timestamp {
    type Output = Self;

    fn sub(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_sub_unsigned(ttl.0))
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.to_civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A lifetime in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

impl Ttl {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// From minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(minutes.saturating_mul(60))
    }

    /// From hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours.saturating_mul(3600))
    }

    /// In seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// A fraction of it: the lifetime divided by `parts`, rounded down; all of it for zero parts.
    #[must_use]
    pub fn divided_by(self, parts: u64) -> Self {
        Self(self.0.checked_div(parts).unwrap_or(self.0))
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        Self::from_secs(ttl.0)
    }
}

/// Parts of a second are dropped.
impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs())
    }
}

/// As Go prints a duration: `1h0m0s`, `5m0s`, `10s`.
impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates_print_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_unix(seconds).to_string(), text);
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        assert_eq!(Timestamp::from_civil(2023, 2, 29, 0, 0, 0), None);
        assert_eq!(Timestamp::from_civil(2024, 4, 31, 0, 0, 0), None);
        assert_eq!(Timestamp::from_civil(2024, 13, 1, 0, 0, 0), None);
        assert!(Timestamp::from_civil(2024, 2, 29, 0, 0, 0).is_some());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Ttl::from_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Ttl::from_secs(1), Timestamp::MIN);
        assert_eq!(Timestamp::from_unix(5).since(Timestamp::from_unix(9)), Ttl::ZERO);
    }

    #[test]
    fn lifetimes_print_as_go_does() {
        assert_eq!(Ttl::from_secs(59).to_string(), "59s");
        assert_eq!(Ttl::from_secs(300).to_string(), "5m0s");
        assert_eq!(Ttl::from_hours(24).to_string(), "24h0m0s");
    }

    proptest! {
        #[test]
        fn civil_time_goes_both_ways(seconds in -62_135_596_800_i64..253_402_300_800) {
            let (y, mo, d, h, mi, s) = Timestamp::from_unix(seconds).to_civil();
            prop_assert_eq!(Timestamp::from_civil(y, mo, d, h, mi, s), Some(Timestamp::from_unix(seconds)));
        }
    }
}
