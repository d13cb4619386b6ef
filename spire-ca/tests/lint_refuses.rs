//! What must not be signed is not: certificates of another library, each wrong in one way.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Map, Value, json};
use spiffe_core::x509::Certificate;
use spiffe_core::{SignatureAlgorithm, SpiffeId, Timestamp, TrustDomain};
use spire_ca::lint::{self, LintError};
use spire_ca::x509::Tbs;
use spire_keymanager::testing;

/// 2026-09-21T14:13:20Z
const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);
const ID: &str = "spiffe://example.org/a";

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn svid() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.not_before = date_time_ymd(2026, 9, 21);
    params.not_after = date_time_ymd(2026, 9, 22);
    params.subject_alt_names = vec![uri(ID)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn ca() -> CertificateParams {
    let mut params = svid();
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = Vec::new();
    params
}

fn tbs(params: &CertificateParams) -> Tbs {
    let key = KeyPair::try_from(testing::key(0).to_pkcs8_der().as_slice()).unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Tbs::from_der(Certificate::from_der(&der).unwrap().tbs_der().to_vec(), SignatureAlgorithm::EcdsaSha256)
}

fn refuse_svid(change: impl FnOnce(&mut CertificateParams)) -> LintError {
    let mut params = svid();
    change(&mut params);
    lint::x509_svid(tbs(&params), &SpiffeId::parse(ID).unwrap(), NOW).unwrap_err()
}

fn refuse_ca(change: impl FnOnce(&mut CertificateParams)) -> LintError {
    let mut params = ca();
    change(&mut params);
    lint::x509_ca(tbs(&params), &TrustDomain::parse("example.org").unwrap(), NOW).unwrap_err()
}

#[test]
fn sound_ones_pass() {
    let id = SpiffeId::parse(ID).unwrap();
    lint::x509_svid(tbs(&svid()), &id, NOW).unwrap();
    let mut any_purpose = svid();
    any_purpose.extended_key_usages = Vec::new();
    lint::x509_svid(tbs(&any_purpose), &id, NOW).unwrap();

    let trust_domain = TrustDomain::parse("example.org").unwrap();
    lint::x509_ca(tbs(&ca()), &trust_domain, NOW).unwrap();
    let mut nameless = ca();
    nameless.subject_alt_names = Vec::new();
    lint::x509_ca(tbs(&nameless), &trust_domain, NOW).unwrap();
}

#[test]
fn x509_svid_2_refuses_another_or_no_or_a_second_uri() {
    assert_eq!(
        refuse_svid(|params| params.subject_alt_names = vec![uri("spiffe://example.org/b")]),
        LintError::OtherUri
    );
    assert_eq!(refuse_svid(|params| params.subject_alt_names.clear()), LintError::UriCount { count: 0 });
    assert_eq!(refuse_svid(|params| params.subject_alt_names.push(uri(ID))), LintError::UriCount { count: 2 });
}

#[test]
fn x509_svid_4_1_refuses_a_leaf_that_is_a_ca_or_does_not_say() {
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refuse_svid(|params| params.is_ca = ca), LintError::LeafIsCa);
    assert_eq!(refuse_svid(|params| params.is_ca = IsCa::NoCa), LintError::NoBasicConstraints);
}

#[test]
fn x509_svid_4_3_refuses_other_key_usages() {
    for usages in [
        vec![],
        vec![KeyUsagePurpose::KeyAgreement],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::DecipherOnly],
    ] {
        let err = refuse_svid(|params| params.key_usages = usages);
        assert!(matches!(err, LintError::KeyUsage { .. }), "{err}");
    }
}

#[test]
fn x509_svid_4_4_refuses_one_purpose_without_the_other() {
    let only = |purpose| refuse_svid(|params| params.extended_key_usages = vec![purpose]);
    assert_eq!(only(ExtendedKeyUsagePurpose::ServerAuth), LintError::ExtendedKeyUsage { purpose: "clientAuth" });
    assert_eq!(only(ExtendedKeyUsagePurpose::ClientAuth), LintError::ExtendedKeyUsage { purpose: "serverAuth" });
}

#[test]
fn what_is_not_valid_now_is_refused() {
    let expired = refuse_svid(|params| params.not_after = date_time_ymd(2026, 9, 20));
    assert!(matches!(expired, LintError::Expired { .. }), "{expired}");
    let early = refuse_svid(|params| params.not_before = date_time_ymd(2026, 9, 22));
    assert!(matches!(early, LintError::NotYetValid { .. }), "{early}");
    let expired = refuse_ca(|params| params.not_after = date_time_ymd(2026, 9, 20));
    assert!(matches!(expired, LintError::Expired { .. }), "{expired}");
}

