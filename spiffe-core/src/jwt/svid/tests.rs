use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::super::MAX_TOKEN_LENGTH;
use super::*;
use crate::bundle::JwtAuthority;
use crate::id::{IdError, TrustDomain};
use crate::key::{KeyType, PrivateKey};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn token(key: &PrivateKey, header: &Value, payload: &Value) -> String {
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let signature = key.sign_jws(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" })
}

fn payload() -> Value {
    json!({ "sub": "spiffe://example.org/a", "aud": ["me"], "exp": NOW.as_unix() + 60, "iat": NOW.as_unix() })
}

fn bundles(trust_domain: &str, key: &PrivateKey) -> BundleSet {
    let mut bundle = Bundle::new(TrustDomain::parse(trust_domain).unwrap());
    bundle.jwt_authorities.push(JwtAuthority {
        key_id: "k1".into(),
        public_key: key.public_key().clone(),
        expires_at: None,
        tainted: false,
    });
    BundleSet::from_iter([bundle])
}

fn verify(header: &Value, payload: &Value) -> Result<JwtSvid, JwtError> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    JwtSvid::verify(&token(&key, header, payload), "me", &bundles("example.org", &key), NOW, Ttl::ZERO)
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn a_sound_token_verifies() {
    let svid = verify(&header(), &payload()).unwrap();
    assert_eq!(svid.id().as_str(), "spiffe://example.org/a");
    assert_eq!(svid.audience(), ["me"]);
    verify(&without(header(), "typ"), &with(payload(), "aud", json!("me"))).unwrap();
}

#[test]
fn each_rule_of_the_header_is_held() {
    for (header, error) in [
        (with(header(), "alg", json!("none")), JwtError::Algorithm),
        (with(header(), "alg", json!("HS256")), JwtError::Algorithm),
        (with(header(), "alg", json!("es256")), JwtError::Algorithm),
        (with(header(), "alg", json!("RS256")), JwtError::AlgorithmOfOtherKey { algorithm: "RS256" }),
        (with(header(), "typ", json!("at+jwt")), JwtError::Type),
        (with(header(), "crit", json!(["exp"])), JwtError::Critical),
        (with(header(), "kid", json!("")), JwtError::MissingKeyId),
        (with(header(), "jku", json!("https://evil.example")), JwtError::UnknownHeader { name: "jku".into() }),
        (with(header(), "kid", json!(1)), JwtError::Malformed { what: "kid" }),
    ] {
        assert_eq!(verify(&header, &payload()).unwrap_err(), error, "{header}");
    }
}

#[test]
fn each_rule_of_the_claims_is_held() {
    for (payload, error) in [
        (without(payload(), "sub"), JwtError::Claim { name: "sub" }),
        (without(payload(), "exp"), JwtError::Claim { name: "exp" }),
        (with(payload(), "exp", json!("1800000060")), JwtError::Claim { name: "exp" }),
        (with(payload(), "nbf", json!("soon")), JwtError::Claim { name: "nbf" }),
        (with(payload(), "aud", json!([])), JwtError::Claim { name: "aud" }),
        (with(payload(), "aud", json!([1])), JwtError::Claim { name: "aud" }),
        (with(payload(), "sub", json!("https://example.org")), JwtError::Id(IdError::WrongScheme)),
        (with(payload(), "exp", json!(NOW.as_unix())), JwtError::Expired { expires_at: NOW, now: NOW }),
        (
            with(payload(), "nbf", json!(NOW.as_unix() + 1)),
            JwtError::NotYetValid { not_before: NOW + Ttl::from_secs(1), now: NOW },
        ),
        (
            with(payload(), "aud", json!(["other"])),
            JwtError::Audience { expected: "me".into(), found: vec!["other".into()] },
        ),
    ] {
        assert_eq!(verify(&header(), &payload).unwrap_err(), error, "{payload}");
    }
}

#[test]
fn only_the_bundle_of_the_tokens_own_trust_domain_counts() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let token = token(&key, &header(), &payload());
    let err = JwtSvid::verify(&token, "me", &bundles("other.org", &key), NOW, Ttl::ZERO).unwrap_err();
    assert!(matches!(err, JwtError::NoBundle { .. }));
    let other = PrivateKey::generate(KeyType::EcP256).unwrap();
    let err = JwtSvid::verify(&token, "me", &bundles("example.org", &other), NOW, Ttl::ZERO).unwrap_err();
    assert_eq!(err, JwtError::Key(KeyError::Signature));
}

#[test]
fn duplicate_members_are_refused_and_errors_never_show_the_token() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let payload = r#"{"sub":"spiffe://example.org/a","sub":"spiffe://example.org/b","aud":"me","exp":2000000000}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header().to_string()), URL_SAFE_NO_PAD.encode(payload));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap()));
    let err = JwtSvid::verify(&token, "me", &bundles("example.org", &key), NOW, Ttl::ZERO).unwrap_err();
    assert_eq!(err, JwtError::Malformed { what: "payload" });
    assert!(!err.to_string().contains(&token));
}

#[test]
fn tokens_of_other_shapes_are_refused() {
    for token in ["", ".", "..", "a.b", "a.b.c.d", "....", "e30.e30.", "e30.e30.!!"] {
        assert!(parse_unverified(token).is_err(), "{token}");
    }
    assert!(matches!(parse_unverified(&"a".repeat(MAX_TOKEN_LENGTH + 1)), Err(JwtError::TooLong { .. })));
}
