//! The few lines of DER that are written by hand: lengths, wrappers, and the two ECDSA signature forms.

/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// Tag of a SET.
pub(crate) const SET: u8 = 0x31;
/// Tag of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;

/// One element: tag, length, contents.
pub(crate) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut der = Vec::with_capacity(contents.len() + 6);
    der.push(tag);
    push_length(&mut der, contents.len());
    der.extend_from_slice(contents);
    der
}

/// One element whose contents are given in parts.
pub(crate) fn elements(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, &parts.concat())
}

fn push_length(der: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        der.push(u8::try_from(length).unwrap_or(0));
        return;
    }
    let bytes = length.to_be_bytes();
    let significant: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    der.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
    der.extend_from_slice(&significant);
}

/// Reads one element of `tag` off the front: its contents and what follows it. Only DER's minimal lengths pass.
pub(crate) fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let count = usize::from(length & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        let value = bytes.iter().fold(0_usize, |value, b| (value << 8) | usize::from(*b));
        if value < 0x80 || bytes.first() == Some(&0) {
            return None;
        }
        (value, rest)
    };
    rest.split_at_checked(length)
}

/// An ECDSA signature as JOSE writes it (r and s side by side, `width` bytes each) from its DER form.
pub(crate) fn ecdsa_der_to_fixed(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let (sequence, rest) = take(SEQUENCE, der)?;
    let (r, tail) = take(INTEGER, sequence)?;
    let (s, end) = take(INTEGER, tail)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut fixed = Vec::with_capacity(2 * width);
    for integer in [r, s] {
        let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
        fixed.resize(fixed.len() + width.checked_sub(digits.len())?, 0);
        fixed.extend_from_slice(digits);
    }
    Some(fixed)
}

/// A non-negative INTEGER from its big-endian bytes.
pub(crate) fn unsigned_integer(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    match digits.first() {
        None => element(INTEGER, &[0]),
        Some(first) if first & 0x80 != 0 => elements(INTEGER, &[&[0], &digits]),
        Some(_) => element(INTEGER, &digits),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        assert_eq!(element(SEQUENCE, &[0; 0x7f])[..2], [0x30, 0x7f]);
        assert_eq!(element(SEQUENCE, &[0; 0x80])[..3], [0x30, 0x81, 0x80]);
        assert_eq!(element(SEQUENCE, &[0; 0x100])[..4], [0x30, 0x82, 1, 0]);
        assert_eq!(take(SEQUENCE, &[0x30, 0x81, 0x01, 0]), None, "a long form where the short one does");
        assert_eq!(take(SEQUENCE, &[0x30, 0x80, 0, 0]), None, "an indefinite length");
    }

    proptest! {
        #[test]
        fn both_signature_forms_carry_the_same(fixed in proptest::collection::vec(any::<u8>(), 64)) {
            let (r, s) = fixed.split_at(32);
            let der = elements(SEQUENCE, &[&unsigned_integer(r), &unsigned_integer(s)]);
            prop_assert_eq!(ecdsa_der_to_fixed(&der, 32).unwrap(), fixed);
        }

        #[test]
        fn reading_never_panics(der in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = take(SEQUENCE, &der);
            let _ = ecdsa_der_to_fixed(&der, 32);
        }
    }
}
