//! The requirements of the standards that bind a library, by the IDs of our checklist: each a test of that name.
//!
//! Most are held by vectors. What binds issuers, servers and endpoints alone is listed at the end, with its place.

use std::collections::BTreeSet;

use spiffe_core::jwt::{JwtError, JwtSvid, from_authorization, to_authorization};
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::{X509Error, verify_svid};
use spiffe_core::{Bundle, BundleSet, IdMatcher, SpiffeId, Timestamp, TrustDomain, Ttl};

use crate::runner::hold;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

macro_rules! held_by_vectors {
    ($($name:ident: $($id:literal)+;)+) => {$(
        #[test]
        fn $name() {
            hold(&[$($id),+]);
        }
    )+};
}

held_by_vectors! {
    id_01_the_scheme_is_exactly_spiffe: "SID-001" "SID-039" "SID-043" "SID-045" "SID-046" "SID-047" "SID-050" "SID-051";
    id_02_a_trust_domain_is_not_empty: "SID-053" "SID-054" "TDN-09" "TDN-22";
    id_03_there_is_no_query: "SID-106" "SID-107" "SID-108";
    id_04_there_is_no_fragment: "SID-109" "SID-110" "SID-111";
    id_05_there_is_no_userinfo: "SID-058" "SID-059" "SID-060" "TDN-15";
    id_06_there_is_no_port: "SID-056" "SID-057" "TDN-14";
    id_07_the_host_is_lower_case: "SID-040" "SID-041" "TDN-11";
    id_09_hosts_are_never_decoded: "SID-063" "SID-064" "TDN-17";
    id_10_names_that_look_like_addresses_are_names: "SID-015" "SID-019" "SID-023" "SID-025" "SID-026" "SID-027" "SID-028";
    id_11_an_ipv6_literal_is_no_trust_domain: "SID-061" "SID-062" "SID-026" "TDN-16";
    id_12_paths_are_never_decoded: "SID-089" "SID-090" "SID-091" "SID-092" "SID-093";
    id_13_there_are_no_empty_segments: "SID-080" "SID-081" "SID-083";
    id_14_there_are_no_dot_segments: "SID-084" "SID-085" "SID-086" "SID-087" "SID-088" "SID-008" "SID-009";
    id_15_there_is_no_trailing_slash: "SID-079" "SID-082";
    id_17_a_path_has_any_depth: "SID-033";
    id_18_2048_bytes_are_accepted: "SID-032" "SID-033" "SID-035";
    id_19_longer_ids_are_never_made: "BLD-15" "BLD-16";
    id_20_a_trust_domain_has_255_bytes_at_most: "SID-030" "SID-037" "TDN-07" "TDN-08";
    id_21_every_byte_of_the_uri_counts: "SID-032" "SID-036";
    id_23_only_the_own_trust_domain_signs: "XV-18" "XV-18-matrix" "XV-102" "JV-90";
    id_27_the_id_is_inside_what_is_signed: "XV-103" "JV-71" "JV-76";
    id_28_there_are_three_kinds_of_documents: "JV-70" "JV-96" "XV-98" "WV-65";
    id_30_ids_are_ascii: "SID-068" "SID-070" "SID-071" "SID-072" "SID-073" "SID-100" "SID-101" "SID-102";

    x509_01_there_is_one_uri: "XV-01" "XV-03" "XV-04";
    x509_02_a_second_uri_is_refused_whatever_it_is: "XV-05" "XV-05-same" "XV-06" "XV-07";
    x509_03_other_names_are_allowed: "XV-09";
    x509_04_a_ca_identifies_nobody: "XV-21" "XV-43";
    x509_05_a_leaf_has_a_path: "XV-10" "XV-11";
    x509_06_names_are_critical_where_the_subject_is_empty: "XV-37";
    x509_07_a_subject_may_be_empty: "XV-36";
    x509_08_a_signer_is_a_ca_with_key_cert_sign: "XV-44" "XV-45" "XV-46";
    x509_09_a_ca_without_an_id_is_accepted: "XV-50" "XV-67";
    x509_10_a_ca_whose_id_has_a_path_is_accepted_and_counted: "XV-49" "XV-68";
    x509_11_a_ca_of_another_trust_domain_is_accepted: "XV-51" "XV-69";
    x509_12_cas_may_sign_cas: "XV-02" "XV-57" "XV-101";
    x509_13_a_signing_certificate_authenticates_nobody: "XV-43" "XV-62";
    x509_14_path_lengths_are_honoured: "XV-56" "XV-63";
    x509_15_a_signer_is_a_ca: "XV-44" "XV-45" "XV-65";
    x509_16_a_leaf_is_no_ca: "XV-21" "XV-22";
    x509_17_ids_are_inside_the_constraints_above: "XV-72" "XV-73" "XV-86";
    x509_18_constraints_are_optional: "XV-01" "XV-72";
    x509_19_there_is_a_key_usage: "XV-23";
    x509_20_key_usage_is_critical_or_counted: "XV-24" "XV-48";
    x509_21_signers_have_key_cert_sign: "XV-46" "XV-66";
    x509_22_signers_may_sign_lists: "XV-01" "XV-02";
    x509_23_leaves_have_digital_signature: "XV-25" "XV-26";
    x509_24_leaves_may_have_other_uses: "XV-29";
    x509_25_leaves_sign_neither_certificates_nor_lists: "XV-27" "XV-28";
    x509_26_extended_key_usage_may_be_critical: "XV-33";
    x509_27_the_purpose_of_the_role_is_demanded: "XV-31-server" "XV-31-client" "XV-32-client" "XV-32-server";
    x509_28_extended_key_usage_narrows_through_cas: "XV-53";
    x509_29_paths_follow_rfc_5280: "XV-58" "XV-59" "XV-60" "XV-61" "XV-71" "XV-100";
    x509_30_a_leaf_with_ca_true_is_refused: "XV-21";
    x509_31_a_leaf_that_may_sign_is_refused: "XV-27" "XV-28";
    x509_32_the_uri_is_a_spiffe_id: "XV-08" "XV-12";
    x509_33_the_path_is_not_the_root: "XV-10" "XV-11";
    x509_34_authorities_are_those_of_the_own_trust_domain: "XV-17" "XV-18" "XV-18-matrix" "XV-102";
    x509_36_the_use_is_exact: "BV-17";
    x509_39_an_authority_need_not_be_self_signed: "XV-70" "XV-101";
    x509_40_entries_without_certificate_are_ignored: "BV-36" "BV-37";
    x509_41_the_first_certificate_counts: "BV-39" "BV-40";
    x509_42_a_bundle_without_authorities_supports_none: "XV-20";

    pkix_01_validity_is_checked_at_each_depth: "XV-38" "XV-38-early" "XV-54" "XV-64";
    pkix_02_signatures_verify: "XV-19-name" "XV-103" "XV-89" "XV-86-forged";
    pkix_03_names_chain: "XV-19" "XV-59";
    pkix_04_unknown_critical_extensions_are_refused: "XV-39" "XV-55";
    pkix_05_an_extension_stands_once: "XV-88";
    pkix_06_issuers_are_cas: "XV-44" "XV-45" "XV-93";
    pkix_07_issuers_have_key_cert_sign_where_they_have_key_usage: "XV-46" "XV-47";
    pkix_08_self_issued_cas_do_not_count: "XV-63" "XV-94" "XV-94-more";
    pkix_10_constraints_hold_even_where_they_are_not_critical: "XV-74";
    pkix_11_constraints_are_hosts: "XV-72" "XV-77" "XV-78" "XV-79" "XV-79-case" "XV-83";
    pkix_12_hosts_that_are_no_names_are_refused: "XV-81" "XV-82";
    pkix_13_excluded_wins_and_cas_add_up: "XV-75" "XV-76" "XV-85" "XV-85-union" "XV-86-both";
    pkix_14_other_forms_say_nothing_of_uris: "XV-84";
    pkix_15_a_cas_own_names_are_exempt: "XV-86-self" "XV-86";
    pkix_16_purposes_are_held: "XV-31-client" "XV-34" "XV-35";
    pkix_20_authorities_are_valid_themselves: "XV-64" "XV-65" "XV-66";
    pkix_21_the_two_algorithms_agree: "XV-95";
    pkix_22_uris_are_ascii: "XV-87" "XV-87-latin";

    jwt_01_there_is_one_serialization: "JV-63" "JV-64" "JV-70" "JV-84";
    jwt_03_the_header_has_three_members: "JV-17" "JV-18" "JV-19" "JV-20" "JV-21";
    jwt_04_encrypted_tokens_are_refused: "JV-64";
    jwt_05_there_are_nine_algorithms: "JV-01" "JV-85" "JV-85-RS384" "JV-85-RS512" "JV-85-PS256" "JV-85-PS384"
        "JV-85-PS512" "JV-85-ES384" "JV-85-ES512";
    jwt_06_all_others_are_refused: "JV-22" "JV-23" "JV-24" "JV-25" "JV-61" "JV-88";
    jwt_07_a_key_id_is_optional: "JV-08" "JV-08-other" "JV-09";
    jwt_08_typ_is_one_of_two: "JV-02" "JV-03" "JV-04" "JV-05" "JV-06" "JV-07" "JV-07-number";
    jwt_09_other_claims_are_allowed: "JV-59" "JV-60";
    jwt_10_sub_is_a_spiffe_id: "JV-51" "JV-52" "JV-53" "JV-54" "JV-58";
    jwt_11_there_is_an_audience: "JV-30" "JV-31" "JV-33" "JV-34" "JV-35-null";
    jwt_12_the_verifier_is_in_the_audience: "JV-29" "JV-35" "JV-99" "JV-99-empty" "JV-100";
    jwt_13_several_audiences_are_accepted: "JV-28" "JV-36";
    jwt_14_there_is_an_expiry: "JV-37" "JV-41" "JV-42" "JV-43-object";
    jwt_15_the_expiry_has_not_passed: "JV-38" "JV-38-strict" "JV-38-now" "JV-39" "JV-43" "JV-43-negative";
    jwt_16_an_audience_is_text_or_list: "JV-27" "JV-01";
    jwt_20_keys_have_ids: "BV-30" "BV-31";
    jwt_21_only_keys_for_jwt_svids_verify_them: "JV-91" "JV-92";
    jwt_22_a_bundle_without_keys_supports_none: "JV-93";
    jwt_25_the_bundle_is_the_one_of_the_subject: "JV-57" "JV-90" "JV-95-bundle";
    jwt_26_claims_follow_rfc_7519: "JV-01" "JV-40" "JV-45";

    jose_01_base64url_has_neither_padding_nor_blanks: "JV-65" "JV-66" "JV-66-inner" "JV-68" "JV-69" "JV-72-bits";
    jose_02_header_names_are_unique: "JV-80";
    jose_03_critical_headers_are_refused: "JV-13" "JV-14" "JV-15";
    jose_04_payloads_are_encoded: "JV-16";
    jose_05_what_is_read_is_what_is_signed: "JV-71";
    jose_06_the_key_decides_the_algorithm: "JV-12" "JV-26" "JV-86" "JV-87" "JV-88" "JV-89";
    jose_07_unknown_members_are_ignored_and_kty_is_not: "BV-22" "BV-48" "BV-69";
    jose_08_the_certificate_is_of_the_key: "BV-46";
    jose_09_unusable_keys_are_skipped: "BV-23" "BV-26";
    jose_10_rsa_keys_are_long_and_salts_are_whole: "BV-28-weak" "JV-97" "JV-98";
    jose_11_ecdsa_signatures_have_their_width: "JV-73" "JV-74" "JV-75" "JV-102";
    jose_12_points_are_on_their_curve: "BV-27" "BV-27-short";
    jose_13_dates_may_have_fractions: "JV-38-now" "JV-40" "JV-44" "JV-45";
    jose_14_claim_names_are_unique: "JV-79" "JV-81" "JV-81-escaped";
    jose_15_not_before_has_passed: "JV-46" "JV-47" "JV-47-text" "JV-48";
    jose_16_no_key_comes_out_of_the_token: "JV-10-path" "JV-17" "JV-18";
    jose_17_types_exclude_one_another: "JV-07" "JV-96" "WV-65";
    jose_18_there_is_no_compression_and_no_byte_order_mark: "JV-21" "JV-83";

    wit_01_the_subject_is_a_spiffe_id: "WV-01" "WV-16";
    wit_02_there_is_a_key_id: "WV-07" "WV-08";
    wit_03_key_ids_are_opaque: "WV-09";
    wit_05_the_type_is_exact: "WV-02" "WV-03" "WV-04" "WV-05" "WV-06";
    wit_06_there_are_nine_algorithms: "WV-10" "WV-11";
    wit_08_unknown_headers_are_ignored: "WV-12" "WV-13" "WV-14";
    wit_09_there_is_a_subject: "WV-15" "WV-16" "WV-17";
    wit_10_there_is_a_confirmation: "WV-34" "WV-35" "WV-36";
    wit_11_it_is_a_public_key: "WV-37" "WV-38" "WV-39" "WV-48" "WV-49" "WV-50" "WV-51" "WV-52";
    wit_12_with_an_algorithm_that_fits: "WV-40" "WV-41" "WV-42" "WV-43" "WV-44" "WV-45" "WV-46" "WV-47";
    wit_13_an_id_is_optional: "WV-26";
    wit_16_the_expiry_has_not_passed: "WV-19" "WV-20" "WV-21";
    wit_17_not_before_has_passed: "WV-22" "WV-23";
    wit_19_the_time_of_issue_limits_nothing: "WV-24" "WV-25";
    wit_20_an_issuer_is_accepted: "WV-31" "WV-32";
    wit_21_there_is_no_audience: "WV-27" "WV-28" "WV-29" "WV-30";
    wit_22_unknown_claims_are_ignored: "WV-33";
    wit_24_nothing_is_accepted_without_proof: "WV-53" "WV-53-proof" "WV-54";
    wit_28_key_ids_are_unique_over_both_uses: "BV-34";
    wit_29_only_keys_for_wit_svids_verify_them: "WV-62" "WV-18";
    wit_30_a_bundle_without_keys_supports_none: "WV-62";
    wit_31_proofs_are_short_lived: "WV-58" "WV-58-long";
    wit_33_the_proof_has_the_keys_algorithm: "WV-55";
    wit_34_the_proof_is_over_this_token_for_this_service: "WV-56" "WV-57" "WV-57-none" "WV-59" "WV-59-typ";

    bundle_01_the_name_stands_beside_the_bundle: "BV-70";
    bundle_02_a_document_is_a_jwk_set: "BV-09" "BV-10" "BV-11" "BV-12" "BV-13" "BV-14";
    bundle_03_further_members_are_allowed: "BV-68" "BV-69";
    bundle_06_a_sequence_has_64_bits: "BV-51" "BV-52" "BV-53";
    bundle_07_a_hint_is_whole_seconds: "BV-61" "BV-66" "BV-67";
    bundle_08_a_hint_is_a_hint: "BV-59" "BV-60-one" "BV-62" "BV-64";
    bundle_09_there_are_keys: "BV-04" "BV-05" "BV-06" "BV-72";
    bundle_10_unknown_key_types_are_ignored: "BV-23" "BV-25";
    bundle_11_unknown_uses_are_ignored: "BV-15" "BV-16" "BV-17" "BV-18" "BV-19" "BV-74";
    bundle_12_nothing_usable_means_nothing_trusted: "BV-03" "BV-21" "XV-20" "XV-99" "JV-93";
    bundle_16_there_are_three_uses: "BV-20";
    bmap_01_there_are_trust_domains: "BM-01" "BM-02";
    bmap_02_names_are_no_uris: "BM-04" "BM-05";
    bmap_03_a_name_stands_once: "BM-06" "BM-07";
    bmap_05_inner_hints_are_not_the_maps: "BM-09";
    bmap_06_a_map_loads_whole: "BM-08" "BM-11";
    fed_06_bundles_are_never_merged: "XV-18" "XV-18-matrix" "JV-90";
    fed_22_a_first_bundle_comes_as_a_document: "BV-01";
}

