//! Counters, gauges and samples by SPIRE's names.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::TelemetryConfig;

/// How many combinations of names and labels are kept; what comes after is not counted.
const MAX_SERIES: usize = 10_000;
/// Quantiles are of this many samples, the latest.
const WINDOW: usize = 500;
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// Where parts of a process count what they do. Clones share it; one that nobody reads costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Arc<Registry>>);

#[derive(Debug)]
struct Registry {
    config: TelemetryConfig,
    /// Those of every series.
    labels: Vec<(&'static str, String)>,
    families: Mutex<Families>,
}

#[derive(Debug, Default)]
struct Families {
    by_name: BTreeMap<String, BTreeMap<String, Series>>,
    series: usize,
}

#[derive(Debug)]
enum Series {
    Counter(u64),
    Gauge(f64),
    Samples { count: u64, sum: f64, latest: VecDeque<f64> },
}

impl Metrics {
    /// Nobody reads them.
    #[must_use]
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Read where `config` says so. `host` and `trust_domain` become labels where it says that.
    #[must_use]
    pub fn new(config: &TelemetryConfig, host: &str, trust_domain: &str) -> Self {
        if config.prometheus.is_none() {
            return Self::disabled();
        }
        let mut labels = Vec::new();
        if config.hostname_label && !host.is_empty() {
            labels.push(("host", host.to_owned()));
        }
        if config.trust_domain_label {
            labels.push(("trust_domain", trust_domain.to_owned()));
        }
        Self(Some(Arc::new(Registry { config: config.clone(), labels, families: Mutex::default() })))
    }

    /// Whether anybody reads them.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Adds one to a counter. The key's parts are what SPIRE joins by dots.
    pub fn count(&self, key: &[&str], labels: &[(&str, &str)]) {
        self.add(key, labels, 1);
    }

    /// Adds to a counter.
    pub fn add(&self, key: &[&str], labels: &[(&str, &str)], more: u64) {
        self.change(
            key,
            labels,
            || Series::Counter(0),
            |series| {
                if let Series::Counter(count) = series {
                    *count += more;
                }
            },
        );
    }

    /// Sets a gauge.
    pub fn gauge(&self, key: &[&str], labels: &[(&str, &str)], value: f64) {
        self.change(key, labels, || Series::Gauge(value), |series| *series = Series::Gauge(value));
    }

    /// Adds a sample.
    pub fn sample(&self, key: &[&str], labels: &[(&str, &str)], value: f64) {
        let empty = || Series::Samples { count: 0, sum: 0.0, latest: VecDeque::new() };
        self.change(key, labels, empty, |series| {
            if let Series::Samples { count, sum, latest } = series {
                *count += 1;
                *sum += value;
                latest.truncate(WINDOW - 1);
                latest.push_front(value);
            }
        });
    }

    /// Counts a call and how long it took, under the status that it ended with.
    pub fn call(&self, key: &[&str], labels: &[(&str, &str)], status: &str, elapsed: Duration) {
        if self.0.is_none() {
            return;
        }
        let labels = [labels, &[("status", status)]].concat();
        self.count(key, &labels);
        self.sample(&[key, &["elapsed_time"]].concat(), &labels, elapsed.as_secs_f64() * 1000.0);
    }

