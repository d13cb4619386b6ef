//! DER, as much of it as certificates take: a writer that knows its lengths in advance, a reader that borrows.

use spiffe_core::Timestamp;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[2]` of GeneralName, a DNS name.
pub(crate) const DNS_NAME: u8 = 0x82;
/// `[6]` of GeneralName, a URI.
pub(crate) const URI: u8 = 0x86;

/// The length of an element whose contents are `contents` bytes long.
pub(crate) const fn element_length(contents: usize) -> usize {
    1 + length_length(contents) + contents
}

const fn length_length(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x100_0000 => 4,
        _ => 5,
    }
}

/// Writes tag and length; the contents are to follow.
#[expect(clippy::cast_possible_truncation, reason = "each byte of the length by itself")]
pub(crate) fn push_header(der: &mut Vec<u8>, tag: u8, contents: usize) {
    der.push(tag);
    match length_length(contents) {
        1 => der.push(contents as u8),
        2 => der.extend_from_slice(&[0x81, contents as u8]),
        3 => der.extend_from_slice(&[0x82, (contents >> 8) as u8, contents as u8]),
        4 => der.extend_from_slice(&[0x83, (contents >> 16) as u8, (contents >> 8) as u8, contents as u8]),
        _ => der.extend_from_slice(&[
            0x84,
            (contents >> 24) as u8,
            (contents >> 16) as u8,
            (contents >> 8) as u8,
            contents as u8,
        ]),
    }
}

/// Writes one element.
pub(crate) fn push_element(der: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    push_header(der, tag, contents.len());
    der.extend_from_slice(contents);
}

/// One element by itself, its contents given in parts.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(element_length(contents));
    push_header(&mut der, tag, contents);
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

/// Reads one element off the front: its tag, its contents, and what follows it. Only minimal lengths pass.
pub(crate) fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let count = usize::from(length & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        let value = bytes.iter().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte));
        if length_length(value) != count + 1 {
            return None;
        }
        (value, rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// Reads one element of `tag` off the front: its contents and what follows it.
pub(crate) fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    match split(der)? {
        (found, contents, rest) if found == tag => Some((contents, rest)),
        _ => None,
    }
}

/// The length of [`push_time`]'s element.
pub(crate) fn time_length(time: Timestamp) -> usize {
    if is_utc_time(time) { 15 } else { 17 }
}

/// Writes a time as RFC 5280 §4.1.2.5 asks: UTCTime through 2049, GeneralizedTime from 2050 on.
pub(crate) fn push_time(der: &mut Vec<u8>, time: Timestamp) {
    let (year, month, day, hour, minute, second) = time.to_civil();
    let year = u16::try_from(year.clamp(0, 9999)).unwrap_or(0);
    let (century, year) = (u8::try_from(year / 100).unwrap_or(0), u8::try_from(year % 100).unwrap_or(0));
    if is_utc_time(time) {
        der.extend_from_slice(&[UTC_TIME, 13]);
    } else {
        der.extend_from_slice(&[GENERALIZED_TIME, 15]);
        push_two_digits(der, century);
    }
    for part in [year, month, day, hour, minute, second] {
        push_two_digits(der, part);
    }
    der.push(b'Z');
}

fn push_two_digits(der: &mut Vec<u8>, number: u8) {
    der.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}

/// 1950-01-01T00:00:00Z up to, without it, 2050-01-01T00:00:00Z.
fn is_utc_time(time: Timestamp) -> bool {
    (-631_152_000..2_524_608_000).contains(&time.as_unix())
}

/// Reads a time off the front.
pub(crate) fn take_time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, text, rest) = split(der)?;
    let (year, text) = match tag {
        UTC_TIME => {
            let (year, text) = two_digits(text)?;
            (if year < 50 { 2000 + i64::from(year) } else { 1900 + i64::from(year) }, text)
        }
        GENERALIZED_TIME => {
            let (century, text) = two_digits(text)?;
            let (year, text) = two_digits(text)?;
            (i64::from(century) * 100 + i64::from(year), text)
        }
        _ => return None,
    };
    let (month, text) = two_digits(text)?;
    let (day, text) = two_digits(text)?;
    let (hour, text) = two_digits(text)?;
    let (minute, text) = two_digits(text)?;
    let (second, text) = two_digits(text)?;
    (text == b"Z").then_some((Timestamp::from_civil(year, month, day, hour, minute, second)?, rest))
}

fn two_digits(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => Some(((tens - b'0') * 10 + (ones - b'0'), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let contents = vec![7; length];
            let der = element(OCTET_STRING, &[&contents]);
            assert_eq!(der.len(), element_length(length));
            assert_eq!(take(OCTET_STRING, &der), Some((contents.as_slice(), [].as_slice())));
        }
        assert_eq!(split(&[0x30, 0x81, 0x01, 0]), None, "a long form where the short one does");
        assert_eq!(split(&[0x30, 0x80, 0, 0]), None, "an indefinite length");
    }

    #[test]
    fn the_year_2050_changes_the_form() {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        push_time(&mut before, Timestamp::from_unix(2_524_607_999));
        push_time(&mut after, Timestamp::from_unix(2_524_608_000));
        assert_eq!(&before[2..], b"491231235959Z");
        assert_eq!(&after[2..], b"20500101000000Z");
    }

    proptest! {
        #[test]
        fn times_go_both_ways(seconds in -631_152_000_i64..253_402_300_800) {
            let time = Timestamp::from_unix(seconds);
            let mut der = Vec::new();
            push_time(&mut der, time);
            prop_assert_eq!(der.len(), time_length(time));
            prop_assert_eq!(take_time(&der), Some((time, [].as_slice())));
        }

        #[test]
        fn reading_never_panics(der in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = split(&der);
            let _ = take_time(&der);
        }
    }
}
