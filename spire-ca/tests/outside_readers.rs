//! What we write, others read: x509-parser field by field, rcgen extension by extension, our own verifier, and OpenSSL
//! where it is installed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rcgen::{
    CertificateParams, DistinguishedName as RcgenName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use spiffe_core::x509::{Certificate, verify_svid};
use spiffe_core::{Bundle, BundleSet, JwtAuthority, PrivateKey, PublicKey, SpiffeId, Ttl, X509Authority, jwt::JwtSvid};
use spire_ca::{
    Authority, Composers, Error, JwtSvidParams, MintedX509Svid, X509SvidParams, mint_jwt_svid, mint_x509_svid,
};
use spire_keymanager::testing;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

mod common;

use common::{NOW, authority, authority_of, downstream, id, rng, root_of, trust_domain};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn mint(
    authority: &Authority,
    id: &SpiffeId,
    key: &PublicKey,
    ttl: Ttl,
    names: &[String],
) -> Result<MintedX509Svid, Error> {
    let params = X509SvidParams { spiffe_id: id, public_key: key, ttl, dns_names: names, subject: None };
    block_on(mint_x509_svid(authority, &params, NOW, &mut rng()))
}

fn bundles(authority: &Authority, root: Certificate) -> BundleSet {
    let mut bundle = Bundle::new(trust_domain());
    bundle.x509_authorities.push(X509Authority { certificate: root, tainted: false });
    if let Some(key) = authority.jwt() {
        bundle.jwt_authorities.push(JwtAuthority {
            key_id: key.id().as_str().to_owned(),
            public_key: key.signer().public_key().clone(),
            expires_at: None,
            tainted: false,
        });
    }
    [bundle].into_iter().collect()
}

fn any_id() -> impl Strategy<Value = SpiffeId> {
    let path = proptest::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,180}", 1..10);
    path.prop_map(|segments| id(&format!("/{}", segments.join("/"))))
}