fn trust_domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// All 256 bytes as one character each: 39 may stand in a host (three of them end it or are refused as a port, user or
/// path, and none of these as a part of the name).
#[test]
fn id_08_hosts_have_38_characters() {
    let allowed = (0..=255_u8).map(char::from).filter(|c| TrustDomain::parse(&format!("td{c}")).is_ok()).count();
    assert_eq!(allowed, 26 + 10 + 3);
}

#[test]
fn id_16_segments_have_65_characters() {
    let id = |c: char| SpiffeId::parse(&format!("spiffe://td/p{c}"));
    assert_eq!((0..=255_u8).map(char::from).filter(|c| id(*c).is_ok()).count(), 26 + 26 + 10 + 3);
}

#[test]
fn id_22_paths_compare_with_case_and_hosts_have_none() {
    let id = |text: &str| SpiffeId::parse(text);
    assert_ne!(id("spiffe://td/A"), id("spiffe://td/a"));
    assert!(id("spiffe://TD/a").is_err() && id("SPIFFE://td/a").is_err(), "two spellings of one ID never exist");
}

#[test]
fn id_29_assertions_are_of_the_whole_id() {
    let (one, other) = (SpiffeId::parse("spiffe://a/w").unwrap(), SpiffeId::parse("spiffe://b/w").unwrap());
    assert!(!IdMatcher::exactly(one.clone()).matches(&other));
    assert!(!IdMatcher::MemberOf(one.trust_domain()).matches(&other));
}

