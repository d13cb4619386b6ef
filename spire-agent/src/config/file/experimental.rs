//! `agent.experimental`

use std::num::NonZeroU32;
use std::time::Duration;

use spire_config::Block;

use crate::config::{Config, WorkloadApiRateLimits};

pub(super) struct Experimental {
    pub(super) sync_interval: Duration,
    pub(super) jwt_svid_cache_hit_timeout: Duration,
    pub(super) rate_limits: WorkloadApiRateLimits,
}

pub(super) fn decode(agent: &Block<'_>) -> Experimental {
    let mut decoded = Experimental {
        sync_interval: Config::DEFAULT_SYNC_INTERVAL,
        jwt_svid_cache_hit_timeout: Config::DEFAULT_JWT_CACHE_HIT_TIMEOUT,
        rate_limits: WorkloadApiRateLimits::default(),
    };
    let Some(block) = agent.block("experimental") else { return decoded };
    if let Some(interval) = block.duration("sync_interval") {
        if interval.is_zero() {
            block.error("sync_interval", "must be longer than zero");
        }
        decoded.sync_interval = interval;
    }
    if let Some(timeout) = block.duration("jwt_svid_cache_hit_timeout") {
        if !(Duration::from_secs(5)..Config::DEFAULT_JWT_CACHE_HIT_TIMEOUT).contains(&timeout) {
            block.error("jwt_svid_cache_hit_timeout", "must be at least 5s and less than 30s");
        }
        decoded.jwt_svid_cache_hit_timeout = timeout;
    }
    if let Some(limits) = block.block("ratelimit") {
        decoded.rate_limits = rate_limits(&limits);
    }
    if block.boolean("use_sync_authorized_entries").is_some() {
        let reason = "deprecated; what the server can do decides how entries are fetched";
        block.without_effect("use_sync_authorized_entries", reason);
    }
    if block.boolean("require_pq_kem").unwrap_or_default() {
        block.unsupported("require_pq_kem");
    }
    if let Some(broker) = block.block("broker") {
        broker.disregard();
        block.unsupported("broker");
    }
    for (key, instead) in [("named_pipe_name", "socket_path"), ("admin_named_pipe_name", "admin_socket_path")] {
        if block.string(key).is_some() {
            block.error(key, format!("{key} is not supported in this platform; please use {instead} instead"));
        }
    }
    for flag in block.strings("feature_flags") {
        match flag.as_str() {
            "i_am_a_test_flag" => block.warning("feature_flags", "flag \"i_am_a_test_flag\" has no effect"),
            "wit-svid" => block.error("feature_flags", "WIT-SVIDs are not supported yet: remove \"wit-svid\""),
            unknown => block.error("feature_flags", format!("unknown feature flag(s): [{unknown}]")),
        }
    }
    decoded
}

fn rate_limits(block: &Block<'_>) -> WorkloadApiRateLimits {
    let limit = |key| {
        let limit = block.integer(key)?;
        if limit < 0 {
            block.error(key, format!("experimental.ratelimit.{key} must not be negative"));
        }
        NonZeroU32::new(u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
    };
    WorkloadApiRateLimits {
        fetch_x509_svid: limit("fetch_x509_svid"),
        fetch_jwt_svid: limit("fetch_jwt_svid"),
        fetch_x509_bundles: limit("fetch_x509_bundles"),
        fetch_jwt_bundles: limit("fetch_jwt_bundles"),
        stream_secrets: limit("stream_secrets"),
        fetch_secrets: limit("fetch_secrets"),
    }
}
