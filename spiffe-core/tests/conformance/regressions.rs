//! What went wrong in other implementations, each with the name it is known by.

use spiffe_core::jwt::{JwtSvid, jwk::Jwk};
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::{Certificate, X509Svid, verify_svid};
use spiffe_core::{BundleSet, SpiffeId, Timestamp, TrustDomain, Ttl};

use crate::runner::{hold, load};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

/// SPIFFE #375: pooled roots let one trust domain speak for another. Each CA signs for each name; the diagonal passes.
#[test]
fn spiffe_375_only_the_diagonal_of_the_matrix_passes() {
    let names = ["a.example", "b.example", "c.example", "d.example"];
    let authorities = names.map(TestAuthority::new);
    let bundles: BundleSet = authorities.iter().map(TestAuthority::bundle).collect();
    for (signer, authority) in authorities.iter().enumerate() {
        for (claimed, name) in names.iter().enumerate() {
            let impostor = authority.as_trust_domain(name);
            let svid = impostor.svid("/w");
            assert_eq!(verify_svid(svid.chain(), &bundles, NOW).is_ok(), signer == claimed, "{signer} for {name}");
            // It even names the key by the ID that the other one's has.
            let token = impostor.jwt_svid("/w", &["svc"], NOW + Ttl::from_minutes(5));
            let verified = JwtSvid::verify(&token, "svc", &bundles, NOW, Ttl::ZERO);
            assert_eq!(verified.is_ok(), signer == claimed, "{signer} for {name}");
        }
    }
}

/// Cure53 SPI-01-003, CVE-2021-27099: parts of a path that join to another ID.
#[test]
fn cve_2021_27099_no_attribute_escapes_its_segment() {
    let name = TrustDomain::parse("example.org").unwrap();
    for attribute in ["..", ".", "", "%2e%2e", "a/../b", "a/b", "//", "\0", "a\\b", "ä", "a b", "a?x", "a#x", "ｅ", "/"]
    {
        assert!(SpiffeId::from_segments(&name, ["spire", "agent", attribute, "x"]).is_err(), "{attribute:?}");
    }
    let id = SpiffeId::from_segments(&name, ["spire", "agent", "...", "x"]).unwrap();
    assert!(id.path().starts_with("/spire/agent/"));
}

/// go-spiffe #221: dot segments. java-spiffe #398, #416, #420: case folding, charset and length of IDs.
#[test]
fn go_spiffe_221_java_spiffe_398_416_420_ids_are_read_strictly() {
    hold(&[
        "SID-085", "SID-087", "SID-088", "SID-039", "SID-040", "SID-071", "SID-072", "SID-037", "TDN-08", "SID-061",
    ]);
}

/// go-spiffe #375, X509-SVID §5.2: a peer whose ID is its trust domain.
#[test]
fn go_spiffe_375_a_leaf_without_path_is_no_peer() {
    hold(&["XV-10", "XV-11"]);
}

/// go-spiffe #223, #233: replies that are null, empty or short.
#[test]
fn go_spiffe_223_233_short_input_is_an_error() {
    let vectors = load("x509_svid");
    let chain = vectors.iter().find(|vector| vector["id"] == "XV-02").unwrap();
    let der =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, chain["input"]["chain"].as_str().unwrap())
            .unwrap();
    let whole = Certificate::from_der_many(&der).unwrap();
    for length in 0..der.len() {
        let certificates = Certificate::from_der_many(&der[..length]).unwrap_or_default();
        assert!(certificates.is_empty() || certificates == whole[..1], "{length}");
    }
    assert!(
        X509Svid::new(Vec::new(), spiffe_core::PrivateKey::generate(spiffe_core::KeyType::EcP256).unwrap()).is_err()
    );
}

/// rust-spiffe #346: a mismatch of names hid that the chain failed.
#[test]
fn rust_spiffe_346_a_chain_that_fails_fails_whatever_else_does() {
    hold(&["XV-19", "XV-19-name", "XV-103"]);
}

