use serde_json::{Value, json};

use super::*;
use crate::jwt::jwk::Jwk;
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
fn broken_entries_are_ignored_and_named_while_the_others_load() {
    let whole: Value = serde_json::from_str(&bundle().to_document()).unwrap();
    let problem = |change: &dyn Fn(&mut Value)| {
        let mut document = whole.clone();
        change(&mut document);
        let parsed = Bundle::parse_document(trust_domain(), document.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.bundle.x509_authorities.len() + parsed.bundle.jwt_authorities.len(), 1, "{document}");
        let [problem] = parsed.problems.as_slice() else { panic!("{:?}", parsed.problems) };
        problem.clone()
    };
    let without_use = |d: &mut Value| drop(d["keys"][1].as_object_mut().unwrap().remove("use"));
    assert_eq!(problem(&without_use), BundleError::MissingUse { index: 1 });
    assert_eq!(problem(&|d| d["keys"][1]["use"] = json!(1)), BundleError::Entry { index: 1 });
    assert_eq!(problem(&|d| d["keys"][1]["kid"] = json!("")), BundleError::MissingKeyId { index: 1 });
    assert_eq!(problem(&|d| d["keys"][0]["x5c"] = json!([])), BundleError::NoCertificate { index: 0 });
    assert!(matches!(problem(&|d| d["keys"][0]["x5c"] = json!(["AAAA"])), BundleError::Certificate { index: 0, .. }));
    assert!(matches!(problem(&|d| d["keys"][1]["x"] = json!("AA")), BundleError::Key { index: 1, .. }));
    assert!(matches!(problem(&|d| d["keys"][1]["kty"] = json!("oct")), BundleError::Key { index: 1, .. }));
    assert_eq!(problem(&|d| d["keys"][1]["d"] = json!("AAAA")), BundleError::PrivateKey { index: 1 });
    assert!(matches!(
        problem(&|d| d["keys"][0]["x"] = d["keys"][0]["y"].clone()),
        BundleError::Key { index: 0, source: crate::jwt::jwk::JwkError::Key(crate::KeyError::OffCurve) }
    ));
    let other_key = Jwk::from_public_key(PrivateKey::generate(KeyType::EcP256).unwrap().public_key(), None);
    let foreign = |d: &mut Value| {
        d["keys"][0]["x"] = json!(other_key.x);
        d["keys"][0]["y"] = json!(other_key.y);
    };
    assert_eq!(problem(&foreign), BundleError::KeyMismatch { index: 0 });
}

#[test]
fn broken_documents_are_refused_whole() {
    let parse = |document: &[u8]| Bundle::from_document(trust_domain(), document).unwrap_err();
    assert_eq!(parse(b"{}"), BundleError::NoKeys);
    assert!(matches!(parse(b"[]"), BundleError::Json { .. }));
    assert_eq!(parse(&vec![b' '; MAX_DOCUMENT_LENGTH + 1]), BundleError::TooLong);
}

#[test]
fn an_id_of_two_keys_stands_for_neither() {
    let key = |key_type| PrivateKey::generate(key_type).unwrap().public_key().clone();
    let entry = |key: &PublicKey| {
        let mut entry = serde_json::to_value(Jwk::from_public_key(key, Some("k1"))).unwrap();
        entry["use"] = json!("jwt-svid");
        entry
    };
    let (one, other) = (key(KeyType::EcP256), key(KeyType::EcP384));
    let parse =
        |keys: Value| Bundle::parse_document(trust_domain(), json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    assert_eq!(parse(json!([entry(&one), entry(&one)])).bundle.jwt_authorities.len(), 1);
    for keys in [json!([entry(&one), entry(&other)]), json!([entry(&one), entry(&other), entry(&one)])] {
        let parsed = parse(keys);
        assert_eq!(parsed.bundle.jwt_authorities, []);
        assert!(parsed.problems.contains(&BundleError::DuplicateKeyId { key_id: "k1".into() }));
    }
}

#[test]
fn a_diff_names_what_came_and_what_went() {
    let before = bundle();
    assert!(BundleDiff::between(&before, &before).is_empty());
    let mut after = before.clone();
    after.sequence_number += 1;
    assert!(BundleDiff::between(&before, &after).is_empty(), "the sequence number is no content");
    after.x509_authorities.push(X509Authority { certificate: root(), tainted: false });
    after.x509_authorities[0].tainted = true;
    let diff = BundleDiff::between(&before, &after);
    assert_eq!((diff.x509_added.len(), diff.x509_tainted.len(), diff.revokes()), (1, 1, false));
    after.jwt_authorities[0].public_key = PrivateKey::generate(KeyType::EcP256).unwrap().public_key().clone();
    let diff = BundleDiff::between(&before, &after);
    assert_eq!((diff.jwt_added.len(), diff.jwt_removed.len(), diff.revokes()), (1, 1, true));
}

#[test]
fn refresh_intervals_stay_within_their_bounds() {
    let interval = |hint| Bundle { refresh_hint: hint, ..bundle() }.refresh_interval();
    assert_eq!(interval(None), DEFAULT_REFRESH);
    assert_eq!(interval(Some(Ttl::from_secs(1))), MIN_REFRESH);
    assert_eq!(interval(Some(Ttl::from_secs(u64::MAX))), MAX_REFRESH);
    assert_eq!(interval(Some(Ttl::from_secs(600))), Ttl::from_secs(600));
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
