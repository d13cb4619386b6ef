//! Federation relationships.

use async_trait::async_trait;
use spiffe_core::{Bundle, TrustDomain};
use spire_types::{FederationRelationship, Page, PageRequest, RelationshipMask};

use crate::{Error, Revision};

/// Federation relationships that were made through the API; those of the configuration file are not stored.
#[async_trait]
pub trait FederationRelationships {
    /// Stores a relationship that must not be there yet, and in the same transaction its `bundle`, where one is given, in
    /// place of the one that is there.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]
    async fn create_relationship(
        &self,
        relationship: FederationRelationship,
        bundle: Option<Bundle>,
    ) -> Result<Revision, Error>;

    /// Replaces those parts of a relationship that `mask` names, and returns the whole; in the same transaction stores its
    /// `bundle`, where one is given, in place of the one that is there.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn update_relationship(
        &self,
        relationship: FederationRelationship,
        mask: RelationshipMask,
        bundle: Option<Bundle>,
    ) -> Result<(FederationRelationship, Revision), Error>;

    /// Deletes a relationship. Its bundle stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn delete_relationship(&self, trust_domain: &TrustDomain) -> Result<Revision, Error>;

    /// The relationship with that trust domain.
    ///
    /// # Errors
    /// When the backend fails.
    async fn fetch_relationship(&self, trust_domain: &TrustDomain) -> Result<Option<FederationRelationship>, Error>;

    /// All relationships, in the order of their creation.
    ///
    /// # Errors
    /// [`Error::PageToken`], or when the backend fails.
    async fn list_relationships(&self, page: PageRequest) -> Result<Page<FederationRelationship>, Error>;
}
