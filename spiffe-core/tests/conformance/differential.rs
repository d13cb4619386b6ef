//! What independent libraries say of the same inputs.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, PublicKeyData as _, SanType};
use ring::signature::{self as scheme, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::runner::load;

/// Cryptography for jsonwebtoken, which brings none.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier(*algorithm, key.clone()))),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Verifier(Algorithm, DecodingKey);

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa: &RsaParameters = match self.0 {
            Algorithm::RS256 => &scheme::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &scheme::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &scheme::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &scheme::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &scheme::RSA_PSS_2048_8192_SHA384,
            _ => &scheme::RSA_PSS_2048_8192_SHA512,
        };
        let verified = match (self.0, self.1.kind()) {
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(&scheme::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            (Algorithm::ES384, DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(&scheme::ECDSA_P384_SHA384_FIXED, key).verify(message, signature)
            }
            (_, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

fn der(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// jsonwebtoken accepts nothing that a vector rejects for its signature, algorithm or shape, and all that one accepts;
/// what it does not judge (SPIFFE's own rules) is left out.
#[test]
fn jsonwebtoken_agrees_on_signatures() {
    PROVIDER.install_default().unwrap();
    let mut judged = 0;
    for vector in load("jwt_svid") {
        let signature =
            matches!(vector["clause"].as_str().unwrap(), "RFC 7515 §5.2" | "RFC 8725 §3.1" | "JWT-SVID §2.1");
        let accepted = vector["verdict"] == "accept";
        let token = vector["input"]["token"].as_str().unwrap();
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            assert!(!accepted || vector["needs"] == "P-521", "{}", vector["id"]);
            continue;
        };
        if !(signature || accepted) || vector["clock"] == true {
            continue;
        }
        let keys = &vector["input"]["bundles"]["example.org"]["keys"];
        let key = keys.as_array().unwrap().iter().find(|key| header.kid.as_deref().is_none_or(|kid| key["kid"] == kid));
        let Some(key) = key.filter(|key| key["crv"] != "P-521") else { continue };
        let Ok(jwk) = serde_json::from_value(key.clone()) else { continue };
        let Ok(decoding) = DecodingKey::from_jwk(&jwk) else { continue };
        let mut validation = Validation::new(header.alg);
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        judged += 1;
        let theirs = jsonwebtoken::decode::<Value>(token, &decoding, &validation).is_ok();
        assert_eq!(theirs, accepted, "{}: {}", vector["id"], vector["reason"]);
    }
    assert!(judged > 30, "{judged}");
    println!("jsonwebtoken agrees on {judged} tokens");
}

/// x509-parser reads the same fields out of each certificate that we accept.
#[test]
fn x509_parser_reads_the_same() {
    for vector in load("x509_svid") {
        let Ok(chain) = spiffe_core::x509::Certificate::from_der_many(&der(&vector["input"]["chain"])) else {
            continue;
        };
        for ours in &chain {
            let (_, theirs) = X509Certificate::from_der(ours.der()).unwrap();
            assert_eq!(ours.is_ca(), theirs.is_ca());
            assert_eq!(ours.not_after().as_unix(), theirs.validity().not_after.timestamp());
            assert_eq!(ours.serial_decimal(), theirs.serial.to_string());
            assert_eq!(ours.public_key().spki_der(), theirs.public_key().raw);
            let names = theirs.subject_alternative_name().unwrap();
            let count = names.map_or(0, |names| {
                names
                    .value
                    .general_names
                    .iter()
                    .filter(|name| matches!(name, x509_parser::prelude::GeneralName::URI(_)))
                    .count()
            });
            assert_eq!(ours.uri_sans().len(), count);
        }
    }
}

/// What rcgen has put into a certificate is what we read out of it.
#[test]
fn rcgen_writes_what_is_read() {
    let key = rcgen::KeyPair::generate().unwrap();
    for (at, is_ca) in
        [IsCa::ExplicitNoCa, IsCa::NoCa, IsCa::Ca(BasicConstraints::Constrained(0))].into_iter().enumerate()
    {
        let serial = vec![0x7f - u8::try_from(at).unwrap(); 20];
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 9, 1);
        params.not_after = rcgen::date_time_ymd(2049 + i32::try_from(at).unwrap(), 12, 31);
        params.serial_number = Some(serial.clone().into());
        params.subject_alt_names = vec![
            SanType::DnsName("a.example.org".try_into().unwrap()),
            SanType::URI("spiffe://example.org/a".try_into().unwrap()),
            SanType::DnsName("b.example.org".try_into().unwrap()),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = is_ca;
        let made = params.self_signed(&key).unwrap();
        let read = spiffe_core::x509::Certificate::from_der(made.der()).unwrap();
        assert_eq!(read.is_ca(), matches!(is_ca, IsCa::Ca(_)));
        assert_eq!(read.uri_sans(), ["spiffe://example.org/a"]);
        assert_eq!(read.dns_sans(), ["a.example.org", "b.example.org"]);
        assert_eq!(read.not_before().as_unix(), params.not_before.unix_timestamp());
        assert_eq!(read.not_after().as_unix(), params.not_after.unix_timestamp());
        assert_eq!(read.serial(), serial);
        assert_eq!(read.public_key().spki_der(), key.subject_public_key_info());
        assert_eq!(read.spiffe_id().unwrap().as_str(), "spiffe://example.org/a");
    }
}

/// OpenSSL builds and verifies paths; SPIFFE's own rules and the constraints of authorities are not its business. Of
/// several CAs of one name it tries the first alone, so vectors with such (XV-71, XV-94, XV-100) are not for it.
#[test]
fn openssl_agrees_on_paths() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no openssl");
        return;
    }
    let folder = std::env::temp_dir().join(format!("spiffe-core-openssl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut differ = Vec::new();
    let judged = [
        "XV-01",
        "XV-02",
        "XV-19",
        "XV-19-name",
        "XV-38",
        "XV-38-early",
        "XV-39",
        "XV-44",
        "XV-45",
        "XV-46",
        "XV-54",
        "XV-55",
        "XV-56",
        "XV-57",
        "XV-58",
        "XV-59",
        "XV-60",
        "XV-61",
        "XV-63",
        "XV-72",
        "XV-73",
        "XV-75",
        "XV-76",
        "XV-77",
        "XV-78",
        "XV-79",
        "XV-84",
        "XV-85",
        "XV-85-union",
        "XV-86-both",
        "XV-86-self",
        "XV-86-forged",
        "XV-91",
        "XV-92",
        "XV-92-p384",
        "XV-92-rsa",
        "XV-94-more",
        "XV-103",
    ];
    for vector in load("x509_svid").iter().filter(|vector| judged.contains(&vector["id"].as_str().unwrap())) {
        let chain = spiffe_core::x509::Certificate::from_der_many(&der(&vector["input"]["chain"])).unwrap();
        let (leaf, rest) = chain.split_first().unwrap();
        let roots: String = vector["input"]["bundles"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|roots| roots.as_array().unwrap())
            .map(|root| spiffe_core::pem::encode("CERTIFICATE", &der(root)))
            .collect();
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut command = Command::new("openssl");
        command.arg("verify").arg("-attime").arg(vector["input"]["now"].to_string()).arg("-partial_chain");
        command.arg("-CAfile").arg(file("roots.pem", roots));
        if !rest.is_empty() {
            let text = rest.iter().map(spiffe_core::x509::Certificate::to_pem).collect();
            command.arg("-untrusted").arg(file("rest.pem", text));
        }
        let output = command.arg(file("leaf.pem", leaf.to_pem())).output().unwrap();
        let accepted = vector["verdict"] == "accept";
        if output.status.success() != accepted {
            differ.push(format!("{}: {} {}", vector["id"], vector["reason"], String::from_utf8_lossy(&output.stderr)));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
