//! The standards: IDs, certificates, bundles, and both kinds of SVIDs verified, beside the bare signature verification.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures, and ends when something is wrong"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use spiffe_core::jwt::JwtSvid;
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::{Certificate, verify_svid};
use spiffe_core::{Bundle, SpiffeId, Timestamp, Ttl};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let id = "spiffe://example.org/ns/production/sa/billing";
    group.bench_function("id", |bench| bench.iter(|| SpiffeId::parse(black_box(id)).unwrap()));
    let authority = TestAuthority::new("example.org");
    let svid = authority.svid("/ns/production/sa/billing");
    group.bench_function("certificate", |bench| {
        bench.iter(|| Certificate::from_der(black_box(svid.leaf().der())).unwrap());
    });
    for count in [1, 10, 100] {
        let mut bundle = authority.bundle();
        bundle.jwt_authorities.clear();
        while bundle.x509_authorities.len() < count {
            bundle.x509_authorities.extend(TestAuthority::new("example.org").bundle().x509_authorities);
        }
        let document = bundle.to_document();
        group.bench_function(BenchmarkId::new("bundle", count), |bench| {
            bench.iter(|| Bundle::from_document(bundle.trust_domain.clone(), black_box(document.as_bytes())).unwrap());
        });
    }
    group.finish();
}

/// The bare operation and ours take turns, as in `mint`.
fn in_turns(iterations: u64, mine: bool, mut raw: impl FnMut(), mut ours: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let before = Instant::now();
        raw();
        let between = Instant::now();
        ours();
        let after = Instant::now();
        total += if mine { after - between } else { between - before };
    }
    total
}

fn compare(criterion: &mut Criterion, name: &str, mut raw: impl FnMut(), mut ours: impl FnMut()) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function("bare_signature", |bench| bench.iter_custom(|n| in_turns(n, false, &mut raw, &mut ours)));
    group.bench_function("verify", |bench| bench.iter_custom(|n| in_turns(n, true, &mut raw, &mut ours)));
    group.finish();
}

/// The point at the end of a SubjectPublicKeyInfo.
fn point(spki: &[u8]) -> &[u8] {
    &spki[spki.len() - 65..]
}

fn verify(criterion: &mut Criterion) {
    let authority = TestAuthority::new("example.org");
    let bundles = authority.bundles();
    let svid = authority.svid("/ns/production/sa/billing");
    let leaf = svid.leaf();
    let root = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point(authority.root().public_key().spki_der()));
    compare(
        criterion,
        "x509_svid",
        || root.verify(black_box(leaf.tbs_der()), leaf.signature()).unwrap(),
        || drop(black_box(verify_svid(svid.chain(), &bundles, NOW).unwrap())),
    );

    let token = authority.jwt_svid("/ns/production/sa/billing", &["svc"], NOW + Ttl::from_minutes(5));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = base64url(signature);
    let key = authority.bundle().jwt_authorities[0].public_key.clone();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point(key.spki_der()).to_vec());
    compare(
        criterion,
        "jwt_svid",
        || key.verify(black_box(signed.as_bytes()), &signature).unwrap(),
        || drop(black_box(JwtSvid::verify(&token, "svc", &bundles, NOW, Ttl::ZERO).unwrap())),
    );
}

/// base64url, which no dependency of the benches reads.
fn base64url(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes() {
        bits = (bits << 6) | u32::from(digit(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    bytes
}

criterion_group!(benches, parse, verify);
criterion_main!(benches);
