//! Bundles: the own one and those of other trust domains.

use async_trait::async_trait;
use spiffe_core::{Bundle, JwtAuthority, Timestamp, TrustDomain, X509Authority};
use spire_types::{BundleMask, DeleteMode, Page, PageRequest};

use crate::{Error, Revision};

/// Bundles.
///
/// Appending, pruning, tainting and revoking raise a bundle's sequence number by one; creating, setting and updating
/// store the number that they are given.
#[async_trait]
pub trait Bundles {
    /// Stores a bundle that must not be there yet.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]
    async fn create_bundle(&self, bundle: Bundle) -> Result<(Bundle, Revision), Error>;

    /// Stores a bundle in place of the one that is there, if any. The same contents change nothing, and yield `None`.
    ///
    /// # Errors
    /// When the backend fails.
    async fn set_bundle(&self, bundle: Bundle) -> Result<(Bundle, Option<Revision>), Error>;

    /// Stores a bundle in place of exactly `replaced`, or of none; false, and nothing is stored, when another is there by
    /// now.
    ///
    /// # Errors
    /// When the backend fails.
    async fn replace_bundle(&self, bundle: Bundle, replaced: Option<Bundle>) -> Result<bool, Error>;

    /// Replaces those parts of a bundle that `mask` names. The same contents change nothing, and yield `None`.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn update_bundle(&self, bundle: Bundle, mask: BundleMask) -> Result<(Bundle, Option<Revision>), Error>;

    /// Adds authorities to a bundle, which is made if need be. Nothing is ever removed; when all is there already
    /// nothing changes, and `None` is the revision.
    ///
    /// # Errors
    /// When the backend fails.
    async fn append_bundle(
        &self,
        trust_domain: &TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<(Bundle, Option<Revision>), Error>;

    /// Deletes a bundle, and does with the entries that federate with it as `mode` says.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`].
    async fn delete_bundle(&self, trust_domain: &TrustDomain, mode: DeleteMode) -> Result<Revision, Error>;

    /// Removes authorities that ended before `expired_before`; `None` when there were none, or no such bundle.
    ///
    /// # Errors
    /// [`Error::LastAuthority`] rather than leave a bundle without any of a kind that it had.
    async fn prune_bundle(
        &self,
        trust_domain: &TrustDomain,
        expired_before: Timestamp,
    ) -> Result<Option<Revision>, Error>;

    /// Marks the root certificate of that subject key ID: SVIDs below it are to be replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAuthority`], or [`Error::Taint`] when it is marked already.
    async fn taint_x509_authority(&self, trust_domain: &TrustDomain, subject_key_id: &[u8]) -> Result<Revision, Error>;

    /// Removes a marked root certificate.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAuthority`], or [`Error::Taint`] when it is not marked.
    async fn revoke_x509_authority(&self, trust_domain: &TrustDomain, subject_key_id: &[u8])
    -> Result<Revision, Error>;

    /// Marks the JWT key of that ID: tokens signed with it are to be replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAuthority`], or [`Error::Taint`] when it is marked already.
    async fn taint_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error>;

    /// Removes a marked JWT key.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAuthority`], or [`Error::Taint`] when it is not marked.
    async fn revoke_jwt_authority(&self, trust_domain: &TrustDomain, key_id: &str) -> Result<Revision, Error>;

    /// The bundle of that trust domain.
    ///
    /// # Errors
    /// When the backend fails.
    async fn fetch_bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Bundle>, Error>;

    /// All bundles, in the order of their creation.
    ///
    /// # Errors
    /// [`Error::PageToken`], or when the backend fails.
    async fn list_bundles(&self, page: PageRequest) -> Result<Page<Bundle>, Error>;

    /// How many there are, the own one included.
    ///
    /// # Errors
    /// When the backend fails.
    async fn count_bundles(&self) -> Result<usize, Error>;
}
