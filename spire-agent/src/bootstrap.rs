//! Whom the agent trusts before it has a bundle of its own, and when it begins anew.

use std::sync::Arc;

use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, Timestamp, TrustDomain, Ttl, X509Authority};
use spire_runtime::Clock;

use crate::config::{Bootstrap, BundleFormat, Rebootstrap, RebootstrapMode};
use crate::error::Error;
use crate::storage::Storage;

mod http;

/// What the server is verified with the first time.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// These roots.
    Bundle(Bundle),
    /// Nothing.
    Nobody,
}

/// Asks the configured source.
///
/// # Errors
/// [`Error::Bootstrap`]
pub(crate) async fn first_bundle(
    source: &Bootstrap,
    trust_domain: &TrustDomain,
    clock: Arc<dyn Clock>,
) -> Result<Trust, Error> {
    let bundle = match source {
        Bootstrap::Insecure => return Ok(Trust::Nobody),
        Bootstrap::File { path, format } => {
            let text = tokio::fs::read(path).await;
            let text = text.map_err(|err| Error::Bootstrap(format!("could not read {path:?}: {err}")))?;
            parse(&text, *format, trust_domain)
                .map_err(|reason| format!("could not parse trust bundle {path:?}: {reason}"))
        }
        Bootstrap::Url { url, format, unix_socket } => {
            let text = http::get(url, unix_socket.as_deref(), clock).await.map_err(Error::Bootstrap)?;
            parse(&text, *format, trust_domain)
                .map_err(|reason| format!("could not parse trust bundle of {url}: {reason}"))
        }
        Bootstrap::WorkloadApi { address } => from_workload_api(address, trust_domain).await,
    };
    bundle.map(Trust::Bundle).map_err(Error::Bootstrap)
}

/// Only the roots count: the real bundle comes from the server.
fn parse(text: &[u8], format: BundleFormat, trust_domain: &TrustDomain) -> Result<Bundle, String> {
    let roots = match format {
        BundleFormat::Pem => {
            let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
            Certificate::from_pem_many(text).map_err(|err| err.to_string())?
        }
        BundleFormat::Spiffe => {
            let bundle = Bundle::from_document(trust_domain.clone(), text).map_err(|err| err.to_string())?;
            bundle.x509_roots().cloned().collect()
        }
    };
    if roots.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(of_roots(trust_domain, roots))
}

/// A bundle of roots.
pub(crate) fn of_roots(trust_domain: &TrustDomain, roots: Vec<Certificate>) -> Bundle {
    let authority = |certificate| X509Authority { certificate, tainted: false };
    Bundle { x509_authorities: roots.into_iter().map(authority).collect(), ..Bundle::new(trust_domain.clone()) }
}

async fn from_workload_api(address: &str, trust_domain: &TrustDomain) -> Result<Bundle, String> {
    let failed = |reason: String| format!("could not fetch bundles from the Workload API at {address}: {reason}");
    let parsed = address.parse::<workload_api::Address>().map_err(|err| failed(err.to_string()))?;
    let client = workload_api::Client::new(parsed);
    let bundles = tokio::time::timeout(std::time::Duration::from_secs(60), client.fetch_x509_bundles()).await;
    let bundles =
        bundles.map_err(|_| failed("no answer within a minute".into()))?.map_err(|err| failed(err.to_string()))?;
    let own = bundles.get(trust_domain).ok_or_else(|| failed(format!("it has none of {trust_domain}")))?;
    Ok(of_roots(trust_domain, own.x509_roots().cloned().collect()))
}

/// Watches whether the server is still trusted, and lets go of what the agent knows where it is not for long.
#[derive(Debug)]
pub(crate) struct Distrust {
    rebootstrap: Rebootstrap,
    storage: Storage,
    clock: Arc<dyn Clock>,
    since: Option<Timestamp>,
}

impl Distrust {
    pub(crate) fn new(rebootstrap: Rebootstrap, storage: Storage, clock: Arc<dyn Clock>) -> Self {
        Self { rebootstrap, storage, clock, since: None }
    }

    /// Whether the agent goes on trying for longer than a minute when it starts.
    pub(crate) fn is_patient(&self) -> bool {
        self.rebootstrap.mode != RebootstrapMode::Never
    }

    /// Looks at whether the agent could begin anew, once it is known whether it may attest again.
    ///
    /// # Errors
    /// [`Error::RebootstrapNotAllowed`] where it could not, and has to.
    pub(crate) fn check(&mut self, reattestable: bool) -> Result<(), Error> {
        match self.rebootstrap.mode {
            RebootstrapMode::Always if !reattestable => Err(Error::RebootstrapNotAllowed),
            RebootstrapMode::Auto if !reattestable => {
                tracing::warn!("rebootstrap support is off: the agent may not attest again");
                self.rebootstrap.mode = RebootstrapMode::Never;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes note of a failure.
    ///
    /// # Errors
    /// [`Error::Rebootstrap`] where the server has been distrusted for as long as was configured: the agent has
    /// forgotten its SVID and bundle then.
    pub(crate) async fn observe(&mut self, err: &Error) -> Result<(), Error> {
        if !err.is_distrust() || self.rebootstrap.mode == RebootstrapMode::Never {
            return Ok(());
        }
        let now = self.clock.now();
        let since = *self.since.get_or_insert(now);
        let left = (since + Ttl::from(self.rebootstrap.delay)).since(now);
        if left > Ttl::from_secs(0) {
            tracing::warn!(%err, time_left = %left, "Trust Bundle and Server dont agree.... Ignoring for now.");
            return Ok(());
        }
        tracing::warn!(%err, "Trust Bundle and Server dont agree.... rebootstrapping");
        let started = now.to_string();
        self.storage
            .update(|data| {
                data.svid = None;
                data.bundle = None;
                data.bootstrap_use = 2;
                data.bootstrap_start_time = started;
                data.connection_attempts = 0;
            })
            .await?;
        Err(Error::Rebootstrap)
    }

    /// The server is trusted.
    ///
    /// # Errors
    /// [`Error::Storage`]
    pub(crate) async fn over(&mut self) -> Result<(), Error> {
        self.since = None;
        let fresh = crate::storage::AgentData::default();
        self.storage
            .update(|data| {
                data.bootstrap_use = 2;
                data.bootstrap_start_time = fresh.bootstrap_start_time;
                data.connection_attempts = 0;
            })
            .await
    }
}