#[test]
fn x509_35_37_38_each_authority_is_one_jwk_with_one_certificate_and_no_key_id() {
    let mut bundle = TestAuthority::new("example.org").bundle();
    bundle.x509_authorities.extend(TestAuthority::new("example.org").bundle().x509_authorities);
    bundle.jwt_authorities.clear();
    let document: serde_json::Value = serde_json::from_str(&bundle.to_document()).unwrap();
    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!(key["use"], "x509-svid");
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
        assert!(key.get("kid").is_none());
    }
}

/// JWT-02: nothing here makes a JSON serialization, and none is read.
#[test]
fn jwt_02_there_is_no_json_serialization() {
    hold(&["JV-70"]);
}

#[test]
fn jwt_17_18_tokens_are_borne_by_the_bearer_scheme() {
    let token = TestAuthority::new("example.org").jwt_svid("/w", &["svc"], NOW + Ttl::from_minutes(5));
    let value = to_authorization(&token);
    assert_eq!(value, format!("Bearer {token}"));
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(from_authorization(&format!("{scheme} {token}")), Ok(token.as_str()));
    }
    assert!(from_authorization(&format!("Basic {token}")).is_err() && from_authorization(&token).is_err());
}

#[test]
fn jwt_19_each_key_is_one_jwk_with_its_use_and_id() {
    let document: serde_json::Value =
        serde_json::from_str(&TestAuthority::new("example.org").bundle().to_document()).unwrap();
    assert_eq!(
        (&document["keys"][1]["use"], &document["keys"][1]["kid"]),
        (&"jwt-svid".into(), &"example.org-key".into())
    );
}

