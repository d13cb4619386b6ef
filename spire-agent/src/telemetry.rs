//! How much the agent holds, as gauges.

use std::sync::Arc;
use std::time::Duration;

use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;

use crate::manager::Manager;

const INTERVAL: Duration = Duration::from_secs(5);

/// Sets the gauges now and then, for as long as anybody reads them.
pub(crate) async fn report_counts(metrics: Metrics, manager: Manager, clock: Arc<dyn Clock>) {
    while metrics.is_enabled() {
        let counts = manager.counts();
        let size = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics.gauge(&["lru_cache_svid_map_size"], &[], size(counts.x509_svids));
        metrics.gauge(&["jwt_svid_cache_size"], &[], size(counts.jwt_svids));
        clock.sleep(INTERVAL).await;
    }
}
