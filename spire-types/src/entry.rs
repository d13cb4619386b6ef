//! Registration entries: which workload gets which identity.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};

use crate::selector::{MatchBehavior, Selector, SelectorMatch};

/// Longest entry ID in bytes.
pub const MAX_ENTRY_ID_LENGTH: usize = 255;
/// Longest hint in bytes.
pub const MAX_HINT_LENGTH: usize = 1024;
/// Most selectors, DNS names or federated trust domains that one entry may have.
pub const MAX_LIST_LENGTH: usize = 10_000;

/// An entry's ID; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Checks an ID that somebody chose.
    ///
    /// # Errors
    /// [`InvalidEntry::IdTooLong`] beyond [`MAX_ENTRY_ID_LENGTH`], [`InvalidEntry::IdCharacters`] when it is empty or has
    /// other characters than letters, digits, `-`, `.` and `_`.
    pub fn parse(id: &str) -> Result<Self, InvalidEntry> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if id.len() > MAX_ENTRY_ID_LENGTH {
            return Err(InvalidEntry::IdTooLong);
        }
        if id.is_empty() || !id.bytes().all(allowed) {
            return Err(InvalidEntry::IdCharacters);
        }
        Ok(Self(id.into()))
    }

    /// A new ID in the form of a UUID, version 7 (RFC 9562 §5.7): the time in milliseconds, then 74 random bits. What is
    /// made at one time stands at one place of an index, however large that is.
    pub fn new_at(now: Timestamp, rng: &mut (impl rand_core::RngCore + ?Sized)) -> Self {
        let milliseconds = u128::from(now.as_unix().unsigned_abs()) * 1000;
        let bits = random_bits(rng) & ((1 << 80) - 1) | (milliseconds & 0xffff_ffff_ffff) << 80;
        Self(uuid(7, bits).into())
    }

    /// The ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A random UUID, version 4 (RFC 9562 §5.4).
pub fn uuid_v4(rng: &mut (impl rand_core::RngCore + ?Sized)) -> String {
    uuid(4, random_bits(rng))
}

fn random_bits(rng: &mut (impl rand_core::RngCore + ?Sized)) -> u128 {
    let mut random = [0; 16];
    rng.fill_bytes(&mut random);
    u128::from_be_bytes(random)
}

/// A UUID of that version, whose other bits are given.
fn uuid(version: u128, bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | version << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({})", self.0)
    }
}

/// Which workload gets which identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationEntry {
    /// The entry's ID; `None` in one that is to be created and lets the server choose.
    pub id: Option<EntryId>,
    /// The identity that is given.
    pub spiffe_id: SpiffeId,
    /// Who may give it: an agent, a node alias, or another workload's ID.
    pub parent_id: SpiffeId,
    /// What must hold of the workload, all of it. At least one, none twice, in the order given.
    pub selectors: Vec<Selector>,
    /// Lifetime of X.509-SVIDs; `None` takes the server's default.
    pub x509_svid_ttl: Option<Ttl>,
    /// Lifetime of JWT-SVIDs; `None` takes the server's default.
    pub jwt_svid_ttl: Option<Ttl>,
    /// Whose bundles the workload gets besides its own.
    pub federates_with: Vec<TrustDomain>,
    /// Whether the workload may administer the server.
    pub admin: bool,
    /// Whether the workload is a downstream server.
    pub downstream: bool,
    /// When the entry ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// DNS names in X.509-SVIDs.
    pub dns_names: Vec<String>,
    /// Grows with each update.
    pub revision_number: i64,
    /// Whether the agent shall put the SVID into a store instead of serving it.
    pub store_svid: bool,
    /// Tells the workload what the SVID is for.
    pub hint: String,
    /// When the entry was made.
    pub created_at: Timestamp,
    /// Rarer settings; `None` where never given.
    pub additional: Option<AdditionalAttributes>,
}

/// Rarer settings of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdditionalAttributes {
    /// The agent makes X.509-SVIDs when they are asked for, not before.
    pub disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs carry a `jti`.
    pub jwt_svid_include_jti: bool,
}

impl RegistrationEntry {
    /// An entry with the three things that none lacks, and defaults elsewhere.
    #[must_use]
    pub fn new(spiffe_id: SpiffeId, parent_id: SpiffeId, selectors: Vec<Selector>) -> Self {
        Self {
            id: None,
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl: None,
            jwt_svid_ttl: None,
            federates_with: Vec::new(),
            admin: false,
            downstream: false,
            expires_at: None,
            dns_names: Vec::new(),
            revision_number: 0,
            store_svid: false,
            hint: String::new(),
            created_at: Timestamp::from_unix(0),
            additional: None,
        }
    }