#[test]
fn jwt_23_a_token_verifies_twice() {
    let authority = TestAuthority::new("example.org");
    let token = authority.jwt_svid("/w", &["svc"], NOW + Ttl::from_minutes(5));
    for _ in 0..2 {
        JwtSvid::verify(&token, "svc", &authority.bundles(), NOW, Ttl::ZERO).unwrap();
    }
}

/// No alg, x5t or whatever else (Trust Domain and Bundle §4.2).
#[test]
fn bundle_13_published_keys_have_no_other_members() {
    let document: serde_json::Value =
        serde_json::from_str(&TestAuthority::new("example.org").bundle().to_document()).unwrap();
    let members = |at: usize| document["keys"][at].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert!(members(0).into_iter().eq(["crv", "kty", "use", "x", "x5c", "y"]));
    assert!(members(1).into_iter().eq(["crv", "kid", "kty", "use", "x", "y"]));
}

/// After an update that takes everything away, what verified before does not.
#[test]
fn bundle_12_an_update_takes_effect_at_once() {
    let authority = TestAuthority::new("example.org");
    let (svid, token) = (authority.svid("/w"), authority.jwt_svid("/w", &["svc"], NOW + Ttl::from_minutes(5)));
    let mut bundles = authority.bundles();
    verify_svid(svid.chain(), &bundles, NOW).unwrap();
    bundles.insert(Bundle::from_document(trust_domain("example.org"), br#"{"keys":[]}"#).unwrap());
    assert!(matches!(verify_svid(svid.chain(), &bundles, NOW), Err(X509Error::Chain { .. })));
    let refused = JwtSvid::verify(&token, "svc", &bundles, NOW, Ttl::ZERO);
    assert!(matches!(refused, Err(JwtError::UnknownKey { .. })));
    assert!(matches!(verify_svid(svid.chain(), &BundleSet::default(), NOW), Err(X509Error::NoBundle { .. })));
}

#[cfg(feature = "wit")]
mod wit {
    use spiffe_core::wit::{WitError, presentation};

    use crate::runner::{hold, load};

    #[test]
    fn wit_14_the_same_token_is_proven_twice() {
        hold(&["WV-53-proof"]);
        hold(&["WV-53-proof"]);
    }

    #[test]
    fn wit_25_a_wit_svid_is_no_bearer_token() {
        let vectors = load("wit_svid");
        let token = vectors[0]["input"]["token"].as_str().unwrap();
        let value = format!("Bearer {token}");
        let refused = spiffe_core::jwt::from_authorization(&value);
        assert_eq!(refused, Err(spiffe_core::jwt::JwtError::Type));
    }

    #[test]
    fn wit_26_32_it_travels_in_its_own_headers_over_https() {
        assert_eq!(
            presentation("https://svc.example.org/a", "wit", "proof"),
            Ok([("Workload-Identity-Token", "wit"), ("Workload-Proof-Token", "proof")])
        );
        assert_eq!(presentation("http://svc.example.org", "wit", "proof"), Err(WitError::Channel));
    }

    #[test]
    fn wit_27_each_key_is_one_jwk_with_its_use_and_id() {
        let mut bundle = spiffe_core::testing::TestAuthority::new("example.org").bundle();
        bundle.x509_authorities.clear();
        bundle.wit_authorities = std::mem::take(&mut bundle.jwt_authorities);
        let document: serde_json::Value = serde_json::from_str(&bundle.to_document()).unwrap();
        assert_eq!(document["keys"][0]["use"], "wit-svid");
        assert_eq!(document["keys"][0]["kid"], "example.org-key");
    }
}

/// How many there are in each section of the checklist.
const SECTIONS: [(&str, u32); 9] = [
    ("ID", 30),
    ("X509", 42),
    ("PKIX", 24),
    ("JWT", 26),
    ("JOSE", 18),
    ("WIT", 34),
    ("BUNDLE", 16),
    ("BMAP", 6),
    ("FED", 30),
];

/// Those that do not bind a library, and where they are held.
const ELSEWHERE: [(&str, &str, &[u32]); 9] = [
    ("ID", "spire-ca: the authority's own ID", &[24, 25, 26]),
    ("PKIX", "spire-ca: how certificates are issued", &[9, 17, 18, 19, 24]),
    ("PKIX", "optional, and not offered: revocation lists", &[23]),
    ("JWT", "spire-ca: what is issued", &[24]),
    ("WIT", "issuers", &[4, 7, 15, 18, 23]),
    ("BUNDLE", "spire-server: the sequence of its own bundle", &[4, 5]),
    ("BUNDLE", "spire-ca and spire-federation: which keys are whose", &[14, 15]),
    ("BMAP", "producers of maps, of which there is none here", &[4]),
    (
        "FED",
        "spire-federation: endpoints and their clients",
        &[1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30],
    ),
];

#[test]
fn every_requirement_is_a_test_or_has_its_place() {
    let source = include_str!("requirements.rs");
    let mut covered = BTreeSet::new();
    for line in source.lines().map(str::trim_start) {
        let name = line.strip_prefix("fn ").unwrap_or(line);
        let mut words = name.split('_');
        let Some((section, _)) =
            words.next().and_then(|word| SECTIONS.iter().find(|(section, _)| section.eq_ignore_ascii_case(word)))
        else {
            continue;
        };
        covered.extend(words.map_while(|word| word.parse::<u32>().ok()).map(|number| (*section, number)));
    }
    for (section, count) in SECTIONS {
        let elsewhere: BTreeSet<u32> = ELSEWHERE
            .iter()
            .filter(|(of, ..)| *of == section)
            .flat_map(|(.., numbers)| numbers.iter().copied())
            .collect();
        let (mut tested, mut missing) = (0, Vec::new());
        for number in 1..=count {
            match (covered.contains(&(section, number)), elsewhere.contains(&number)) {
                (true, false) => tested += 1,
                (false, true) => {}
                (true, true) => panic!("{section}-{number:02} is tested here, and listed as held elsewhere"),
                (false, false) => missing.push(number),
            }
        }
        assert!(missing.is_empty(), "{section}: no test of {missing:?}");
        println!("{section}: {tested} of {count} bind a library, each a test here");
    }
}
