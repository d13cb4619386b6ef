//! `server.experimental`

use spire_ca::rotation::Publication;
use spire_config::Block;

use crate::config::CacheConfig;

#[derive(Default)]
pub(super) struct Experimental {
    pub(super) cache: CacheConfig,
    pub(super) agent_spiffe_id_as_selector: bool,
    pub(super) publication: Publication,
}

pub(super) fn decode(server: &Block<'_>) -> Experimental {
    let mut decoded = Experimental::default();
    let Some(block) = server.block("experimental") else { return decoded };
    if let Some(interval) = block.duration("cache_reload_interval") {
        decoded.cache.reload_interval = interval;
    }
    decoded.agent_spiffe_id_as_selector = block.boolean("agent_spiffe_id_as_selector").unwrap_or_default();
    if let Some(delay) = block.ttl("key_publication_delay") {
        decoded.publication.successor = delay;
    }
    if let Some(delay) = block.ttl("first_key_publication_delay") {
        decoded.publication.first = delay;
    }
    if block.has("sql_transaction_timeout") && block.has("event_timeout") {
        block.error("sql_transaction_timeout", "deprecated, and cannot be used together with event_timeout: remove it");
    }
    for key in ["full_cache_reload_interval", "prune_events_older_than", "event_timeout", "sql_transaction_timeout"] {
        if block.duration(key).is_some() {
            block.without_effect(key, "entries are followed by an ordered log, which has no gaps to wait for");
        }
    }
    if block.boolean("events_based_cache").is_some() {
        block.without_effect("events_based_cache", "entries are always followed change by change");
    }
    if block.boolean("require_pq_kem").unwrap_or_default() {
        block.unsupported("require_pq_kem");
    }
    for key in ["auth_opa_policy_engine", "wit_key_type", "wit_issuer"] {
        block.unsupported(key);
    }
    if block.string("named_pipe_name").is_some() {
        let advice = "named_pipe_name is not supported in this platform; please use socket_path instead";
        block.error("named_pipe_name", advice);
    }
    feature_flags(&block);
    decoded
}

fn feature_flags(block: &Block<'_>) {
    for flag in block.strings("feature_flags") {
        match flag.as_str() {
            "i_am_a_test_flag" => block.warning("feature_flags", "flag \"i_am_a_test_flag\" has no effect"),
            "wit-svid" => block.error("feature_flags", "WIT-SVIDs are not supported yet: remove \"wit-svid\""),
            unknown => block.error("feature_flags", format!("unknown feature flag(s): [{unknown}]")),
        }
    }
}
