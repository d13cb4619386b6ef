//! Logs, health checks and telemetry as server and agent find them in their configuration files.

use std::path::PathBuf;

use spire_config::Block;

use crate::health::HealthConfig;
use crate::log::{LogConfig, LogFormat, LogLevel};
use crate::telemetry::{PrometheusConfig, TelemetryConfig};

/// What the command line says of logs; `None` and empty texts say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    /// `-logLevel`
    pub level: Option<String>,
    /// `-logFormat`
    pub format: Option<String>,
    /// `-logFile`
    pub file: Option<String>,
    /// `-logSourceLocation`
    pub source_location: bool,
}

/// Logs, from the block `server` or `agent`.
pub fn log(block: &Block<'_>, flags: &LogFlags) -> LogConfig {
    let defaults = LogConfig::default();
    let format = |text: &str| match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it must be text or json"),
    };
    let file =
        block.flag_or("-logFile", flags.file.as_deref(), "log_file", |text| Ok::<_, String>(PathBuf::from(text)));
    LogConfig {
        level: block
            .flag_or("-logLevel", flags.level.as_deref(), "log_level", str::parse::<LogLevel>)
            .unwrap_or(defaults.level),
        format: block.flag_or("-logFormat", flags.format.as_deref(), "log_format", format).unwrap_or(defaults.format),
        file,
        source_location: block.boolean("log_source_location").unwrap_or_default() || flags.source_location,
    }
}

/// `health_checks`, at the top of the file.
pub fn health(root: &Block<'_>) -> Option<HealthConfig> {
    let block = root.block("health_checks")?;
    let defaults = HealthConfig::default();
    let path = |key| {
        block.parsed(key, |path| if path.starts_with('/') { Ok(path.to_owned()) } else { Err("it must begin with /") })
    };
    let config = HealthConfig {
        bind_address: block.string("bind_address").unwrap_or(defaults.bind_address),
        bind_port: block.number("bind_port").unwrap_or(defaults.bind_port),
        live_path: path("live_path").unwrap_or(defaults.live_path),
        ready_path: path("ready_path").unwrap_or(defaults.ready_path),
    };
    if config.live_path == config.ready_path {
        block.error("ready_path", "must not be the live_path");
    }
    block.boolean("listener_enabled").unwrap_or_default().then_some(config)
}

/// `telemetry`, at the top of the file.
pub fn telemetry(root: &Block<'_>, service: &str) -> TelemetryConfig {
    let defaults = TelemetryConfig::new(service);
    let Some(block) = root.block("telemetry") else { return defaults };
    for sink in ["DogStatsd", "Statsd", "M3", "InMem"] {
        block.unsupported(sink);
    }
    TelemetryConfig {
        prometheus: block.block("Prometheus").map(|block| prometheus(&block)),
        prefix: block.string("MetricPrefix").unwrap_or(defaults.prefix),
        trust_domain_label: block.boolean("EnableTrustDomainLabel").unwrap_or(defaults.trust_domain_label),
        hostname_label: block.boolean("EnableHostnameLabel").unwrap_or(defaults.hostname_label),
        allowed_prefixes: block.strings("AllowedPrefixes"),
        blocked_prefixes: block.strings("BlockedPrefixes"),
        allowed_labels: block.strings("AllowedLabels"),
        blocked_labels: block.strings("BlockedLabels"),
    }
}

fn prometheus(block: &Block<'_>) -> PrometheusConfig {
    block.unsupported("tls");
    let host = block.string("host").unwrap_or_else(|| "localhost".to_owned());
    if !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        block.warning("host", "metrics are served in plain text to whoever reaches this address");
    }
    if !block.has("port") {
        block.error("port", "port must be configured");
    }
    PrometheusConfig { host, port: block.number("port").unwrap_or_default() }
}