    /// Counts an attempt and how long it took; `name` says how gRPC calls its failure.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn timed<T, E>(
        &self,
        key: &[&str],
        labels: &[(&str, &str)],
        name: impl FnOnce(&E) -> &'static str,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.0.is_none() {
            return attempt.await;
        }
        let began = Instant::now();
        let outcome = attempt.await;
        self.call(key, labels, outcome.as_ref().err().map_or("OK", name), began.elapsed());
        outcome
    }

    /// [`Self::timed`] of so many attempts that are made together: each takes as long as all of them.
    ///
    /// # Errors
    /// What all of them failed by.
    pub async fn timed_together<T, E>(
        &self,
        key: &[&str],
        labels: &[(&str, &str)],
        name: impl Fn(&E) -> &'static str,
        attempts: usize,
        together: impl Future<Output = Result<Vec<Result<T, E>>, E>>,
    ) -> Result<Vec<Result<T, E>>, E> {
        if self.0.is_none() {
            return together.await;
        }
        let began = Instant::now();
        let outcomes = together.await;
        let elapsed = began.elapsed();
        match &outcomes {
            Ok(outcomes) => {
                for outcome in outcomes {
                    self.call(key, labels, outcome.as_ref().err().map_or("OK", &name), elapsed);
                }
            }
            Err(err) => (0..attempts).for_each(|_| self.call(key, labels, name(err), elapsed)),
        }
        outcomes
    }

    /// All of them as Prometheus reads them.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        let Some(registry) = &self.0 else { return text };
        let families = registry.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in &families.by_name {
            let kind = match series.values().next() {
                Some(Series::Counter(_)) => "counter",
                Some(Series::Gauge(_)) => "gauge",
                _ => "summary",
            };
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} {kind}");
            for (labels, series) in series {
                write_series(&mut text, name, labels, series);
            }
        }
        text
    }

    fn change(
        &self,
        key: &[&str],
        labels: &[(&str, &str)],
        first: impl FnOnce() -> Series,
        change: impl FnOnce(&mut Series),
    ) {
        let Some(registry) = &self.0 else { return };
        if !registry.keeps(key) {
            return;
        }
        let name = sanitized(&[&[registry.config.prefix.as_str()], key].concat().join("_"));
        let labels = registry.written(labels);
        let mut families = registry.families.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = families.by_name.get(&name).is_none_or(|series| !series.contains_key(&labels));
        if is_new {
            if families.series >= MAX_SERIES {
                return;
            }
            families.series += 1;
        }
        change(families.by_name.entry(name).or_default().entry(labels).or_insert_with(first));
    }
}

impl Registry {
    /// The longest prefix that is allowed or blocked decides; without one, the metric is kept.
    fn keeps(&self, key: &[&str]) -> bool {
        let longest = |prefixes: &[String]| {
            let key = [&[self.config.prefix.as_str()], key].concat().join(".");
            prefixes.iter().filter(|prefix| key.starts_with(prefix.as_str())).map(String::len).max()
        };
        match (longest(&self.config.allowed_prefixes), longest(&self.config.blocked_prefixes)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(allowed), Some(blocked)) => allowed > blocked,
        }
    }

    /// Labels as they stand in braces.
    fn written(&self, labels: &[(&str, &str)]) -> String {
        let config = &self.config;
        let kept = |name: &str| {
            (config.allowed_labels.is_empty() || config.allowed_labels.iter().any(|allowed| allowed == name))
                && !config.blocked_labels.iter().any(|blocked| blocked == name)
        };
        let own = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let all: BTreeMap<&str, &str> = own.chain(labels.iter().copied()).filter(|(name, _)| kept(name)).collect();
        let written: Vec<_> =
            all.iter().map(|(name, value)| format!("{}=\"{}\"", sanitized(name), sanitized(value))).collect();
        written.join(",")
    }
}

fn write_series(text: &mut String, name: &str, labels: &str, series: &Series) {
    let braced = |more: &str| match (labels, more) {
        ("", "") => String::new(),
        ("", only) | (only, "") => format!("{{{only}}}"),
        (labels, more) => format!("{{{labels},{more}}}"),
    };
    let plain = braced("");
    let _ = match series {
        Series::Counter(count) => writeln!(text, "{name}{plain} {count}"),
        Series::Gauge(value) => writeln!(text, "{name}{plain} {value}"),
        Series::Samples { count, sum, latest } => {
            let mut sorted: Vec<f64> = latest.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            for (quantile, label) in QUANTILES {
                let value = at(&sorted, quantile);
                let _ = writeln!(text, "{name}{} {value}", braced(&format!("quantile=\"{label}\"")));
            }
            writeln!(text, "{name}_sum{plain} {sum}\n{name}_count{plain} {count}")
        }
    };
}

