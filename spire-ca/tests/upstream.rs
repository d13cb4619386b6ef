//! The upstream of files, and the proof that every upstream's answer has to pass.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use spiffe_core::x509::{Certificate, CsrTemplate};
use spiffe_core::{PrivateKey, Ttl, X509Authority};
use spire_ca::upstream::{DiskUpstream, DiskUpstreamConfig, UpstreamAuthority as _, UpstreamCa, chain};
use spire_ca::{Composers, DistinguishedName, Error, ca_csr};
use spire_keymanager::testing;

mod common;

use common::{NOW, downstream, rng, root_of, trust_domain};

fn config(directory: &Path) -> DiskUpstreamConfig {
    DiskUpstreamConfig {
        cert_file_path: directory.join("cert.pem"),
        key_file_path: directory.join("key.pem"),
        bundle_file_path: None,
    }
}

async fn write(directory: &Path, key: &PrivateKey) -> DiskUpstreamConfig {
    let config = config(directory);
    std::fs::write(&config.cert_file_path, root_of(key).await.to_pem()).unwrap();
    std::fs::write(&config.key_file_path, key.to_pkcs8_pem().as_str()).unwrap();
    config
}

async fn csr(key: &PrivateKey) -> Vec<u8> {
    let (subject, composers) = (DistinguishedName::default_ca(), Composers::default());
    ca_csr(&trust_domain(), &subject, &composers, key, &mut rng()).await.unwrap()
}

async fn check(answer: &UpstreamCa, key: PrivateKey) -> Result<(), Error> {
    let mut rng: ChaCha20Rng = rng();
    chain::check(answer, &trust_domain(), Arc::new(key), NOW, &mut rng).await
}

#[tokio::test]
async fn a_self_signed_ca_in_files_signs_and_its_answer_proves_good() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &testing::key(0)).await;
    let upstream = DiskUpstream::open(trust_domain(), config, NOW, &mut rng()).await.unwrap();
    let key = testing::key(2);
    let answer = upstream.mint_x509_ca(&csr(&key).await, Ttl::from_hours(12), NOW, &mut rng()).await.unwrap();
    assert_eq!(answer.chain.len(), 1);
    assert_eq!(answer.chain[0].not_after(), NOW + Ttl::from_hours(12));
    assert_eq!(answer.roots[0].certificate.public_key(), testing::key(0).public_key());
    check(&answer, key).await.unwrap();
}

#[tokio::test]
async fn with_a_bundle_the_files_own_chain_follows() {
    let directory = tempfile::tempdir().unwrap();
    let (intermediate, root) = (downstream().await, root_of(&testing::key(0)).await);
    let config =
        DiskUpstreamConfig { bundle_file_path: Some(directory.path().join("bundle.pem")), ..config(directory.path()) };
    std::fs::write(&config.cert_file_path, intermediate.x509().certificate().to_pem()).unwrap();
    std::fs::write(&config.key_file_path, testing::key(2).to_pkcs8_pem().as_str()).unwrap();
    std::fs::write(directory.path().join("bundle.pem"), root.to_pem()).unwrap();
    let upstream = DiskUpstream::open(trust_domain(), config, NOW, &mut rng()).await.unwrap();
    let key = testing::key(3);
    let answer = upstream.mint_x509_ca(&csr(&key).await, Ttl::from_hours(48), NOW, &mut rng()).await.unwrap();
    assert_eq!(answer.chain.len(), 2);
    assert_eq!(answer.chain[0].not_after(), intermediate.x509().not_after(), "cut at the issuer's end");
    check(&answer, key).await.unwrap();
}

#[tokio::test]
async fn files_that_vanish_or_change_are_noticed_at_the_next_request() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &testing::key(0)).await;
    let upstream = DiskUpstream::open(trust_domain(), config.clone(), NOW, &mut rng()).await.unwrap();
    let request = csr(&testing::key(2)).await;
    std::fs::remove_file(&config.key_file_path).unwrap();
    let answer = upstream.mint_x509_ca(&request, Ttl::ZERO, NOW, &mut rng()).await.unwrap();
    assert_eq!(answer.roots[0].certificate.public_key(), testing::key(0).public_key(), "those read before still count");
    write(directory.path(), &testing::key(1)).await;
    let answer = upstream.mint_x509_ca(&request, Ttl::ZERO, NOW, &mut rng()).await.unwrap();
    assert_eq!(answer.roots[0].certificate.public_key(), testing::key(1).public_key());
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &testing::key(0)).await;
    std::fs::write(&config.key_file_path, testing::key(1).to_pkcs8_pem().as_str()).unwrap();
    let outcome = DiskUpstream::open(trust_domain(), config.clone(), NOW, &mut rng()).await;
    assert!(matches!(outcome, Err(Error::KeyMismatch)), "{outcome:?}");
    std::fs::remove_file(&config.cert_file_path).unwrap();
    let outcome = DiskUpstream::open(trust_domain(), config, NOW, &mut rng()).await;
    assert!(matches!(outcome, Err(Error::Upstream { .. })), "{outcome:?}");
}

#[tokio::test]
async fn requests_for_anything_else_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &testing::key(0)).await;
    let upstream = DiskUpstream::open(trust_domain(), config, NOW, &mut rng()).await.unwrap();
    for uris in [vec![], vec!["spiffe://other.org"], vec!["spiffe://example.org/a"], vec!["spiffe://example.org"; 2]] {
        let uri_sans = uris.iter().map(|uri| (*uri).to_owned()).collect();
        let request = CsrTemplate { uri_sans, ..CsrTemplate::default() }.sign(&testing::key(2)).unwrap();
        let outcome = upstream.mint_x509_ca(&request, Ttl::ZERO, NOW, &mut rng()).await;
        assert!(matches!(outcome, Err(Error::Upstream { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn answers_that_would_not_verify_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &testing::key(0)).await;
    let upstream = DiskUpstream::open(trust_domain(), config, NOW, &mut rng()).await.unwrap();
    let key = testing::key(2);
    let good = upstream.mint_x509_ca(&csr(&key).await, Ttl::ZERO, NOW, &mut rng()).await.unwrap();
    let other: Certificate = root_of(&testing::key(1)).await;

    let no_chain = UpstreamCa { chain: Vec::new(), ..good.clone() };
    assert!(matches!(check(&no_chain, key.clone()).await, Err(Error::NotAnAuthority { .. })));
    let no_roots = UpstreamCa { roots: Vec::new(), ..good.clone() };
    assert!(matches!(check(&no_roots, key.clone()).await, Err(Error::NotAnAuthority { .. })));
    let roots = vec![X509Authority { certificate: other, tainted: false }];
    let other_roots = UpstreamCa { roots, ..good.clone() };
    assert!(matches!(check(&other_roots, key).await, Err(Error::X509(_))));
    assert!(matches!(check(&good, testing::key(3)).await, Err(Error::KeyMismatch)));
}
