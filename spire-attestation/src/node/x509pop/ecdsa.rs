//! ECDSA signatures: two integers on the wire, one DER sequence for the cryptographic library.

/// `SEQUENCE { r INTEGER, s INTEGER }`; `None` when an integer is too long for any curve.
#[cfg(feature = "server")]
pub(super) fn to_der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let body = [integer(r)?, integer(s)?].concat();
    element(SEQUENCE, &body)
}

/// The two integers of a DER signature, big-endian and without leading zeros.
#[cfg(feature = "agent")]
pub(super) fn from_der(signature: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (body, rest) = take(SEQUENCE, signature)?;
    let (r, tail) = take(INTEGER, body)?;
    let (s, end) = take(INTEGER, tail)?;
    (rest.is_empty() && end.is_empty()).then(|| (without_zeros(r).to_vec(), without_zeros(s).to_vec()))
}

#[cfg(feature = "server")]
fn integer(big_endian: &[u8]) -> Option<Vec<u8>> {
    let digits = without_zeros(big_endian);
    if digits.len() > MAX_INTEGER_BYTES {
        return None;
    }
    // A leading one bit would read as a minus sign; zero has one byte.
    let sign: &[u8] = if digits.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[sign, digits].concat())
}

#[cfg(feature = "server")]
fn element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(content.len()).ok()?;
    // Lengths of 128 and more take a second byte.
    let header: &[u8] = if length < 0x80 { &[tag, length] } else { &[tag, 0x81, length] };
    Some([header, content].concat())
}

#[cfg(feature = "agent")]
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der {
        [found, length, rest @ ..] if *found == tag && *length < 0x80 => rest.split_at_checked(usize::from(*length)),
        [found, 0x81, length, rest @ ..] if *found == tag => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

fn without_zeros(big_endian: &[u8]) -> &[u8] {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    big_endian.get(zeros..).unwrap_or_default()
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// P-521 has the longest.
#[cfg(feature = "server")]
const MAX_INTEGER_BYTES: usize = 66;

#[cfg(all(test, feature = "agent", feature = "server"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_survive_der(r in proptest::collection::vec(any::<u8>(), 0..=66), s in proptest::collection::vec(any::<u8>(), 0..=66)) {
            let der = to_der(&r, &s).unwrap();
            prop_assert_eq!(from_der(&der), Some((without_zeros(&r).to_vec(), without_zeros(&s).to_vec())));
        }

        #[test]
        fn any_bytes_are_read_without_panic(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_der(&der);
        }
    }

    #[test]
    fn a_minus_sign_is_avoided() {
        assert_eq!(to_der(&[0x80], &[0x7f]).unwrap(), [0x30, 7, 2, 2, 0, 0x80, 2, 1, 0x7f]);
    }

    #[test]
    fn endless_integers_are_refused() {
        assert_eq!(to_der(&[1; 67], &[1]), None);
        assert!(to_der(&[0; 1000], &[1]).is_some(), "leading zeros do not count");
    }
}
