//! `federation`: the own bundle endpoint, and the relationships that the configuration fixes.

use std::net::SocketAddr;
use std::path::PathBuf;

use spiffe_core::Ttl;
use spire_types::FederationRelationship;

/// How this trust domain federates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederationConfig {
    /// `bundle_endpoint`; `None` serves none.
    pub bundle_endpoint: Option<BundleEndpoint>,
    /// `federates_with`, one a trust domain; they win over those made by API.
    pub federates_with: Vec<FederationRelationship>,
}

/// Where others fetch this trust domain's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEndpoint {
    /// `address` and `port`; port 0 takes any free one.
    pub address: SocketAddr,
    /// `refresh_hint`: how often others are told to look.
    pub refresh_hint: Ttl,
    /// `profile`
    pub profile: BundleEndpointProfile,
}

impl BundleEndpoint {
    /// `refresh_hint` where it is missing.
    pub const DEFAULT_REFRESH_HINT: Ttl = Ttl::from_minutes(5);
}

/// How the endpoint proves who it is (SPIFFE Federation §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleEndpointProfile {
    /// `https_spiffe`: by the server's own SVID.
    HttpsSpiffe,
    /// `https_web`: by a certificate of the Web PKI.
    HttpsWeb(WebCertificate),
}

/// Where the certificate of an `https_web` endpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebCertificate {
    /// `serving_cert_file`
    Files {
        /// `cert_file_path`: PEM, the leaf first.
        certificate: PathBuf,
        /// `key_file_path`: PEM.
        key: PathBuf,
        /// `file_sync_interval`: how often both are read again; zero takes an hour.
        sync_interval: Ttl,
    },
    /// `acme`
    Acme(AcmeConfig),
}

/// A certificate that an ACME authority issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// `directory_url`
    pub directory_url: String,
    /// `domain_name`
    pub domain_name: String,
    /// `email`, where the authority writes to; may be empty.
    pub email: String,
    /// `tos_accepted`: whether the operator accepts the authority's terms.
    pub tos_accepted: bool,
}

impl AcmeConfig {
    /// `directory_url` where it is missing.
    pub const DEFAULT_DIRECTORY_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";
}
