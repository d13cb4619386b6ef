use serde_json::{Value, json};

use super::*;
use crate::key::{KeyType, PrivateKey};

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn root() -> Certificate {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
}

fn bundle() -> Bundle {
    Bundle {
        x509_authorities: vec![X509Authority { certificate: root(), tainted: false }],
        jwt_authorities: vec![JwtAuthority {
            key_id: "k1".into(),
            public_key: PrivateKey::generate(KeyType::EcP384).unwrap().public_key().clone(),
            expires_at: None,
            tainted: false,
        }],
        refresh_hint: Some(Ttl::from_secs(300)),
        sequence_number: 7,
        ..Bundle::new(trust_domain())
    }
}

#[test]
fn a_document_reads_back_as_it_was_printed() {
    let bundle = bundle();
    let document = bundle.to_document();
    assert!(document.starts_with("{\n    \"keys\": [\n        {\n            \"use\": \"x509-svid\",\n"), "{document}");
    assert_eq!(Bundle::from_document(trust_domain(), document.as_bytes()).unwrap(), bundle);
}

#[test]
fn members_stand_in_spires_order() {
    let document = bundle().to_document();
    let order: Vec<usize> = [
        "\"use\"",
        "\"kty\"",
        "\"crv\"",
        "\"x\"",
        "\"y\"",
        "\"x5c\"",
        "\"kid\"",
        "spiffe_sequence",
        "spiffe_refresh_hint",
    ]
    .iter()
    .map(|member| document.find(member).unwrap())
    .collect();
    assert!(order.is_sorted(), "{document}");
}

#[test]
fn an_empty_bundle_prints_an_empty_list() {
    assert_eq!(Bundle::new(trust_domain()).to_document(), "{\n    \"keys\": []\n}");
}

#[test]
fn keys_of_unknown_use_are_skipped_and_counted() {
    let mut document: Value = serde_json::from_str(&bundle().to_document()).unwrap();
    document["keys"].as_array_mut().unwrap().push(json!({ "use": "future-svid", "kty": "OKP" }));
    let parsed = Bundle::parse_document(trust_domain(), document.to_string().as_bytes()).unwrap();
    assert_eq!((parsed.skipped, parsed.bundle.jwt_authorities.len()), (1, 1));
}

#[test]
fn broken_documents_name_the_key_and_the_rule() {
    let whole: Value = serde_json::from_str(&bundle().to_document()).unwrap();
    let parse = |change: &dyn Fn(&mut Value)| {
        let mut document = whole.clone();
        change(&mut document);
        Bundle::from_document(trust_domain(), document.to_string().as_bytes()).unwrap_err()
    };
    assert_eq!(parse(&|d| d["keys"][1]["use"] = Value::Null), BundleError::MissingUse { index: 1 });
    assert_eq!(parse(&|d| d["keys"][1]["kid"] = json!("")), BundleError::MissingKeyId { index: 1 });
    assert_eq!(parse(&|d| d["keys"][0]["x5c"] = json!([])), BundleError::CertificateCount { index: 0, count: 0 });
    assert!(matches!(parse(&|d| d["keys"][0]["x5c"] = json!(["AAAA"])), BundleError::Certificate { index: 0, .. }));
    assert!(matches!(parse(&|d| d["keys"][1]["x"] = json!("AA")), BundleError::Key { index: 1, .. }));
    assert!(matches!(parse(&|d| d["keys"][1]["kty"] = json!("oct")), BundleError::Key { index: 1, .. }));
    assert_eq!(parse(&|d| d["keys"][0]["x"] = d["keys"][0]["y"].clone()), BundleError::KeyMismatch { index: 0 });
    assert_eq!(parse(&|d| *d = json!({})), BundleError::NoKeys);
    assert!(matches!(parse(&|d| *d = json!([])), BundleError::Json { .. }));
    let twice = |d: &mut Value| {
        let key = d["keys"][1].clone();
        d["keys"].as_array_mut().unwrap().push(key);
    };
    assert_eq!(parse(&twice), BundleError::DuplicateKeyId { key_id: "k1".into() });
    let document = vec![b' '; MAX_DOCUMENT_LENGTH + 1];
    assert_eq!(Bundle::from_document(trust_domain(), &document), Err(BundleError::TooLong));
}

#[test]
fn merging_adds_only_what_is_new() {
    let mut own = bundle();
    let (x509, jwt) = (own.x509_authorities.clone(), own.jwt_authorities.clone());
    assert!(!own.merge(x509, jwt));
    assert!(own.merge(vec![X509Authority { certificate: root(), tainted: false }], Vec::new()));
    assert_eq!(own.x509_authorities.len(), 2);
}

#[test]
fn key_sets_of_the_workload_api_hold_the_jwt_keys_alone() {
    let bundle = bundle();
    let set = bundle.to_jwks();
    assert!(!set.contains("\"use\"") && !set.contains("spiffe_"), "{set}");
    let read = Bundle::from_jwks(trust_domain(), set.as_bytes()).unwrap();
    assert_eq!(read.jwt_authorities, bundle.jwt_authorities);
}
