//! Whatever our types can hold comes back from the wire as it went, and no message makes a conversion panic.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{Bundle, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_api::convert::{agent, bundle, entry, federation};
use spire_api::proto::{entry as wire_entry, types};
use spire_types::{
    AdditionalAttributes, AttestedNode, EndpointProfile, EntryId, EntryMask, FederationRelationship, RegistrationEntry,
    Selector,
};

static OWN: LazyLock<TrustDomain> = LazyLock::new(|| TrustDomain::parse("example.org").unwrap());
static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| TestAuthority::new("other.example").bundle());

fn id() -> impl Strategy<Value = SpiffeId> {
    "(/[a-zA-Z0-9_-]{1,8}){1,3}".prop_map(|path| OWN.join(&path).unwrap())
}

fn trust_domain() -> impl Strategy<Value = TrustDomain> {
    "[a-z0-9_-]{1,10}(\\.[a-z0-9]{1,5}){0,2}".prop_map(|name| TrustDomain::parse(&name).unwrap())
}

fn selector() -> impl Strategy<Value = Selector> {
    ("[a-z_]{1,8}", "\\PC{1,20}").prop_map(|(kind, value)| Selector::new(kind, value).unwrap())
}

fn ttl() -> impl Strategy<Value = Option<Ttl>> {
    option::of((1..=i32::MAX as u64).prop_map(Ttl::from_secs))
}

prop_compose! {
    fn registration_entry()(
        (spiffe_id, parent_id) in (id(), id()),
        entry_id in "[-._A-Za-z0-9]{1,40}",
        mut selectors in vec(selector(), 1..5),
        (x509_svid_ttl, jwt_svid_ttl) in (ttl(), ttl()),
        mut federates_with in vec(trust_domain(), 0..4),
        (admin, downstream) in (any::<bool>(), any::<bool>()),
        expires_at in option::of(1..i64::MAX),
        mut dns_names in vec("(\\*\\.)?[a-z0-9]{1,9}(\\.[a-z]{1,4}){0,2}", 0..4),
        (revision_number, created_at) in (any::<i64>(), any::<i64>()),
        hint in "\\PC{0,20}",
        additional in option::of((any::<bool>(), any::<bool>())),
    ) -> RegistrationEntry {
        selectors.sort();
        selectors.dedup();
        federates_with.sort();
        federates_with.dedup();
        dns_names.sort();
        dns_names.dedup();
        RegistrationEntry {
            id: Some(EntryId::parse(&entry_id).unwrap()),
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            admin,
            downstream,
            expires_at: expires_at.map(Timestamp::from_unix),
            dns_names,
            revision_number,
            hint,
            created_at: Timestamp::from_unix(created_at),
            additional: additional.map(|(disable_x509_svid_prefetch, jwt_svid_include_jti)| {
                AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }
            }),
            ..RegistrationEntry::new(spiffe_id, parent_id, selectors)
        }
    }
}

proptest! {
    #[test]
    fn entries_come_back_as_they_went(original in registration_entry()) {
        let wire = entry::to_proto(&original, &EntryMask::ALL);
        let wire = types::Entry::decode(wire.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(&entry::from_server(&wire, &OWN).unwrap(), &original);
        // Revision and creation are the server's to choose.
        let asked = entry::from_proto(&wire, &OWN).unwrap();
        let (revision_number, created_at) = (original.revision_number, original.created_at);
        prop_assert_eq!(RegistrationEntry { revision_number, created_at, ..asked }, original);
    }

    #[test]
    fn an_empty_mask_hides_everything_but_the_id(original in registration_entry()) {
        let mask = entry::mask_from_proto(Some(&types::EntryMask::default()));
        let id = original.id.as_ref().unwrap().to_string();
        prop_assert_eq!(entry::to_proto(&original, &mask), types::Entry { id, ..types::Entry::default() });
    }

    #[test]
    fn bundles_come_back_as_they_went(
        name in trust_domain(), hint in option::of(1..i64::MAX as u64), sequence_number: u64, tainted: bool,
        expires_at in option::of(1..i64::MAX),
    ) {
        let mut original = Bundle { trust_domain: name, ..BUNDLE.clone() };
        original.refresh_hint = hint.map(Ttl::from_secs);
        original.sequence_number = sequence_number;
        original.x509_authorities.iter_mut().for_each(|authority| authority.tainted = tainted);
        for authority in &mut original.jwt_authorities {
            authority.expires_at = expires_at.map(Timestamp::from_unix);
            authority.tainted = tainted;
        }
        let wire = bundle::to_proto(&original, None);
        prop_assert_eq!(bundle::to_proto(&bundle::from_proto(&wire).unwrap(), None), wire.clone());
        prop_assert_eq!(&bundle::from_proto(&wire).unwrap(), &original);
        let given = bundle::from_request(&wire).unwrap();
        prop_assert!(given.x509_authorities.iter().all(|authority| !authority.tainted));
        prop_assert!(given.jwt_authorities.iter().all(|authority| !authority.tainted));
    }

    #[test]
    fn agents_come_back_as_they_went(
        spiffe_id in id(), serial in option::of("[0-9]{1,20}"), not_after: i64, can_reattest: bool,
        selectors in vec(selector(), 0..4), agent_version in "[0-9.]{0,8}",
    ) {
        let original = AttestedNode {
            spiffe_id, attestation_type: "x509pop".to_owned(), serial, not_after: Timestamp::from_unix(not_after),
            new_serial: None, new_not_after: None, can_reattest, selectors, agent_version,
        };
        let wire = agent::to_proto(&original, None);
        prop_assert_eq!(wire.banned, original.serial.is_none());
        prop_assert_eq!(agent::from_proto(&wire, &OWN).unwrap(), original);
    }

    #[test]
    fn relationships_come_back_as_they_went(
        name in trust_domain(), host in "[a-z]{1,8}\\.[a-z]{2,3}", path in "(/[a-z]{1,5}){0,2}", endpoint in option::of(id()),
    ) {
        let profile = endpoint.map_or(EndpointProfile::HttpsWeb, |endpoint_id| EndpointProfile::HttpsSpiffe { endpoint_id });
        let original = FederationRelationship {
            trust_domain: name.clone(), bundle_endpoint_url: format!("https://{host}{path}"), profile,
        };
        let carried = Bundle { trust_domain: name, ..BUNDLE.clone() };
        let wire = federation::to_proto(&original, Some(&carried), None);
        prop_assert_eq!(federation::from_proto(&wire).unwrap(), (original, Some(carried)));
    }

    #[test]
    fn no_message_makes_a_conversion_panic(bytes in vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        if let Ok(wire) = types::Entry::decode(bytes.as_slice()) {
            let _ = (entry::from_proto(&wire, &OWN), entry::from_server(&wire, &OWN));
        }
        if let Ok(wire) = types::Bundle::decode(bytes.as_slice()) {
            let _ = bundle::from_proto(&wire);
        }
        if let Ok(wire) = types::FederationRelationship::decode(bytes.as_slice()) {
            let _ = federation::from_proto(&wire);
        }
        if let Ok(wire) = wire_entry::list_entries_request::Filter::decode(bytes.as_slice()) {
            let _ = entry::filter_from_proto(Some(&wire), &OWN);
        }
        let _ = (entry::check_dns_name(&text), federation::check_endpoint_url(&text), agent::expires_before(&text));
    }
}
