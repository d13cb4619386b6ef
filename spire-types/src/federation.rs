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