fn any_key() -> impl Strategy<Value = PrivateKey> {
    (0_usize..8).prop_map(|number| match number {
        6 => testing::p384(),
        7 => testing::rsa2048(),
        number => testing::key(number),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn x509_parser_reads_every_field_as_it_was_meant(
        id in any_id(),
        names in proptest::collection::vec("(\\*\\.)?[a-z0-9]{1,60}(\\.[a-z0-9-]{1,60}){0,3}", 0..8),
        key in any_key(),
        ca_key in any_key(),
        seconds in 0_u64..200_000,
    ) {
        let authority = block_on(authority_of(ca_key, Composers::default()));
        let minted = mint(&authority, &id, key.public_key(), Ttl::from_secs(seconds), &names).unwrap();
        let (rest, parsed) = X509Certificate::from_der(&minted.leaf).unwrap();
        prop_assert!(rest.is_empty());
        let ca = authority.x509().certificate();

        prop_assert_eq!(parsed.version().0, 2);
        prop_assert_eq!(parsed.raw_serial_as_string().replace(':', ""), format!("{:032x}", minted.serial.as_u128()));
        prop_assert_eq!(parsed.issuer().as_raw(), ca.subject_der());
        prop_assert_eq!(parsed.public_key().raw, key.public_key().spki_der());
        let ttl = if seconds == 0 { 3600 } else { seconds };
        let not_after = (NOW + Ttl::from_secs(ttl)).min(ca.not_after());
        prop_assert_eq!(parsed.validity().not_before.timestamp(), NOW.as_unix() - 10);
        prop_assert_eq!(parsed.validity().not_after.timestamp(), not_after.as_unix());
        prop_assert_eq!(minted.not_after, not_after);
        let common_name = parsed.subject().iter_common_name().next().map(|name| name.as_str().unwrap().to_owned());
        prop_assert_eq!(common_name.as_ref(), names.first());

        let oids: Vec<String> = parsed.extensions().iter().map(|found| found.oid.to_string()).collect();
        prop_assert_eq!(oids, ["2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.17"]);
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => {
                    prop_assert!(extension.critical);
                    prop_assert_eq!(usage.flags, 0b1_0101);
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    prop_assert!(usage.server_auth && usage.client_auth && !usage.any && usage.other.is_empty());
                }
                ParsedExtension::BasicConstraints(constraints) => prop_assert!(!constraints.ca),
                ParsedExtension::SubjectKeyIdentifier(id) => {
                    prop_assert_eq!(id.0, key.public_key().subject_key_id());
                }
                ParsedExtension::AuthorityKeyIdentifier(found) => {
                    prop_assert_eq!(found.key_identifier.as_ref().map(|id| id.0), ca.subject_key_id());
                }
                ParsedExtension::SubjectAlternativeName(found) => {
                    let mut expected: Vec<_> = names.iter().map(|name| GeneralName::DNSName(name)).collect();
                    expected.push(GeneralName::URI(id.as_str()));
                    prop_assert_eq!(&found.general_names, &expected);
                }
                other => panic!("unexpected {other:?}"),
            }
        }

        let leaf = Certificate::from_der(&minted.leaf).unwrap();
        let verified = verify_svid(&[leaf], &bundles(&authority, ca.clone()), NOW).unwrap();
        prop_assert_eq!(verified, id);
    }

    #[test]
    fn rcgen_writes_the_same_extensions(id in any_id(), names in proptest::collection::vec("[a-z]{1,30}", 0..4)) {
        let authority = block_on(authority());
        let key = testing::key(3);
        let minted = mint(&authority, &id, key.public_key(), Ttl::from_hours(1), &names).unwrap();
        let theirs = with_rcgen(&authority, &minted, &id, &key, &names);
        let (_, ours) = X509Certificate::from_der(&minted.leaf).unwrap();
        let (_, theirs) = X509Certificate::from_der(&theirs).unwrap();
        prop_assert_eq!(extensions(&ours), extensions(&theirs));
        prop_assert_eq!(ours.raw_serial(), theirs.raw_serial());
        prop_assert_eq!(ours.public_key().raw, theirs.public_key().raw);
        prop_assert_eq!(ours.issuer().to_string(), theirs.issuer().to_string());
        prop_assert_eq!(ours.subject().to_string(), theirs.subject().to_string());
    }

    #[test]
    fn tokens_verify_and_say_what_was_asked(
        id in any_id(),
        audience in proptest::collection::vec("\\PC{1,40}", 1..5),
        seconds in 1_u64..90_000,
        include_jti in any::<bool>(),
        issuer in proptest::option::of("https://[a-z]{1,20}"),
    ) {
        let authority = block_on(authority());
        let params = JwtSvidParams {
            spiffe_id: &id, audience: &audience, ttl: Ttl::from_secs(seconds), include_jti, issuer: issuer.as_deref(),
        };
        let minted = block_on(mint_jwt_svid(&authority, &params, NOW, &mut rng())).unwrap();
        let bundles = bundles(&authority, authority.x509().certificate().clone());
        let verified = JwtSvid::verify(&minted.token, &audience[0], &bundles, NOW, Ttl::ZERO).unwrap();
        prop_assert_eq!(verified.id(), &id);
        prop_assert_eq!(verified.audience(), audience.as_slice());
        let cap = authority.jwt().unwrap().not_after();
        prop_assert_eq!(verified.expires_at(), (NOW + Ttl::from_secs(seconds)).min(cap));
        prop_assert_eq!(verified.issued_at(), Some(NOW));
        prop_assert_eq!(verified.claims().contains_key("jti"), include_jti);
        prop_assert_eq!(verified.claims().get("iss").and_then(|iss| iss.as_str()), issuer.as_deref());
        prop_assert!(!verified.claims().contains_key("nbf"));
    }
}

fn extensions(certificate: &X509Certificate<'_>) -> BTreeMap<String, (bool, Vec<u8>)> {
    let entry = |found: &x509_parser::extensions::X509Extension<'_>| {
        // rcgen writes the default `cA FALSE`, which DER leaves out.
        let value = if found.value == [0x30, 3, 1, 1, 0] { vec![0x30, 0] } else { found.value.to_vec() };
        (found.oid.to_string(), (found.critical, value))
    };
    certificate.extensions().iter().map(entry).collect()
}

