//! What is served to workloads.

use std::num::NonZeroU32;
use std::path::PathBuf;

use spiffe_core::TrustDomain;

use super::DEFAULT_SOCKET_PATH;
use crate::endpoints::sds::SdsConfig;

/// The Workload API and Envoy's secret discovery, on one socket.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadApiConfig {
    /// `socket_path`, absolute. The socket has mode 0777.
    pub socket_path: PathBuf,
    /// False with `disable_workload_api`.
    pub enabled: bool,
    /// `sds`; `None` with `disable_sds_api`.
    pub sds: Option<SdsConfig>,
    /// `allow_unauthenticated_verifiers`: whoever has no identity may fetch bundles and validate JWT-SVIDs.
    pub allow_unauthenticated_verifiers: bool,
    /// `allowed_foreign_jwt_claims`: those that are passed on from JWT-SVIDs of other trust domains.
    pub allowed_foreign_jwt_claims: Vec<String>,
    /// `log_selectors`: types of selectors that are logged when a workload has no identity.
    pub log_selectors: Vec<String>,
    /// `experimental.ratelimit`
    pub rate_limits: WorkloadApiRateLimits,
}

impl WorkloadApiConfig {
    /// SPIRE's defaults.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            socket_path: PathBuf::from(DEFAULT_SOCKET_PATH),
            enabled: true,
            sds: Some(SdsConfig::new(trust_domain.clone())),
            allow_unauthenticated_verifiers: false,
            allowed_foreign_jwt_claims: Vec::new(),
            log_selectors: Vec::new(),
            rate_limits: WorkloadApiRateLimits::default(),
        }
    }
}

/// How often a second workloads with the same selectors may open each call; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the RPCs")]
pub struct WorkloadApiRateLimits {
    pub fetch_x509_svid: Option<NonZeroU32>,
    pub fetch_jwt_svid: Option<NonZeroU32>,
    pub fetch_x509_bundles: Option<NonZeroU32>,
    pub fetch_jwt_bundles: Option<NonZeroU32>,
    pub stream_secrets: Option<NonZeroU32>,
    pub fetch_secrets: Option<NonZeroU32>,
}
