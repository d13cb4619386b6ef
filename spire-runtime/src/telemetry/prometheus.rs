//! The listener that Prometheus asks: every path has the metrics.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Metrics, PrometheusConfig, TelemetryConfig};
use crate::clock::Clock;
use crate::http_endpoint::{self, Answer};
use crate::tasks::Tasks;

/// How often a process says how long it has been running.
const UPTIME_INTERVAL: Duration = Duration::from_secs(10);

/// Opens the listener that `config` asks for, and says in its metrics that the process has started. Where it asks for
/// none, nobody counts anything.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub async fn start(
    config: &TelemetryConfig,
    version: &str,
    trust_domain: &str,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> io::Result<Metrics> {
    let Some(prometheus) = &config.prometheus else { return Ok(Metrics::disabled()) };
    let listener = PrometheusListener::bind(prometheus).await?;
    // What this machine calls itself; without a name there is no label.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let metrics = Metrics::new(config, host.trim(), trust_domain);
    metrics.gauge(&["started"], &[("version", version), ("trust_domain_id", trust_domain)], 1.0);
    let (served, shutdown) = (metrics.clone(), tasks.shutdown_token());
    tasks.spawn("metrics", async move {
        listener.serve(served, shutdown).await;
        Ok::<(), io::Error>(())
    });
    tasks.spawn_until_shutdown(report_uptime(metrics.clone(), clock));
    Ok(metrics)
}

async fn report_uptime(metrics: Metrics, clock: Arc<dyn Clock>) {
    let started = clock.now();
    loop {
        let uptime = Duration::from(clock.now().since(started));
        metrics.gauge(&["uptime_in_ms"], &[], uptime.as_secs_f64() * 1000.0);
        clock.sleep(UPTIME_INTERVAL).await;
    }
}

/// A listener that is open, and not answered yet.
#[derive(Debug)]
pub struct PrometheusListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl PrometheusListener {
    /// Opens it.
    ///
    /// # Errors
    /// When the address is taken, or not this machine's.
    pub async fn bind(config: &PrometheusConfig) -> io::Result<Self> {
        let (listener, address) = http_endpoint::bind(&config.host, config.port).await?;
        Ok(Self { listener, address })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with what `metrics` hold, until `shutdown`.
    pub async fn serve(self, metrics: Metrics, shutdown: CancellationToken) {
        tracing::info!(address = %self.address, "Serving metrics for Prometheus");
        let answer = move |_: &str| Answer {
            status: StatusCode::OK,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics.exposition(),
        };
        http_endpoint::serve(self.listener, answer, shutdown).await;
    }
}
