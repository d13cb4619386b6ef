//! Serial numbers.

use std::fmt;

use rand_core::CryptoRng;

/// A certificate's serial number: 128 random bits, never zero.
///
/// Standard: RFC 5280 §4.1.2.2 allows 20 octets; SPIRE draws from 1 to 2^128 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(u128);

impl Serial {
    /// Draws one.
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        loop {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            if let Some(serial) = Self::new(u128::from_be_bytes(bytes)) {
                return serial;
            }
        }
    }

    /// From a number; `None` for zero.
    #[must_use]
    pub fn new(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The contents of the DER INTEGER: at most 17 bytes, of which the second value counts.
    pub(super) fn der_contents(self) -> ([u8; 17], usize) {
        let mut contents = [0; 17];
        if let Some(digits) = contents.get_mut(1..) {
            digits.copy_from_slice(&self.0.to_be_bytes());
        }
        // One leading zero bit must remain, so that the number stays positive.
        let bits = 128 - self.0.leading_zeros() as usize;
        (contents, bits / 8 + 1)
    }
}

/// In decimal, as SPIRE stores and shows it.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_positive() {
        for (number, contents) in [
            (1, vec![1]),
            (0x7f, vec![0x7f]),
            (0x80, vec![0, 0x80]),
            (0x100, vec![1, 0]),
            (u128::MAX, [vec![0], vec![0xff; 16]].concat()),
        ] {
            let (bytes, length) = Serial::new(number).unwrap().der_contents();
            assert_eq!(bytes[17 - length..], contents);
        }
    }

    #[test]
    fn zero_is_no_serial() {
        assert_eq!(Serial::new(0), None);
    }
}
