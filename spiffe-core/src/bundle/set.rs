//! Bundles of several trust domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Bundle;
use crate::id::TrustDomain;

/// At most one bundle for each trust domain; bundles are shared, so that a copy is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleSet(BTreeMap<TrustDomain, Arc<Bundle>>);

impl BundleSet {
    /// The bundle of `trust_domain`, and of no other.
    #[must_use]
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        self.0.get(trust_domain)
    }

    /// Puts a bundle in, in place of the one its trust domain had.
    pub fn insert(&mut self, bundle: impl Into<Arc<Bundle>>) -> Option<Arc<Bundle>> {
        let bundle = bundle.into();
        self.0.insert(bundle.trust_domain.clone(), bundle)
    }

    /// Takes a bundle out.
    pub fn remove(&mut self, trust_domain: &TrustDomain) -> Option<Arc<Bundle>> {
        self.0.remove(trust_domain)
    }

    /// All bundles, by trust domain name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Bundle>> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<B: Into<Arc<Bundle>>> FromIterator<B> for BundleSet {
    fn from_iter<I: IntoIterator<Item = B>>(bundles: I) -> Self {
        let mut set = Self::default();
        for bundle in bundles {
            set.insert(bundle);
        }
        set
    }
}