/// rust-spiffe #350: a policy that leaves no bundle lets nobody in.
#[test]
fn rust_spiffe_350_without_bundles_nobody_verifies() {
    let svid = TestAuthority::new("example.org").svid("/w");
    assert!(verify_svid(svid.chain(), &BundleSet::default(), NOW).is_err());
    hold(&["XV-17", "XV-20", "XV-99", "JV-93", "JV-95-bundle"]);
}

/// rust-spiffe #355: a leaf that is a CA. #301: basic constraints that do not parse.
#[test]
fn rust_spiffe_355_301_a_leaf_is_no_ca_and_broken_constraints_are_no_leaf() {
    hold(&["XV-21", "XV-27"]);
    let vectors = load("x509_svid");
    let chain = vectors[0]["input"]["chain"].as_str().unwrap();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, chain).unwrap();
    // The empty SEQUENCE of cA's default, made a sequence of one garbage byte's length.
    let at = der.windows(10).position(|at| at == [0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 2, 0x30, 0]).unwrap();
    for garbage in [[0x04, 0x02, 0x01, 0x01], [0x04, 0x02, 0x05, 0x00], [0x04, 0x02, 0x30, 0x01]] {
        let mut broken = der.clone();
        broken[at + 6..at + 10].copy_from_slice(&garbage);
        assert!(Certificate::from_der(&broken).is_err(), "{garbage:x?}");
    }
}

/// rust-spiffe #304: bytes after the certificate.
#[test]
fn rust_spiffe_304_nothing_follows_a_certificate() {
    hold(&["XV-96", "BV-45"]);
}

/// rust-spiffe #325, java-spiffe #417, #421: several URIs, and which one is taken.
#[test]
fn rust_spiffe_325_java_spiffe_417_421_there_is_one_uri() {
    hold(&["XV-05", "XV-05-same", "XV-06", "XV-07", "XV-88"]);
}

/// rust-spiffe #348: an ID that is too long was skipped, and the next one taken.
#[test]
fn rust_spiffe_348_an_oversized_id_is_an_error() {
    hold(&["XV-15", "XV-16"]);
}

/// rust-spiffe 0.12.0: 60 seconds of leeway where the documentation said none.
#[test]
fn rust_spiffe_0_12_0_leeway_is_what_the_caller_gives() {
    hold(&["JV-38", "JV-38-strict", "JV-38-now"]);
}

/// rust-spiffe #370: digitalSignature is missing.
#[test]
fn rust_spiffe_370_a_leaf_signs() {
    hold(&["XV-23", "XV-25"]);
}

/// java-spiffe #399, #431: an audience that is missing or empty.
#[test]
fn java_spiffe_399_431_there_is_an_audience() {
    hold(&["JV-30", "JV-31", "JV-32", "JV-35-null", "JV-99", "JV-99-empty"]);
}

/// SPIRE 1.12.3: tokens without `exp` verified. Each mandatory claim: absent, null, text, fraction, negative, huge.
#[test]
fn spire_1_12_3_mandatory_claims_are_mandatory() {
    hold(&[
        "JV-37",
        "JV-41",
        "JV-42",
        "JV-43",
        "JV-43-negative",
        "JV-43-object",
        "JV-44",
        "JV-40",
        "JV-51",
        "JV-58",
        "JV-30",
        "JV-33",
        "JV-47-text",
        "JV-50",
        "JV-82",
    ]);
}

/// SPIRE #1953, #6732: tokens in logs.
#[test]
fn spire_1953_errors_show_neither_tokens_nor_keys() {
    for vector in load("jwt_svid") {
        let token = vector["input"]["token"].as_str().unwrap();
        let Err(err) = JwtSvid::verify(token, "svc", &BundleSet::default(), NOW, Ttl::ZERO) else { continue };
        let told = format!("{err} {err:?}");
        for part in token.split('.').filter(|part| part.len() > 16) {
            assert!(!told.contains(part), "{}", vector["id"]);
        }
    }
    let key = spiffe_core::PrivateKey::generate(spiffe_core::KeyType::EcP256).unwrap();
    let pem = key.to_pkcs8_pem();
    let broken = pem.replacen("MIG", "???", 1);
    let err = spiffe_core::PrivateKey::from_pem(&broken).unwrap_err();
    let body = pem.lines().nth(1).unwrap();
    assert!(!format!("{err} {err:?} {key:?}").contains(&body[8..24]));
}

