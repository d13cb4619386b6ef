//! The Workload API's socket, and `agent.sds`.

use std::path::{Path, PathBuf};

use spiffe_core::TrustDomain;
use spire_config::Block;

use super::{Overrides, absolute, text};
use crate::config::{DEFAULT_SOCKET_PATH, WorkloadApiConfig, WorkloadApiRateLimits};
use crate::endpoints::sds::SdsConfig;

/// What is known before the trust domain is.
pub(super) struct Decoded {
    pub(super) socket_path: PathBuf,
    enabled: bool,
    sds: Option<Sds>,
    allow_unauthenticated_verifiers: bool,
    allowed_foreign_jwt_claims: Vec<String>,
    log_selectors: Vec<String>,
    rate_limits: WorkloadApiRateLimits,
}

#[derive(Default)]
struct Sds {
    default_svid_name: Option<String>,
    default_bundle_name: Option<String>,
    default_all_bundles_name: Option<String>,
    disable_spiffe_cert_validation: bool,
}

pub(super) fn decode(agent: &Block<'_>, overrides: &Overrides, rate_limits: WorkloadApiRateLimits) -> Decoded {
    let switch = |key, flag: bool| agent.boolean(key).unwrap_or_default() || flag;
    let path = text(agent, "-socketPath", overrides.socket_path.as_deref(), "socket_path");
    let sds = agent.block("sds").map(|block| sds(&block)).unwrap_or_default();
    Decoded {
        socket_path: absolute(Path::new(path.as_deref().unwrap_or(DEFAULT_SOCKET_PATH))),
        enabled: !switch("disable_workload_api", overrides.disable_workload_api),
        sds: (!switch("disable_sds_api", overrides.disable_sds_api)).then_some(sds),
        allow_unauthenticated_verifiers: switch(
            "allow_unauthenticated_verifiers",
            overrides.allow_unauthenticated_verifiers,
        ),
        allowed_foreign_jwt_claims: agent.strings("allowed_foreign_jwt_claims"),
        log_selectors: agent.strings("log_selectors"),
        rate_limits,
    }
}

fn sds(block: &Block<'_>) -> Sds {
    let sds = Sds {
        default_svid_name: block.string("default_svid_name"),
        default_bundle_name: block.string("default_bundle_name"),
        default_all_bundles_name: block.string("default_all_bundles_name"),
        disable_spiffe_cert_validation: block.boolean("disable_spiffe_cert_validation").unwrap_or_default(),
    };
    if sds.default_bundle_name.is_some() && sds.default_bundle_name == sds.default_all_bundles_name {
        let message = "it is the default_bundle_name as well: the list of all bundles cannot be asked for";
        block.warning("default_all_bundles_name", message);
    }
    sds
}

impl Decoded {
    pub(super) fn of(self, trust_domain: &TrustDomain) -> WorkloadApiConfig {
        let sds = self.sds.map(|sds| {
            let defaults = SdsConfig::new(trust_domain.clone());
            SdsConfig {
                default_svid_name: sds.default_svid_name.unwrap_or(defaults.default_svid_name),
                default_bundle_name: sds.default_bundle_name.unwrap_or(defaults.default_bundle_name),
                default_all_bundles_name: sds.default_all_bundles_name.unwrap_or(defaults.default_all_bundles_name),
                disable_spiffe_cert_validation: sds.disable_spiffe_cert_validation,
                trust_domain: defaults.trust_domain,
            }
        });
        WorkloadApiConfig {
            socket_path: self.socket_path,
            enabled: self.enabled,
            sds,
            allow_unauthenticated_verifiers: self.allow_unauthenticated_verifiers,
            allowed_foreign_jwt_claims: self.allowed_foreign_jwt_claims,
            log_selectors: self.log_selectors,
            rate_limits: self.rate_limits,
        }
    }
}
