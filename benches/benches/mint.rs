//! Minting against the raw signature, in the same run. See `README.md` for the method.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures, and ends when something is wrong"
)]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_core::{OsRng, TryRngCore as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    UnparsedPublicKey,
};
use spiffe_core::x509::{Csr, CsrTemplate};
use spiffe_core::{KeyType, PrivateKey, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_ca::{
    Authority, Composers, DistinguishedName, JwtKey, JwtSvidParams, SelfSignedCaParams, X509Ca, X509SvidParams,
    mint_jwt_svid, mint_self_signed_ca, mint_x509_svid,
};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

struct Setup {
    authority: Authority,
    ca_key: PrivateKey,
    jwt_key: PrivateKey,
    leaf_key: PrivateKey,
    id: SpiffeId,
    audience: [String; 1],
}

impl Setup {
    fn new() -> Self {
        let [ca_key, jwt_key] = [(); 2].map(|()| PrivateKey::generate(KeyType::EcP256).unwrap());
        Self::of_keys(ca_key, jwt_key)
    }

    /// Of authorities with these keys.
    fn of_keys(ca_key: PrivateKey, jwt_key: PrivateKey) -> Self {
        let leaf_key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let subject = DistinguishedName::default_ca();
        let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24) };
        let (composers, mut rng) = (Composers::default(), OsRng.unwrap_err());
        let root = at_once(mint_self_signed_ca(&params, &composers, &ca_key, NOW, &mut rng)).unwrap();
        let x509 = X509Ca::new(root, Vec::new(), Arc::new(ca_key.clone())).unwrap();
        let jwt = JwtKey::new(&"k".repeat(32), NOW + Ttl::from_hours(24), Arc::new(jwt_key.clone())).unwrap();
        let id = trust_domain.join("/ns/production/sa/payments").unwrap();
        let authority = Authority::new(trust_domain, Arc::new(x509), Some(Arc::new(jwt)), composers);
        let audience = ["spiffe://example.org/ns/production/sa/ledger".to_owned()];
        Self { authority, ca_key, jwt_key, leaf_key, id, audience }
    }

    async fn mint_x509(&self, public_key: &spiffe_core::PublicKey) -> Vec<u8> {
        let params =
            X509SvidParams { spiffe_id: &self.id, public_key, ttl: Ttl::from_hours(1), dns_names: &[], subject: None };
        mint_x509_svid(&self.authority, &params, NOW, &mut OsRng.unwrap_err()).await.unwrap().leaf
    }

    async fn mint_jwt(&self) -> String {
        let params = JwtSvidParams {
            spiffe_id: &self.id,
            audience: &self.audience,
            ttl: Ttl::from_minutes(5),
            include_jti: false,
            issuer: None,
        };
        mint_jwt_svid(&self.authority, &params, NOW, &mut OsRng.unwrap_err()).await.unwrap().token
    }
}

/// A key in this process signs without waiting for anything, so the first poll is the last.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

/// The raw operation and ours take turns within one measurement, so that a machine that is busy for a while is busy for
/// both; each is credited with the time of its own turns.
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

fn compare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    raw_name: &str,
    name: &str,
    mut raw: impl FnMut(),
    mut ours: impl FnMut(),
) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(raw_name, |bench| bench.iter_custom(|count| in_turns(count, false, &mut raw, &mut ours)));
    group.bench_function(name, |bench| bench.iter_custom(|count| in_turns(count, true, &mut raw, &mut ours)));
}

fn x509(criterion: &mut Criterion) {
    let setup = Setup::new();
    let rng = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &setup.ca_key.to_pkcs8_der(), &rng).unwrap();
    // As many bytes as are signed for one leaf.
    let leaf = at_once(setup.mint_x509(setup.leaf_key.public_key()));
    let message = &leaf[..leaf.len() - 90];
    let mut group = criterion.benchmark_group("x509");
    compare(
        &mut group,
        "raw_p256_sign",
        "mint",
        || {
            black_box(pair.sign(&rng, black_box(message)).unwrap());
        },
        || drop(black_box(at_once(setup.mint_x509(setup.leaf_key.public_key())))),
    );
    group.finish();
}

fn jwt(criterion: &mut Criterion) {
    let setup = Setup::new();
    let rng = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &setup.jwt_key.to_pkcs8_der(), &rng).unwrap();
    let token = at_once(setup.mint_jwt());
    let (message, _) = token.rsplit_once('.').unwrap();
    let mut group = criterion.benchmark_group("jwt");
    compare(
        &mut group,
        "raw_p256_sign",
        "mint",
        || {
            black_box(pair.sign(&rng, black_box(message.as_bytes())).unwrap());
        },
        || drop(black_box(at_once(setup.mint_jwt()))),
    );
    group.finish();
}

fn csr(criterion: &mut Criterion) {
    let setup = Setup::new();
    let rng = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &setup.ca_key.to_pkcs8_der(), &rng).unwrap();
    let template = CsrTemplate { uri_sans: vec![setup.id.as_str().to_owned()], ..CsrTemplate::default() };
    let request = template.sign(&setup.leaf_key).unwrap();
    let to_be_signed = template.to_be_signed(setup.leaf_key.public_key());
    let signature = setup.leaf_key.sign(&to_be_signed).unwrap();
    let point = &setup.leaf_key.public_key().spki_der()[26..];
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    let leaf = at_once(setup.mint_x509(setup.leaf_key.public_key()));
    let message = &leaf[..leaf.len() - 90];
    let mut group = criterion.benchmark_group("csr");
    compare(
        &mut group,
        "raw_verify_and_sign",
        "check_and_mint",
        || {
            public.verify(black_box(&to_be_signed), black_box(&signature)).unwrap();
            black_box(pair.sign(&rng, black_box(message)).unwrap());
        },
        || {
            let csr = Csr::from_der(black_box(&request)).unwrap();
            drop(black_box(at_once(setup.mint_x509(csr.public_key()))));
        },
    );
    group.finish();
}

/// The same by the authorities' type of key, for P-256 keys of workloads. RSA keys are made by AWS-LC alone.
fn key_types(criterion: &mut Criterion) {
    let mut group = criterion
        .benchmark_group(format!("mint_by_{}", if cfg!(feature = "aws-lc-rs") { "aws-lc-rs" } else { "ring" }));
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048, KeyType::Rsa4096] {
        let Ok(key) = PrivateKey::generate(key_type) else { continue };
        let setup = Setup::of_keys(key.clone(), key);
        group.bench_function(BenchmarkId::new("x509", key_type.as_str()), |bench| {
            bench.iter(|| at_once(setup.mint_x509(setup.leaf_key.public_key())));
        });
        group.bench_function(BenchmarkId::new("jwt", key_type.as_str()), |bench| {
            bench.iter(|| at_once(setup.mint_jwt()));
        });
    }
    group.finish();
}

criterion_group!(benches, x509, jwt, csr, key_types);
criterion_main!(benches);
