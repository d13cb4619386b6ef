//! Verification of RSA-PSS signatures with a salt of any length (RFC 8017 §8.1.2 and §9.1.2).
//!
//! Agents written in Go sign with the longest salt that fits, which cryptographic libraries for Rust do not verify. Only
//! public values are handled here, so nothing needs to run in constant time.

use num_bigint::BigUint;
use ring::digest::{Context, SHA256, digest};

/// An RSA public key.
#[derive(Debug)]
pub(super) struct RsaPublicKey {
    modulus: BigUint,
    exponent: BigUint,
}

impl RsaPublicKey {
    /// From big-endian integers; `None` where a key is unusable: even or tiny numbers, or an exponent of more than 31
    /// bits, which would let the one who made the key choose how long verification takes.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
        let usable = modulus.bits() >= MIN_MODULUS_BITS
            && modulus.bit(0)
            && exponent.bit(0)
            && exponent.bits() > 1
            && exponent.bits() <= MAX_EXPONENT_BITS;
        usable.then_some(Self { modulus, exponent })
    }

    /// Whether `signature` is one over SHA-256 of `message`, masked by MGF1 with SHA-256.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.check(message, signature).is_some()
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let modulus_bits = usize::try_from(self.modulus.bits()).ok()?;
        let signature_value = BigUint::from_bytes_be(signature);
        if signature.len() != modulus_bits.div_ceil(8) || signature_value >= self.modulus {
            return None;
        }
        let encoded = signature_value.modpow(&self.exponent, &self.modulus).to_bytes_be();

        // RFC 8017 §9.1.2; the encoded message has one bit less than the modulus.
        let encoded_bits = modulus_bits - 1;
        let mut block = vec![0; encoded_bits.div_ceil(8).checked_sub(encoded.len())?];
        block.extend_from_slice(&encoded);
        let (rest, trailer) = block.split_at_checked(block.len().checked_sub(1)?)?;
        let (masked, expected) = rest.split_at_checked(rest.len().checked_sub(SHA256.output_len())?)?;
        if trailer != [TRAILER] {
            return None;
        }
        let unused = u32::try_from(block.len() * 8 - encoded_bits).ok()?;
        let first_byte_mask = u8::MAX.checked_shr(unused)?;
        if masked.first()? & !first_byte_mask != 0 {
            return None;
        }
        let mut data: Vec<u8> = masked.iter().zip(mask(expected, masked.len())).map(|(a, b)| a ^ b).collect();
        *data.first_mut()? &= first_byte_mask;
        // Zeros, a one, the salt.
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        let (one, salt) = data.get(zeros..)?.split_first()?;
        if *one != 1 {
            return None;
        }
        let mut hash = Context::new(&SHA256);
        hash.update(&[0; 8]);
        hash.update(digest(&SHA256, message).as_ref());
        hash.update(salt);
        (hash.finish().as_ref() == expected).then_some(())
    }
}

/// MGF1 (RFC 8017 §B.2.1).
fn mask(seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    let blocks = length.div_ceil(SHA256.output_len());
    (0..u32::try_from(blocks).unwrap_or(u32::MAX))
        .flat_map(move |counter| {
            let mut hash = Context::new(&SHA256);
            hash.update(seed);
            hash.update(&counter.to_be_bytes());
            hash.finish().as_ref().to_vec()
        })
        .take(length)
}

const TRAILER: u8 = 0xbc;
const MIN_MODULUS_BITS: u64 = 1024;
const MAX_EXPONENT_BITS: u64 = 31;

#[cfg(test)]
mod tests;
