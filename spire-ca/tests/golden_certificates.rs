//! What each credential contains, to the byte: fixed time, seeded randomness, ready-made keys. Signatures are left out,
//! as ECDSA draws its own randomness.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use spiffe_core::Ttl;
use spiffe_core::x509::Certificate;
use spire_ca::composer::UniqueId;
use spire_ca::{
    Composers, DistinguishedName, DownstreamCaParams, JwtSvidParams, X509SvidParams, ca_csr, mint_downstream_ca,
    mint_jwt_svid, mint_x509_svid,
};
use spire_keymanager::testing;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509CertificationRequest};

mod common;

use common::{NOW, authority, authority_of, downstream, id, rng, root_of, trust_domain};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn describe(der: &[u8]) -> String {
    let (rest, parsed) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    let ours = Certificate::from_der(der).unwrap();
    let mut text = String::new();
    let _ = writeln!(text, "version    {}", parsed.version());
    let _ = writeln!(text, "serial     {}", ours.serial_decimal());
    let _ = writeln!(text, "algorithm  {}", parsed.signature_algorithm.algorithm);
    let _ = writeln!(text, "issuer     {}", parsed.issuer());
    let _ = writeln!(text, "validity   {} to {}", ours.not_before(), ours.not_after());
    let _ = writeln!(text, "subject    {}", parsed.subject());
    let _ = writeln!(text, "key        {}", hex(&ours.public_key().subject_key_id()));
    for extension in parsed.extensions() {
        let critical = if extension.critical { "critical" } else { "        " };
        let _ = writeln!(text, "{:10} {critical} {}", extension.oid.to_string(), hex(extension.value));
    }
    let _ = writeln!(text, "to be signed");
    for line in ours.tbs_der().chunks(48) {
        let _ = writeln!(text, "  {}", hex(line));
    }
    text
}

fn svid<'a>(id: &'a spiffe_core::SpiffeId, key: &'a spiffe_core::PublicKey) -> X509SvidParams<'a> {
    X509SvidParams { spiffe_id: id, public_key: key, ttl: Ttl::from_hours(1), dns_names: &[], subject: None }
}

#[tokio::test]
async fn self_signed_ca() {
    insta::assert_snapshot!(describe(root_of(&testing::key(0)).await.der()));
}

#[tokio::test]
async fn self_signed_ca_of_p384() {
    insta::assert_snapshot!(describe(root_of(&testing::p384()).await.der()));
}

#[tokio::test]
async fn self_signed_ca_of_rsa() {
    insta::assert_snapshot!(describe(root_of(&testing::rsa2048()).await.der()));
}

#[tokio::test]
async fn x509_svid() {
    let (id, key) = (id("/billing/payments"), testing::key(3));
    let minted = mint_x509_svid(&authority().await, &svid(&id, key.public_key()), NOW, &mut rng()).await.unwrap();
    assert_eq!(minted.chain().len(), 1, "a self-signed CA is not part of the chain");
    insta::assert_snapshot!(describe(&minted.leaf));
}

#[tokio::test]
async fn x509_svid_with_names_and_subject() {
    let (id, key) = (id("/billing/payments"), testing::key(3));
    let names = ["payments.example.org".to_owned(), "*.pay.example.org".to_owned()];
    let subject = DistinguishedName { organization: vec!["Billing".into()], ..DistinguishedName::default() };
    let params = X509SvidParams { dns_names: &names, subject: Some(&subject), ..svid(&id, key.public_key()) };
    let minted = mint_x509_svid(&authority().await, &params, NOW, &mut rng()).await.unwrap();
    insta::assert_snapshot!(describe(&minted.leaf));
}

#[tokio::test]
async fn x509_svid_with_a_unique_id() {
    let (id, key) = (id("/billing/payments"), testing::key(3));
    let composers: Composers = [std::sync::Arc::new(UniqueId) as _].into_iter().collect();
    let authority = authority_of(testing::key(0), composers).await;
    let minted = mint_x509_svid(&authority, &svid(&id, key.public_key()), NOW, &mut rng()).await.unwrap();
    insta::assert_snapshot!(describe(&minted.leaf));
}

#[tokio::test]
async fn downstream_ca_and_an_svid_below_it() {
    let authority = downstream().await;
    insta::assert_snapshot!("downstream_ca", describe(authority.x509().certificate().der()));
    let (id, key) = (id("/billing/payments"), testing::key(3));
    let minted = mint_x509_svid(&authority, &svid(&id, key.public_key()), NOW, &mut rng()).await.unwrap();
    let chain = minted.chain();
    assert_eq!(chain.len(), 2, "the leaf, and the CA that is not self-signed");
    assert_eq!(chain[1], authority.x509().certificate().der());
    insta::assert_snapshot!("x509_svid_below_a_downstream_ca", describe(&chain[0]));
}

#[tokio::test]
async fn a_ca_below_a_downstream_ca_counts_on() {
    let key = testing::key(4);
    let params = DownstreamCaParams { public_key: key.public_key(), ttl: Ttl::ZERO };
    let minted = mint_downstream_ca(&downstream().await, &params, NOW, &mut rng()).await.unwrap();
    let certificate = Certificate::from_der(&minted.certificate).unwrap();
    // One certificate is in the issuer's chain.
    assert!(certificate.subject_display().contains("OU=DOWNSTREAM-1"), "{}", certificate.subject_display());
    assert_eq!(certificate.not_after(), NOW + Ttl::from_hours(12), "cut at its issuer's end");
}

#[tokio::test]
async fn ca_request() {
    let subject = DistinguishedName::default_ca();
    let csr = ca_csr(&trust_domain(), &subject, &Composers::default(), &testing::key(0), &mut rng()).await.unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&csr).unwrap();
    let info = parsed.certification_request_info;
    insta::assert_snapshot!(format!("subject {}\n{}", info.subject, hex(info.raw)));
}

#[tokio::test]
async fn jwt_svid() {
    let id = id("/billing/payments");
    let audience = ["spiffe://example.org/a".to_owned(), String::new(), "b".to_owned()];
    let params = JwtSvidParams {
        spiffe_id: &id,
        audience: &audience,
        ttl: Ttl::from_minutes(5),
        include_jti: true,
        issuer: Some("https://issuer.example.org"),
    };
    let minted = mint_jwt_svid(&authority().await, &params, NOW, &mut rng()).await.unwrap();
    let parts: Vec<_> = minted.token.split('.').collect();
    let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 64);
    insta::assert_snapshot!(format!("{}\n{}", text(parts[0]), text(parts[1])));
}
