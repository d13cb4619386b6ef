use super::*;
use crate::asn1;

const TYPES: [KeyType; 2] = [KeyType::EcP256, KeyType::EcP384];

#[test]
fn what_a_key_signs_its_public_half_verifies_in_both_forms() {
    for key_type in TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        let algorithm = key.signature_algorithm();
        let public = PublicKey::from_spki_der(key.public_key().spki_der()).unwrap();
        assert_eq!(public.key_type(), Some(key_type));
        public.verify(algorithm, b"message", &key.sign(b"message").unwrap()).unwrap();
        public.verify_jws(algorithm, b"message", &key.sign_jws(b"message").unwrap()).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert_eq!(public.verify(algorithm, b"other", &signature), Err(KeyError::Signature));
    }
}

#[test]
fn a_signature_of_another_family_is_unsupported_not_unverified() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    for algorithm in [SignatureAlgorithm::RsaPkcs1Sha256, SignatureAlgorithm::EcdsaSha384] {
        let outcome = key.public_key().verify_jws(algorithm, b"", b"");
        assert!(matches!(outcome, Err(KeyError::Unsupported { .. })), "{algorithm:?}");
    }
}

#[test]
fn keys_are_read_from_pkcs8_and_sec1() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let read = PrivateKey::from_pem(&key.to_pkcs8_pem()).unwrap();
    assert_eq!(read.public_key(), key.public_key());

    // The SEC 1 form of the same key: the PKCS#8 content with the curve put inside.
    let pkcs8 = key.to_pkcs8_der();
    let (sequence, _) = asn1::take(asn1::SEQUENCE, &pkcs8).unwrap();
    let (_, tail) = asn1::take(asn1::INTEGER, sequence).unwrap();
    let (algorithm, tail) = asn1::take(asn1::SEQUENCE, tail).unwrap();
    let (inner, _) = asn1::take(asn1::OCTET_STRING, tail).unwrap();
    let (fields, _) = asn1::take(asn1::SEQUENCE, inner).unwrap();
    let (_, after_version) = asn1::take(asn1::INTEGER, fields).unwrap();
    let (secret, public) = asn1::take(asn1::OCTET_STRING, after_version).unwrap();
    let curve = asn1::element(0xa0, &algorithm[9..]);
    let sec1 = asn1::elements(
        asn1::SEQUENCE,
        &[&[asn1::INTEGER, 1, 1], &asn1::element(asn1::OCTET_STRING, secret), &curve, public],
    );
    let read = PrivateKey::from_pem(&crate::pem::encode("EC PRIVATE KEY", &sec1)).unwrap();
    assert_eq!(read.public_key(), key.public_key());
}

#[test]
fn secrets_are_not_shown() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let shown = format!("{key:?}");
    assert_eq!(shown, "PrivateKey { public: PublicKey { kind: EcP256, .. }, .. }");
}

#[test]
fn damaged_keys_are_refused() {
    assert_eq!(PrivateKey::from_pem("-----BEGIN X-----\nAAAA\n-----END X-----\n").unwrap_err(), KeyError::NoPrivateKey);
    assert!(PrivateKey::from_pkcs8_der(&[]).is_err());
    assert!(PublicKey::from_spki_der(&[0x30, 0]).is_err());
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    for length in 0..key.public_key().spki_der().len() {
        assert!(PublicKey::from_spki_der(&key.public_key().spki_der()[..length]).is_err());
    }
    let mut trailing = key.public_key().spki_der().to_vec();
    trailing.push(0);
    assert!(PublicKey::from_spki_der(&trailing).is_err());
}

#[test]
fn key_types_are_read_in_any_case() {
    assert_eq!("EC-P256".parse(), Ok(KeyType::EcP256));
    assert!("ed25519".parse::<KeyType>().is_err());
}
