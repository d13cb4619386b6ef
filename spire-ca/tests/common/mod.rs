//! An authority of ready-made keys, at a fixed time, with seeded randomness.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{PrivateKey, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_ca::{
    Authority, Composers, DistinguishedName, DownstreamCaParams, JwtKey, SelfSignedCaParams, X509Ca, ca_csr,
    mint_downstream_ca, mint_self_signed_ca,
};
use spire_keymanager::testing;

/// 2026-09-21T14:13:20Z
pub(crate) const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

pub(crate) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(42)
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    trust_domain().join(path).unwrap()
}

pub(crate) async fn root_of(key: &PrivateKey) -> Certificate {
    let trust_domain = trust_domain();
    let subject = DistinguishedName::default_ca();
    let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24) };
    mint_self_signed_ca(&params, &Composers::default(), key, NOW, &mut rng()).await.unwrap()
}

/// A self-signed CA of a key, and a JWT key.
pub(crate) async fn authority_of(key: PrivateKey, composers: Composers) -> Authority {
    let root = root_of(&key).await;
    let ca = X509Ca::new(root, Vec::new(), Arc::new(key)).unwrap();
    let jwt = JwtKey::new("key-1", NOW + Ttl::from_hours(24), Arc::new(testing::key(1))).unwrap();
    Authority::new(trust_domain(), Arc::new(ca), Some(Arc::new(jwt)), composers)
}

pub(crate) async fn authority() -> Authority {
    authority_of(testing::key(0), Composers::default()).await
}

/// A CA that another one has signed, as a downstream server has it.
pub(crate) async fn downstream() -> Authority {
    let upstream = authority().await;
    let key = testing::key(2);
    let (subject, composers) = (DistinguishedName::default_ca(), Composers::default());
    let csr = ca_csr(&trust_domain(), &subject, &composers, &key, &mut rng()).await.unwrap();
    let csr = Csr::from_der(&csr).unwrap();
    let params = DownstreamCaParams { public_key: csr.public_key(), ttl: Ttl::from_hours(12) };
    let minted = mint_downstream_ca(&upstream, &params, NOW, &mut rng()).await.unwrap();
    let chain: Vec<_> = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let ca = X509Ca::new(chain[0].clone(), chain, Arc::new(key)).unwrap();
    Authority::new(trust_domain(), Arc::new(ca), None, Composers::default())
}
