//! What the agent does and how much it holds, by SPIRE's names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::Timestamp;
use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;
use spire_types::EntryId;

use crate::cache::{Revision, Synced};
use crate::manager::Manager;

const INTERVAL: Duration = Duration::from_secs(5);

/// Sets the gauges now and then, for as long as anybody reads them.
pub(crate) async fn report_counts(metrics: Metrics, manager: Manager, clock: Arc<dyn Clock>) {
    while metrics.is_enabled() {
        let counts = manager.counts();
        metrics.gauge(&["lru_cache_record_map_size"], &[], size(manager.with_cache(|cache| cache.entry_count())));
        metrics.gauge(&["lru_cache_svid_map_size"], &[], size(counts.x509_svids));
        metrics.gauge(&["jwt_svid_cache_size"], &[], size(counts.jwt_svids));
        clock.sleep(INTERVAL).await;
    }
}

pub(crate) fn size(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

const BOOTSTRAP: [(&str, &str); 1] = [("mode", "bootstrap")];

/// The agent has no SVID yet.
pub(crate) fn begin_bootstrap(metrics: &Metrics, now: Timestamp) {
    metrics.gauge(&["bootstrapped"], &[], 0.0);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    metrics.gauge(&["bootstrap_seconds"], &BOOTSTRAP, now.as_unix() as f64);
}

/// So often it was tried to get one.
pub(crate) fn count_attempts(metrics: &Metrics, attempts: u32) {
    metrics.gauge(&["bootstrap_attempts"], &BOOTSTRAP, f64::from(attempts));
}

/// The agent has one.
pub(crate) fn end_bootstrap(metrics: &Metrics) {
    metrics.gauge(&["bootstrapped"], &[], 1.0);
}

/// What a sync brings, beside what was known.
pub(crate) fn count_synced(metrics: &Metrics, known: &BTreeMap<EntryId, Revision>, synced: &Synced) {
    let (mut missing, mut stale) = (0, 0);
    for id in synced.entries.iter().filter_map(|entry| entry.id.as_ref()) {
        if known.contains_key(id) { stale += 1 } else { missing += 1 }
    }
    let dropped = known.keys().filter(|id| !synced.present.contains(id)).count();
    metrics.gauge(&["sync_bundles_total"], &[], size(synced.bundles.len()));
    metrics.gauge(&["sync_entries_total"], &[], size(synced.present.len()));
    for (gauge, counter, count) in [
        ("sync_entries_missing", "lru_cache_entry_add", missing),
        ("sync_entries_stale", "lru_cache_entry_update", stale),
        ("sync_entries_dropped", "lru_cache_entry_remove", dropped),
    ] {
        metrics.gauge(&[gauge], &[], size(count));
        metrics.add(&[counter], &[], count as u64);
    }
}