/// CVE-2026-25537 (jsonwebtoken): a date of the wrong type counted as absent.
#[test]
fn cve_2026_25537_a_date_of_another_type_is_an_error() {
    hold(&["JV-41", "JV-42", "JV-43-object", "JV-47-text", "JV-50"]);
}

/// RUSTSEC-2026-0098 (rustls-webpki): URI name constraints were ignored.
#[test]
fn rustsec_2026_0098_uri_constraints_count() {
    hold(&["XV-73", "XV-74", "XV-75", "XV-86"]);
}

/// CVE-2025-30204, CVE-2026-34986 (golang-jwt, go-jose): a header that costs memory before anything is known.
#[test]
fn cve_2025_30204_long_tokens_are_refused_before_they_are_read() {
    hold(&["JV-101", "JV-103"]);
    let dots = ".".repeat(10 << 20);
    assert!(matches!(
        JwtSvid::verify(&dots, "svc", &BundleSet::default(), NOW, Ttl::ZERO),
        Err(spiffe_core::jwt::JwtError::TooLong { .. })
    ));
}

/// SPIRE 1.14.2 (x509pop) and RUSTSEC-2023-0053: chains that cost more than they are worth.
#[test]
fn rustsec_2023_0053_costly_chains_are_refused() {
    hold(&["XV-97", "XV-97-names"]);
}

/// SPIRE before 1.15.3 refused any bundle with a key it did not know.
#[test]
fn spire_1_15_3_one_strange_key_does_not_blind() {
    hold(&["BV-16", "BV-20", "BV-22", "BV-23", "BV-36", "BV-39"]);
}

/// D-41, D-33: an OKP key threw, a private one was loaded.
#[test]
fn java_spiffe_okp_keys_are_skipped_and_private_ones_reported() {
    hold(&["BV-24", "BV-25", "BV-29"]);
    assert!(serde_json::to_string(&Jwk::default()).is_ok());
}

proptest::proptest! {
    /// CVE-2021-27099 for every attribute: what is made of it is refused, or stays below the template.
    #[test]
    fn cve_2021_27099_for_every_attribute(attribute in "\\PC{0,12}|[./%a-z\\\\]{0,8}") {
        let name = TrustDomain::parse("example.org").unwrap();
        if let Ok(id) = SpiffeId::from_segments(&name, ["spire", "agent", &attribute, "x"]) {
            let expected = format!("spiffe://example.org/spire/agent/{attribute}/x");
            proptest::prop_assert_eq!(id.as_str(), &expected);
            proptest::prop_assert_eq!(SpiffeId::parse(&expected), Ok(id));
            proptest::prop_assert!(!attribute.contains(['/', '%', '\\']));
        }
    }

    /// Whatever authorities a bundle has, it reads as it prints.
    #[test]
    fn a_bundle_reads_as_it_prints(roots in 0_usize..4, keys in 0_usize..4, sequence: u64, hint in 1_u64..1_000_000) {
        let mut bundle = spiffe_core::Bundle::new(TrustDomain::parse("example.org").unwrap());
        for _ in 0..roots {
            bundle.x509_authorities.extend(TestAuthority::new("example.org").bundle().x509_authorities);
        }
        for index in 0..keys {
            let key = TestAuthority::new("example.org").bundle().jwt_authorities[0].clone();
            bundle.jwt_authorities.push(spiffe_core::JwtAuthority { key_id: format!("k{index}"), ..key });
        }
        bundle.sequence_number = sequence;
        bundle.refresh_hint = Some(Ttl::from_secs(hint));
        let parsed = spiffe_core::Bundle::parse_document(bundle.trust_domain.clone(), bundle.to_document().as_bytes()).unwrap();
        proptest::prop_assert_eq!(&parsed.bundle, &bundle);
        proptest::prop_assert!(parsed.problems.is_empty() && parsed.skipped == 0);
    }
}