#[test]
fn an_extension_that_appears_twice_is_refused() {
    let twice = |params: &mut CertificateParams| {
        // Another basic constraints, should a reader take the last one.
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff])];
    };
    let mut params = svid();
    twice(&mut params);
    let key = KeyPair::try_from(testing::key(0).to_pkcs8_der().as_slice()).unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    // Other parsers refuse it as a whole, so its signed part is cut out by hand.
    let tbs = Tbs::from_der(signed_part(&der), SignatureAlgorithm::EcdsaSha256);
    let outcome = lint::x509_svid(tbs, &SpiffeId::parse(ID).unwrap(), NOW);
    assert_eq!(outcome.unwrap_err(), LintError::DuplicateExtension);
}

fn signed_part(certificate: &[u8]) -> Vec<u8> {
    let [0x30, 0x82, _, _, rest @ ..] = certificate else { panic!("an unusual certificate") };
    let [0x30, 0x82, high, low, ..] = rest else { panic!("an unusual certificate") };
    let length = 4 + usize::from(*high) * 256 + usize::from(*low);
    rest.get(..length).unwrap().to_vec()
}

#[test]
fn a_ca_that_may_not_sign_or_may_more_or_is_anothers_is_refused() {
    assert_eq!(refuse_ca(|params| params.is_ca = IsCa::ExplicitNoCa), LintError::NotACa);
    for usages in
        [vec![], vec![KeyUsagePurpose::CrlSign], vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::KeyEncipherment]]
    {
        let err = refuse_ca(|params| params.key_usages = usages);
        assert!(matches!(err, LintError::KeyUsage { .. }), "{err}");
    }
    for names in [vec![uri("spiffe://other.org")], vec![uri("spiffe://example.org/ca")]] {
        assert_eq!(refuse_ca(|params| params.subject_alt_names = names), LintError::OtherUri);
    }
    let two = vec![uri("spiffe://example.org"), uri("spiffe://example.org")];
    assert_eq!(refuse_ca(|params| params.subject_alt_names = two), LintError::UriCount { count: 2 });
}

#[test]
fn damaged_bytes_are_refused_and_never_panic() {
    let id = SpiffeId::parse(ID).unwrap();
    let sound = tbs(&svid());
    for length in 0..sound.der().len() {
        let cut = Tbs::from_der(sound.der().get(..length).unwrap().to_vec(), SignatureAlgorithm::EcdsaSha256);
        lint::x509_svid(cut, &id, NOW).unwrap_err();
    }
    for at in 0..sound.der().len() {
        for bit in 0..8 {
            let mut der = sound.der().to_vec();
            *der.get_mut(at).unwrap() ^= 1 << bit;
            let _ = lint::x509_svid(Tbs::from_der(der, SignatureAlgorithm::EcdsaSha256), &id, NOW);
        }
    }
    let endless = Tbs::from_der(vec![0x30; 1 << 17], SignatureAlgorithm::EcdsaSha256);
    assert_eq!(lint::x509_svid(endless, &id, NOW).unwrap_err(), LintError::TooLong);
}

fn claims() -> Map<String, Value> {
    let Value::Object(claims) = json!({
        "sub": ID, "aud": ["a", "b"], "exp": NOW.as_unix() + 60, "iat": NOW.as_unix(),
    }) else {
        panic!()
    };
    claims
}

fn lint_claim(name: &str, value: Option<Value>) -> Result<(), LintError> {
    let mut claims = claims();
    match value {
        Some(value) => claims.insert(name.to_owned(), value),
        None => claims.remove(name),
    };
    lint::jwt_svid(claims, &SpiffeId::parse(ID).unwrap(), NOW).map(|_| ())
}

#[test]
fn jwt_svid_3_refuses_each_wrong_claim() {
    assert_eq!(lint_claim("extra", Some(json!(1))), Ok(()));
    assert_eq!(lint_claim("aud", Some(json!("a"))), Ok(()));
    assert_eq!(lint_claim("nbf", Some(json!(NOW.as_unix()))), Ok(()));
    for (name, value) in [
        ("sub", None),
        ("sub", Some(json!("spiffe://example.org/b"))),
        ("sub", Some(json!(7))),
        ("exp", None),
        ("exp", Some(json!(NOW.as_unix()))),
        ("exp", Some(json!(1.5e9))),
        ("exp", Some(json!("2030-01-01"))),
        ("iat", Some(json!("now"))),
        ("nbf", Some(json!(NOW.as_unix() + 1))),
        ("aud", None),
        ("aud", Some(json!([]))),
        ("aud", Some(json!(""))),
        ("aud", Some(json!(["a", ""]))),
        ("aud", Some(json!(["a", 1]))),
    ] {
        let Err(LintError::Claim { name: found, .. }) = lint_claim(name, value.clone()) else {
            panic!("{name} {value:?} passed")
        };
        assert_eq!(found, name, "{value:?}");
    }
}
