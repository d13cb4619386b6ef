//! Whether a point lies on its curve: y² = x³ - 3x + b, modulo p (SEC 1 §3.2.2.1).
//!
//! Public numbers only, so nothing here needs to take constant time.
#![expect(clippy::indexing_slicing, reason = "limbs are counted below the length that all their arrays share")]

use super::PublicKeyKind;

/// A number, least significant limb first.
type Limbs<const N: usize> = [u64; N];

/// Whether `point`, uncompressed, lies on the curve of that kind of key.
pub(super) fn contains(kind: PublicKeyKind, point: &[u8]) -> bool {
    match kind {
        PublicKeyKind::EcP256 => on_curve(&P256, &B256, point),
        PublicKeyKind::EcP384 => on_curve(&P384, &B384, point),
        PublicKeyKind::EcP521 => on_curve(&P521, &B521, point),
        _ => false,
    }
}

fn on_curve<const N: usize>(p: &Limbs<N>, b: &Limbs<N>, point: &[u8]) -> bool {
    let Some(coordinates) = point.strip_prefix(&[4]) else { return false };
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    let (Some(x), Some(y)) = (number::<N>(x), number::<N>(y)) else { return false };
    if x.len() != y.len() || !less(&x, p) || !less(&y, p) {
        return false;
    }
    // Each Montgomery product divides by R; all terms are brought to R⁻², where they compare as they would without it.
    let one = {
        let mut one = [0; N];
        one[0] = 1;
        one
    };
    let field = Field { p, inverse: negative_inverse(p[0]) };
    let twice = |number: &Limbs<N>| field.product(&field.product(number, &one), &one);
    let x_once = twice(&x);
    let three_x = field.sum(&field.sum(&x_once, &x_once), &x_once);
    let left = field.sum(&field.product(&field.product(&y, &y), &one), &three_x);
    let right = field.sum(&field.product(&field.product(&x, &x), &x), &twice(b));
    left == right
}

struct Field<'a, const N: usize> {
    p: &'a Limbs<N>,
    /// -p⁻¹ modulo 2⁶⁴.
    inverse: u64,
}

impl<const N: usize> Field<'_, N> {
    fn sum(&self, a: &Limbs<N>, b: &Limbs<N>) -> Limbs<N> {
        let mut sum = [0; N];
        let mut carry = 0_u128;
        for i in 0..N {
            let limb = u128::from(a[i]) + u128::from(b[i]) + carry;
            sum[i] = low(limb);
            carry = limb >> 64;
        }
        self.reduced(sum, carry != 0)
    }

    /// a·b/R modulo p, with R = 2^(64·N).
    fn product(&self, a: &Limbs<N>, b: &Limbs<N>) -> Limbs<N> {
        let mut total = [0_u64; N];
        let mut top = 0_u128;
        for limb in a {
            let mut carry = 0_u128;
            for i in 0..N {
                let value = u128::from(total[i]) + u128::from(*limb) * u128::from(b[i]) + carry;
                total[i] = low(value);
                carry = value >> 64;
            }
            top += carry;
            let factor = total[0].wrapping_mul(self.inverse);
            let mut carry = (u128::from(total[0]) + u128::from(factor) * u128::from(self.p[0])) >> 64;
            for i in 1..N {
                let value = u128::from(total[i]) + u128::from(factor) * u128::from(self.p[i]) + carry;
                total[i - 1] = low(value);
                carry = value >> 64;
            }
            top += carry;
            total[N - 1] = low(top);
            top >>= 64;
        }
        self.reduced(total, top != 0)
    }

    /// Less p, where the number, with what was carried out of it, is not below p.
    fn reduced(&self, number: Limbs<N>, carried: bool) -> Limbs<N> {
        if !carried && less(&number, self.p) {
            return number;
        }
        let mut difference = [0; N];
        let mut borrow = false;
        for i in 0..N {
            let (limb, first) = number[i].overflowing_sub(self.p[i]);
            let (limb, second) = limb.overflowing_sub(u64::from(borrow));
            difference[i] = limb;
            borrow = first || second;
        }
        difference
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
fn low(value: u128) -> u64 {
    value as u64
}

fn less<const N: usize>(a: &Limbs<N>, b: &Limbs<N>) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn negative_inverse(odd: u64) -> u64 {
    // Newton: each step doubles the number of right bits.
    let inverse = (0..6).fold(1_u64, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))));
    inverse.wrapping_neg()
}

fn number<const N: usize>(bytes: &[u8]) -> Option<Limbs<N>> {
    if bytes.len() > N * 8 {
        return None;
    }
    let mut limbs = [0; N];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
        *limb = chunk.iter().fold(0, |limb, byte| (limb << 8) | u64::from(*byte));
    }
    Some(limbs)
}

// The parameters of FIPS 186-4, D.1.2.
const P256: Limbs<4> = [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0x0000_0000_0000_0000, 0xffff_ffff_0000_0001];
const B256: Limbs<4> = [0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7];
const P384: Limbs<6> = [
    0x0000_0000_ffff_ffff,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
const B384: Limbs<6> = [
    0x2a85_c8ed_d3ec_2aef,
    0xc656_398d_8a2e_d19d,
    0x0314_088f_5013_875a,
    0x181d_9c6e_fe81_4112,
    0x988e_056b_e3f8_2d19,
    0xb331_2fa7_e23e_e7e4,
];
const P521: Limbs<9> = [
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x0000_0000_0000_01ff,
];
const B521: Limbs<9> = [
    0xef45_1fd4_6b50_3f00,
    0x3573_df88_3d2c_34f1,
    0x1652_c0bd_3bb1_bf07,
    0x5619_3951_ec7e_937b,
    0xb8b4_8991_8ef1_09e1,
    0xa2da_725b_99b3_15f3,
    0x929a_21a0_b685_40ee,
    0x953e_b961_8e1c_9a1f,
    0x0000_0000_0000_0051,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The base points.
    const POINTS: [(PublicKeyKind, &str); 3] = [
        (
            PublicKeyKind::EcP256,
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b\
             315ececbb6406837bf51f5",
        ),
        (
            PublicKeyKind::EcP384,
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96\
             262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        ),
        (
            PublicKeyKind::EcP521,
            "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3\
             c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef426\
             40c550b9013fad0761353c7086a272c24088be94769fd16650",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn base_points_lie_on_their_curves_and_their_neighbours_do_not() {
        for (kind, hex) in POINTS {
            let point = bytes(hex);
            assert!(contains(kind, &point), "{kind:?}");
            for at in 1..point.len() {
                let mut other = point.clone();
                other[at] ^= 1;
                assert!(!contains(kind, &other), "{kind:?} {at}");
            }
        }
    }

    #[test]
    fn other_shapes_and_numbers_beyond_the_field_are_no_points() {
        let (kind, hex) = POINTS[0];
        let point = bytes(hex);
        assert!(!contains(kind, &point[1..]) && !contains(kind, &point[..64]) && !contains(kind, &[]));
        assert!(!contains(kind, &[&[4], [0xff; 64].as_slice()].concat()));
        assert!(!contains(PublicKeyKind::Ed25519, &point));
        // x + p is the same point to the equation, and another text for it.
        assert!(!contains(kind, &[&[4], [0; 64].as_slice()].concat()), "the origin");
    }
}