/// The same certificate, made by rcgen.
fn with_rcgen(
    authority: &Authority,
    minted: &MintedX509Svid,
    id: &SpiffeId,
    key: &PrivateKey,
    names: &[String],
) -> Vec<u8> {
    let ca_key = KeyPair::try_from(testing::key(0).to_pkcs8_der().as_slice()).unwrap();
    let ca = authority.x509().certificate();
    let mut ca_params = CertificateParams::default();
    ca_params.distinguished_name = RcgenName::new();
    ca_params.distinguished_name.push(DnType::CountryName, "US");
    ca_params.distinguished_name.push(DnType::OrganizationName, "SPIFFE");
    ca_params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), ca.serial_decimal());
    ca_params.key_identifier_method = KeyIdMethod::PreSpecified(ca.subject_key_id().unwrap().to_vec());
    let issuer = Issuer::new(ca_params, ca_key);
    let mut params = CertificateParams::default();
    params.distinguished_name = RcgenName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::OrganizationName, "SPIRE");
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.serial_number = Some(SerialNumber::from_slice(&minted.serial.as_u128().to_be_bytes()));
    params.not_before = date_time_ymd(2026, 9, 21);
    params.not_after = date_time_ymd(2026, 9, 22);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName(name.as_str().try_into().unwrap()))
        .chain([SanType::URI(id.as_str().try_into().unwrap())])
        .collect();
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.public_key().subject_key_id().to_vec());
    // rcgen adds a subject key id to CAs alone.
    let mut key_id = vec![4, 20];
    key_id.extend(key.public_key().subject_key_id());
    params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 14], key_id));
    let public_key = KeyPair::try_from(key.to_pkcs8_der().as_slice()).unwrap();
    params.signed_by(&public_key, &issuer).unwrap().der().to_vec()
}

#[test]
fn a_chain_through_a_downstream_ca_verifies() {
    let authority = block_on(downstream());
    let (id, key) = (id("/a"), testing::key(3));
    let minted = mint(&authority, &id, key.public_key(), Ttl::from_hours(1), &[]).unwrap();
    let chain: Vec<_> = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let root = block_on(root_of(&testing::key(0)));
    let bundles = bundles(&authority, root);
    assert_eq!(verify_svid(&chain, &bundles, NOW).unwrap(), id);
    verify_svid(&chain[..1], &bundles, NOW).expect_err("without the intermediate");
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let authority = block_on(authority());
    let (own, key) = (id("/a"), testing::key(3));
    let foreign = SpiffeId::parse("spiffe://other.org/a").unwrap();
    let outcome = mint(&authority, &foreign, key.public_key(), Ttl::ZERO, &[]);
    assert!(matches!(outcome, Err(Error::ForeignId { .. })), "{outcome:?}");
    for name in ["", "a b", "ä.example"] {
        let outcome = mint(&authority, &own, key.public_key(), Ttl::ZERO, &[name.to_owned()]);
        assert!(matches!(outcome, Err(Error::DnsName { .. })), "{outcome:?}");
    }
    let mut params = JwtSvidParams { spiffe_id: &own, audience: &[], ttl: Ttl::ZERO, include_jti: false, issuer: None };
    let outcome = block_on(mint_jwt_svid(&authority, &params, NOW, &mut rng()));
    assert!(matches!(outcome, Err(Error::NoAudience)), "{outcome:?}");
    let audience = ["a".to_owned()];
    params.audience = &audience;
    let late = NOW + Ttl::from_hours(24);
    let outcome = block_on(mint_jwt_svid(&authority, &params, late, &mut rng()));
    assert!(matches!(outcome, Err(Error::AuthorityExpired { .. })), "{outcome:?}");
    let params =
        X509SvidParams { spiffe_id: &own, public_key: key.public_key(), ttl: Ttl::ZERO, dns_names: &[], subject: None };
    let outcome = block_on(mint_x509_svid(&authority, &params, late + Ttl::from_secs(1), &mut rng()));
    assert!(matches!(outcome, Err(Error::AuthorityExpired { .. })), "{outcome:?}");
}

#[test]
fn openssl_verifies_the_chain() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    for ca_key in [testing::key(0), testing::p384(), testing::rsa2048()] {
        let authority = block_on(authority_of(ca_key, Composers::default()));
        let names = ["a.example.org".to_owned()];
        let minted = mint(&authority, &id("/a"), testing::key(3).public_key(), Ttl::from_hours(1), &names).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (root, leaf) = (directory.path().join("root.pem"), directory.path().join("leaf.pem"));
        std::fs::write(&root, authority.x509().certificate().to_pem()).unwrap();
        std::fs::write(&leaf, Certificate::from_der(&minted.leaf).unwrap().to_pem()).unwrap();
        let text = openssl(&["x509", "-noout", "-text", "-in"], &leaf);
        for expected in [
            "Digital Signature, Key Encipherment, Key Agreement",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "DNS:a.example.org, URI:spiffe://example.org/a",
            "CA:FALSE",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let at = NOW.as_unix().to_string();
        let root = root.to_str().unwrap();
        for purpose in ["sslserver", "sslclient"] {
            let arguments = ["verify", "-x509_strict", "-attime", &at, "-purpose", purpose, "-CAfile", root];
            assert!(openssl(&arguments, &leaf).ends_with("OK\n"));
        }
    }
}

fn openssl(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("openssl").args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