    /// Checks what concerns more than one field, and the lists' lengths.
    ///
    /// # Errors
    /// [`InvalidEntry`] names the rule.
    pub fn check(&self) -> Result<(), InvalidEntry> {
        if self.selectors.is_empty() {
            return Err(InvalidEntry::NoSelectors);
        }
        let longest = self.selectors.len().max(self.dns_names.len()).max(self.federates_with.len());
        if longest > MAX_LIST_LENGTH {
            return Err(InvalidEntry::ListTooLong { length: longest });
        }
        if self.hint.len() > MAX_HINT_LENGTH {
            return Err(InvalidEntry::HintTooLong { length: self.hint.len() });
        }
        self.check_store()?;
        let unique: BTreeSet<_> = self.selectors.iter().collect();
        if unique.len() < self.selectors.len() {
            return Err(InvalidEntry::DuplicateSelector);
        }
        let unique: BTreeSet<_> = self.dns_names.iter().collect();
        if unique.len() < self.dns_names.len() {
            return Err(InvalidEntry::DuplicateDnsName);
        }
        Ok(())
    }

    fn check_store(&self) -> Result<(), InvalidEntry> {
        if !self.store_svid {
            return Ok(());
        }
        let mut kinds = self.selectors.iter().map(|selector| &selector.kind);
        let first = kinds.next();
        if kinds.any(|kind| Some(kind) != first) {
            return Err(InvalidEntry::MixedSelectorTypes);
        }
        if self.additional.is_some_and(|additional| additional.disable_x509_svid_prefetch) {
            return Err(InvalidEntry::StoreWithoutPrefetch);
        }
        Ok(())
    }

    /// Whether both say the same of the same workload: identity, parent and selectors, whatever their order.
    #[must_use]
    pub fn is_similar_to(&self, other: &Self) -> bool {
        let set = |entry: &Self| entry.selectors.iter().cloned().collect::<BTreeSet<_>>();
        self.spiffe_id == other.spiffe_id && self.parent_id == other.parent_id && set(self) == set(other)
    }

    /// Takes from `changed` the fields of `mask`.
    pub fn update_from(&mut self, changed: &Self, mask: &EntryMask) {
        if mask.spiffe_id {
            self.spiffe_id = changed.spiffe_id.clone();
        }
        if mask.parent_id {
            self.parent_id = changed.parent_id.clone();
        }
        if mask.selectors {
            self.selectors.clone_from(&changed.selectors);
        }
        if mask.x509_svid_ttl {
            self.x509_svid_ttl = changed.x509_svid_ttl;
        }
        if mask.jwt_svid_ttl {
            self.jwt_svid_ttl = changed.jwt_svid_ttl;
        }
        if mask.federates_with {
            self.federates_with.clone_from(&changed.federates_with);
        }
        if mask.admin {
            self.admin = changed.admin;
        }
        if mask.downstream {
            self.downstream = changed.downstream;
        }
        if mask.expires_at {
            self.expires_at = changed.expires_at;
        }
        if mask.dns_names {
            self.dns_names.clone_from(&changed.dns_names);
        }
        if mask.store_svid {
            self.store_svid = changed.store_svid;
        }
        if mask.hint {
            self.hint.clone_from(&changed.hint);
        }
        if mask.additional {
            self.additional = changed.additional;
        }
    }
}

/// Which fields of an entry a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the fields of RegistrationEntry")]
pub struct EntryMask {
    pub spiffe_id: bool,
    pub parent_id: bool,
    pub selectors: bool,
    pub x509_svid_ttl: bool,
    pub jwt_svid_ttl: bool,
    pub federates_with: bool,
    pub admin: bool,
    pub downstream: bool,
    pub expires_at: bool,
    pub dns_names: bool,
    pub revision_number: bool,
    pub store_svid: bool,
    pub hint: bool,
    pub created_at: bool,
    pub additional: bool,
}

impl EntryMask {
    /// Every field.
    pub const ALL: Self = Self {
        spiffe_id: true,
        parent_id: true,
        selectors: true,
        x509_svid_ttl: true,
        jwt_svid_ttl: true,
        federates_with: true,
        admin: true,
        downstream: true,
        expires_at: true,
        dns_names: true,
        revision_number: true,
        store_svid: true,
        hint: true,
        created_at: true,
        additional: true,
    };
}

/// Which rule an entry breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEntry {
    /// A DNS name stands twice.
    #[error("duplicate DNS name")]
    DuplicateDnsName,
    /// A selector stands twice.
    #[error("duplicate selector")]
    DuplicateSelector,
    /// The hint is too long.
    #[error("hint of {length} bytes is longer than {MAX_HINT_LENGTH}")]
    HintTooLong {
        /// Its length.
        length: usize,
    },
    /// The ID has other characters than allowed, or none.
    #[error("entry ID contains invalid characters")]
    IdCharacters,
    /// The ID is longer than [`MAX_ENTRY_ID_LENGTH`].
    #[error("entry ID too long")]
    IdTooLong,
    /// A list is too long.
    #[error("list of {length} members is longer than {MAX_LIST_LENGTH}")]
    ListTooLong {
        /// Its length.
        length: usize,
    },
    /// An SVID for a store has selectors of one type.
    #[error("selector types must be the same when store SVID is enabled")]
    MixedSelectorTypes,
    /// There are no selectors.
    #[error("missing selector list")]
    NoSelectors,
    /// An SVID for a store is made beforehand.
    #[error("specifying cache behaviour is incompatible with storable SVIDs")]
    StoreWithoutPrefetch,
}

