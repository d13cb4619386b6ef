//! Entries as the index holds them: what decides who gets one at hand, the rest packed, so that a million of them take
//! little room.

use prost::Message;
use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_types::{AdditionalAttributes, EntryId, RegistrationEntry, Selector};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) id: EntryId,
    pub(super) spiffe_id: SpiffeId,
    pub(super) parent_id: SpiffeId,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) admin: bool,
    pub(super) downstream: bool,
    pub(super) federates_with: Box<[TrustDomain]>,
    rest: Box<[u8]>,
}

/// What is asked for only when an entry is handed out. Never leaves the process.
#[derive(Clone, PartialEq, Message)]
struct Rest {
    /// Types and values, by turns.
    #[prost(string, repeated, tag = "1")]
    selectors: Vec<String>,
    #[prost(uint64, optional, tag = "2")]
    x509_svid_ttl: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    jwt_svid_ttl: Option<u64>,
    #[prost(string, repeated, tag = "4")]
    dns_names: Vec<String>,
    #[prost(int64, tag = "5")]
    revision_number: i64,
    #[prost(bool, tag = "6")]
    store_svid: bool,
    #[prost(string, tag = "7")]
    hint: String,
    #[prost(int64, tag = "8")]
    created_at: i64,
    #[prost(message, optional, tag = "9")]
    additional: Option<Additional>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Additional {
    #[prost(bool, tag = "1")]
    disable_x509_svid_prefetch: bool,
    #[prost(bool, tag = "2")]
    jwt_svid_include_jti: bool,
}

impl Packed {
    /// `None` for an entry without an ID, which no store holds.
    pub(super) fn new(entry: RegistrationEntry) -> Option<Self> {
        let rest = Rest {
            selectors: entry.selectors.into_iter().flat_map(|selector| [selector.kind, selector.value]).collect(),
            x509_svid_ttl: entry.x509_svid_ttl.map(Ttl::as_secs),
            jwt_svid_ttl: entry.jwt_svid_ttl.map(Ttl::as_secs),
            dns_names: entry.dns_names,
            revision_number: entry.revision_number,
            store_svid: entry.store_svid,
            hint: entry.hint,
            created_at: entry.created_at.as_unix(),
            additional: entry.additional.map(|additional| Additional {
                disable_x509_svid_prefetch: additional.disable_x509_svid_prefetch,
                jwt_svid_include_jti: additional.jwt_svid_include_jti,
            }),
        };
        Some(Self {
            id: entry.id?,
            spiffe_id: entry.spiffe_id,
            parent_id: entry.parent_id,
            expires_at: entry.expires_at,
            admin: entry.admin,
            downstream: entry.downstream,
            federates_with: entry.federates_with.into(),
            rest: rest.encode_to_vec().into(),
        })
    }

    /// The entry in full. `None` is known never to occur; an entry without its selectors would be everybody's.
    pub(super) fn unpack(&self) -> Option<RegistrationEntry> {
        let rest = Rest::decode(&*self.rest).ok()?;
        let mut texts = rest.selectors.into_iter();
        let selectors = std::iter::from_fn(|| Some(Selector { kind: texts.next()?, value: texts.next()? })).collect();
        Some(RegistrationEntry {
            id: Some(self.id.clone()),
            spiffe_id: self.spiffe_id.clone(),
            parent_id: self.parent_id.clone(),
            selectors,
            x509_svid_ttl: rest.x509_svid_ttl.map(Ttl::from_secs),
            jwt_svid_ttl: rest.jwt_svid_ttl.map(Ttl::from_secs),
            federates_with: self.federates_with.to_vec(),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.expires_at,
            dns_names: rest.dns_names,
            revision_number: rest.revision_number,
            store_svid: rest.store_svid,
            hint: rest.hint,
            created_at: Timestamp::from_unix(rest.created_at),
            additional: rest.additional.map(|additional| AdditionalAttributes {
                disable_x509_svid_prefetch: additional.disable_x509_svid_prefetch,
                jwt_svid_include_jti: additional.jwt_svid_include_jti,
            }),
        })
    }

    /// Whether it is given no more, though it may not be deleted yet.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end < now)
    }

    /// The first moment at which [`Self::has_ended`] says so.
    pub(super) fn gone_from(&self) -> Option<Timestamp> {
        self.expires_at.map(|end| end + Ttl::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = SpiffeId> {
        "[a-z]{1,8}".prop_map(|path| TrustDomain::parse("example.org").unwrap().join(&format!("/{path}")).unwrap())
    }

    fn ttls() -> impl Strategy<Value = Option<Ttl>> {
        proptest::option::of(any::<u64>().prop_map(Ttl::from_secs))
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("\\PC{0,12}", 0..4)
    }

    prop_compose! {
        fn entries()(
            (spiffe_id, parent_id, id) in (ids(), ids(), "[a-z0-9-]{1,36}"),
            selectors in proptest::collection::vec(("[a-z]{1,5}", "\\PC{1,12}"), 0..4),
            (x509_svid_ttl, jwt_svid_ttl) in (ttls(), ttls()),
            federates_with in proptest::collection::vec("[a-z]{1,5}", 0..3),
            (admin, downstream, store_svid) in any::<(bool, bool, bool)>(),
            (expires_at, revision_number, created_at) in any::<(Option<i64>, i64, i64)>(),
            (dns_names, hint) in (texts(), "\\PC{0,12}"),
            additional in any::<Option<(bool, bool)>>(),
        ) -> RegistrationEntry {
            RegistrationEntry {
                id: Some(EntryId::parse(&id).unwrap()),
                spiffe_id,
                parent_id,
                selectors: selectors.into_iter().map(|(kind, value)| Selector { kind, value }).collect(),
                x509_svid_ttl,
                jwt_svid_ttl,
                federates_with: federates_with.iter().map(|name| TrustDomain::parse(name).unwrap()).collect(),
                admin,
                downstream,
                expires_at: expires_at.map(Timestamp::from_unix),
                dns_names,
                revision_number,
                store_svid,
                hint,
                created_at: Timestamp::from_unix(created_at),
                additional: additional.map(|(disable_x509_svid_prefetch, jwt_svid_include_jti)| AdditionalAttributes {
                    disable_x509_svid_prefetch,
                    jwt_svid_include_jti,
                }),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_as_it_went_in(entry in entries()) {
            prop_assert_eq!(Packed::new(entry.clone()).unwrap().unpack(), Some(entry));
        }

        #[test]
        fn what_cannot_be_unpacked_is_no_entry_rather_than_one_without_selectors(entry in entries()) {
            let mut packed = Packed::new(entry).unwrap();
            packed.rest = Box::from([0xff]);
            prop_assert_eq!(packed.unpack(), None);
        }
    }
}
