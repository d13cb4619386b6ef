//! Federation relationships: where another trust domain's bundle is fetched.

use spiffe_core::{SpiffeId, TrustDomain};

/// How a bundle endpoint proves who it is (SPIFFE Federation §5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointProfile {
    /// By a certificate of the Web PKI.
    HttpsWeb,
    /// By an X.509-SVID.
    HttpsSpiffe {
        /// Of exactly this ID.
        endpoint_id: SpiffeId,
    },
}

/// Where another trust domain's bundle is fetched, and how that endpoint is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationRelationship {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// The endpoint, an `https` URL.
    pub bundle_endpoint_url: String,
    /// How the endpoint is recognised.
    pub profile: EndpointProfile,
}

/// Which parts of a relationship a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the fields of FederationRelationship")]
pub struct RelationshipMask {
    pub bundle_endpoint_url: bool,
    pub profile: bool,
}

impl RelationshipMask {
    /// Every part.
    pub const ALL: Self = Self { bundle_endpoint_url: true, profile: true };
}

/// Which parts of a bundle a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the fields of spiffe_core::Bundle")]
pub struct BundleMask {
    pub x509_authorities: bool,
    pub jwt_authorities: bool,
    pub refresh_hint: bool,
    pub sequence_number: bool,
}

impl BundleMask {
    /// Every part.
    pub const ALL: Self =
        Self { x509_authorities: true, jwt_authorities: true, refresh_hint: true, sequence_number: true };
}

/// What becomes of the entries that federate with a bundle which is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// Nothing: where there are any, the bundle stays.
    Restrict,
    /// They are deleted too.
    Delete,
    /// They stay, and federate with it no longer.
    Dissociate,
}
