//! Where a configuration finds the own SVID and the bundles.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::TlsIdentity;
use crate::bundle::BundleSet;

/// The own SVID and the bundles of the moment.
///
/// Both are asked for at every handshake, concurrently, and must come from memory. As long as nothing was rotated, the
/// same [`Arc`] should be returned: what is derived from it is kept.
pub trait TlsSource: Send + Sync {
    /// What this side shows; `None` where it has nothing: a client then stays anonymous, a server refuses.
    fn identity(&self) -> Option<Arc<TlsIdentity>>;

    /// What peers are verified with.
    fn bundles(&self) -> Arc<BundleSet>;
}

impl<S: TlsSource + ?Sized> TlsSource for Arc<S> {
    fn identity(&self) -> Option<Arc<TlsIdentity>> {
        (**self).identity()
    }

    fn bundles(&self) -> Arc<BundleSet> {
        (**self).bundles()
    }
}

/// A [`TlsSource`] that its owner feeds: cheap to clone, every clone sees the change.
///
/// ```
/// use spiffe_core::BundleSet;
/// use spiffe_core::tls::{Live, TlsSource};
///
/// let live = Live::default();
/// live.set_bundles(BundleSet::default());
/// assert!(live.identity().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Live(Arc<RwLock<State>>);

#[derive(Default)]
struct State {
    identity: Option<Arc<TlsIdentity>>,
    bundles: Arc<BundleSet>,
}

impl Live {
    /// With both to begin with.
    #[must_use]
    pub fn new(identity: Option<TlsIdentity>, bundles: impl Into<Arc<BundleSet>>) -> Self {
        let state = State { identity: identity.map(Arc::new), bundles: bundles.into() };
        Self(Arc::new(RwLock::new(state)))
    }

    /// Shows another SVID from the next handshake on; `None` shows none.
    pub fn set_identity(&self, identity: Option<TlsIdentity>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).identity = identity.map(Arc::new);
    }

    /// Verifies with other bundles from the next handshake on.
    pub fn set_bundles(&self, bundles: impl Into<Arc<BundleSet>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).bundles = bundles.into();
    }
}

impl TlsSource for Live {
    fn identity(&self) -> Option<Arc<TlsIdentity>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).identity.clone()
    }

    fn bundles(&self) -> Arc<BundleSet> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).bundles)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("identity", &self.identity()).finish_non_exhaustive()
    }
}