/// Trust domains asked for, and how they must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatesWithMatch {
    /// The set asked for.
    pub trust_domains: Vec<TrustDomain>,
    /// How it must match.
    pub behavior: MatchBehavior,
}

/// Which entries are meant: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// By identity.
    pub spiffe_id: Option<SpiffeId>,
    /// By parent.
    pub parent_id: Option<SpiffeId>,
    /// By selectors.
    pub selectors: Option<SelectorMatch>,
    /// By federated trust domains.
    pub federates_with: Option<FederatesWithMatch>,
    /// By hint.
    pub hint: Option<String>,
    /// By whether they are for downstream servers.
    pub downstream: Option<bool>,
}

impl EntryFilter {
    /// Whether `entry` is meant.
    #[must_use]
    pub fn matches(&self, entry: &RegistrationEntry) -> bool {
        self.spiffe_id.as_ref().is_none_or(|id| *id == entry.spiffe_id)
            && self.parent_id.as_ref().is_none_or(|id| *id == entry.parent_id)
            && self.hint.as_ref().is_none_or(|hint| *hint == entry.hint)
            && self.downstream.is_none_or(|downstream| downstream == entry.downstream)
            && self.selectors.as_ref().is_none_or(|asked| {
                asked.behavior.matches(&asked.selectors.iter().collect(), &entry.selectors.iter().collect())
            })
            && self.federates_with.as_ref().is_none_or(|asked| {
                asked.behavior.matches(&asked.trust_domains.iter().collect(), &entry.federates_with.iter().collect())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> RegistrationEntry {
        RegistrationEntry::new(
            SpiffeId::parse("spiffe://example.org/a").unwrap(),
            SpiffeId::parse("spiffe://example.org/node").unwrap(),
            vec!["unix:uid:1".parse().unwrap(), "unix:gid:1".parse().unwrap()],
        )
    }

    #[test]
    fn ids_are_uuids_of_version_7_and_others_of_version_4() {
        struct Ones;
        impl rand_core::RngCore for Ones {
            fn next_u32(&mut self) -> u32 {
                u32::MAX
            }
            fn next_u64(&mut self) -> u64 {
                u64::MAX
            }
            fn fill_bytes(&mut self, bytes: &mut [u8]) {
                bytes.fill(0xff);
            }
        }
        // RFC 9562 §A.6 has this time.
        let id = EntryId::new_at(Timestamp::from_unix(1_645_557_742), &mut Ones);
        assert_eq!(id.as_str(), "017f22e2-79b0-7fff-bfff-ffffffffffff");
        assert_eq!(uuid_v4(&mut Ones), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn chosen_ids_are_checked() {
        assert!(EntryId::parse("a-b.c_9").is_ok());
        for id in ["", "a b", "a/b"] {
            assert_eq!(EntryId::parse(id), Err(InvalidEntry::IdCharacters));
        }
        assert_eq!(EntryId::parse(&"a".repeat(256)), Err(InvalidEntry::IdTooLong));
    }

    #[test]
    fn similar_entries_differ_in_order_and_in_what_does_not_name_the_workload() {
        let mut other = entry();
        other.selectors.reverse();
        other.hint = "x".into();
        assert!(entry().is_similar_to(&other));
        other.selectors.pop();
        assert!(!entry().is_similar_to(&other));
    }

    #[test]
    fn rules_over_several_fields_are_held() {
        let check = |change: &dyn Fn(&mut RegistrationEntry)| {
            let mut entry = entry();
            change(&mut entry);
            entry.check()
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(check(&|e| e.selectors.clear()), Err(InvalidEntry::NoSelectors));
        assert_eq!(check(&|e| e.selectors[1] = e.selectors[0].clone()), Err(InvalidEntry::DuplicateSelector));
        assert_eq!(check(&|e| e.dns_names = vec!["a".into(), "a".into()]), Err(InvalidEntry::DuplicateDnsName));
        assert_eq!(check(&|e| e.hint = "h".repeat(1025)), Err(InvalidEntry::HintTooLong { length: 1025 }));
        let mixed = |e: &mut RegistrationEntry| {
            e.store_svid = true;
            e.selectors.push("k8s:ns:x".parse().unwrap());
        };
        assert_eq!(check(&mixed), Err(InvalidEntry::MixedSelectorTypes));
    }

    #[test]
    fn an_update_takes_only_what_the_mask_names() {
        let mut changed = entry();
        changed.hint = "new".into();
        changed.admin = true;
        let mut updated = entry();
        updated.update_from(&changed, &EntryMask { admin: false, ..EntryMask::ALL });
        assert_eq!((updated.hint.as_str(), updated.admin), ("new", false));
    }
}