/// The value at a quantile of what is sorted.
fn at(sorted: &[f64], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 500"
    )]
    let index = (last as f64 * quantile).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// With an underscore in place of each run of characters that are none of a word, and of an underscore after it.
fn sanitized(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut in_run = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || (c == '_' && !in_run) {
            clean.push(c);
            in_run = false;
        } else if !in_run {
            clean.push('_');
            in_run = true;
        } else if c == '_' {
            in_run = false;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::super::PrometheusConfig;
    use super::*;

    fn config() -> TelemetryConfig {
        let prometheus = Some(PrometheusConfig { host: "localhost".into(), port: 1 });
        TelemetryConfig { prometheus, ..TelemetryConfig::new("spire_server") }
    }

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::new(&config(), "a-host", "example.org");
        for milliseconds in 1..=4 {
            metrics.call(&["rpc", "agent", "attest_agent"], &[], "OK", Duration::from_millis(milliseconds));
        }
        metrics.gauge(&["started"], &[("version", "1.2"), ("trust_domain_id", "example.org")], 1.0);
        let expected = "\
# HELP spire_server_rpc_agent_attest_agent spire_server_rpc_agent_attest_agent
# TYPE spire_server_rpc_agent_attest_agent counter
spire_server_rpc_agent_attest_agent{host=\"a_host\",status=\"OK\"} 4
# HELP spire_server_rpc_agent_attest_agent_elapsed_time spire_server_rpc_agent_attest_agent_elapsed_time
# TYPE spire_server_rpc_agent_attest_agent_elapsed_time summary
spire_server_rpc_agent_attest_agent_elapsed_time{host=\"a_host\",status=\"OK\",quantile=\"0.5\"} 3
spire_server_rpc_agent_attest_agent_elapsed_time{host=\"a_host\",status=\"OK\",quantile=\"0.9\"} 4
spire_server_rpc_agent_attest_agent_elapsed_time{host=\"a_host\",status=\"OK\",quantile=\"0.99\"} 4
spire_server_rpc_agent_attest_agent_elapsed_time_sum{host=\"a_host\",status=\"OK\"} 10
spire_server_rpc_agent_attest_agent_elapsed_time_count{host=\"a_host\",status=\"OK\"} 4
# HELP spire_server_started spire_server_started
# TYPE spire_server_started gauge
spire_server_started{host=\"a_host\",trust_domain_id=\"example_org\",version=\"1_2\"} 1
";
        assert_eq!(metrics.exposition(), expected);
    }

    #[test]
    fn prefixes_and_labels_are_filtered() {
        let config = TelemetryConfig {
            hostname_label: false,
            blocked_prefixes: vec!["spire_server.rpc".into()],
            allowed_prefixes: vec!["spire_server.rpc.agent".into()],
            blocked_labels: vec!["status".into()],
            ..config()
        };
        let metrics = Metrics::new(&config, "h", "td");
        metrics.count(&["rpc", "entry"], &[]);
        metrics.count(&["rpc", "agent"], &[("status", "OK"), ("attestor", "x")]);
        metrics.count(&["other"], &[]);
        let lines: Vec<String> =
            metrics.exposition().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        assert_eq!(lines, ["spire_server_other 1", "spire_server_rpc_agent{attestor=\"x\"} 1"]);
    }

    #[test]
    fn series_have_an_end_and_disabled_metrics_are_none() {
        let metrics = Metrics::new(&config(), "", "td");
        for number in 0..=MAX_SERIES {
            metrics.count(&["a"], &[("number", &number.to_string())]);
        }
        assert_eq!(metrics.exposition().lines().filter(|line| !line.starts_with('#')).count(), MAX_SERIES);
        let disabled = Metrics::disabled();
        disabled.count(&["a"], &[]);
        assert_eq!(disabled.exposition(), "");
    }
}
