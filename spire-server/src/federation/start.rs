//! Starts what a configuration asks of federation: the driver, and the endpoint that serves the own bundle.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rand_core::{OsRng, RngCore, TryRngCore as _};
use spiffe_core::tls::{Settings, TlsSource};
use spire_federation::fetch::Fetcher;
use spire_federation::serve::acme::{self, AcmeCertificate, AcmeSettings};
use spire_federation::serve::{self, ServingCertificate, https_spiffe, https_web};
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Clock, Tasks};
use spire_types::FederationRelationship;
use tokio::net::TcpListener;

use super::{Federation, FederationHandle, StoredFederation, StoredOwnBundle};
use crate::config::{AcmeConfig, BundleEndpoint, BundleEndpointProfile, WebCertificate};
use crate::error::Error;

/// Keeps the bundles of the relationships `configured` and of those in `store` fresh, from a task of its own, and
/// counts fetches in `metrics`.
pub(crate) fn start_driver(
    configured: Vec<FederationRelationship>,
    store: StoredFederation,
    settings: &Settings,
    clock: Arc<dyn Clock>,
    rng: Box<dyn RngCore + Send>,
    metrics: Metrics,
    tasks: &Tasks,
) -> FederationHandle {
    let fetcher = Fetcher::new(Arc::clone(&settings.provider), Arc::clone(&settings.time));
    let (driver, handle) = Federation::new(configured, Arc::new(store), fetcher, clock, rng);
    let shutdown = tasks.shutdown_token();
    tasks.spawn("federation", async move {
        driver.with_metrics(metrics).run(shutdown).await;
        Ok::<(), Infallible>(())
    });
    handle
}

/// Serves `bundle` as `config` says, from a task of its own; `server` shows the server's SVID, certificates by ACME are
/// kept under `data_dir`. Returns the address.
///
/// # Errors
/// [`Error::Bind`], [`Error::BundleEndpoint`].
pub(crate) async fn start_endpoint<S>(
    config: &BundleEndpoint,
    bundle: Arc<StoredOwnBundle>,
    server: S,
    settings: &Settings,
    clock: Arc<dyn Clock>,
    data_dir: &Path,
    tasks: &Tasks,
) -> Result<SocketAddr, Error>
where
    S: TlsSource + Clone + 'static,
{
    let bind = |source| Error::Bind { address: config.address.to_string(), source };
    let listener = TcpListener::bind(config.address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let tls = match &config.profile {
        BundleEndpointProfile::HttpsSpiffe => https_spiffe::server_config(server, settings)?,
        BundleEndpointProfile::HttpsWeb(WebCertificate::Files { certificate, key, sync_interval }) => {
            let served = ServingCertificate::load(certificate, key, Arc::clone(&settings.provider)).await?;
            let (followed, interval, shutdown) = (served.clone(), *sync_interval, tasks.shutdown_token());
            tasks.spawn_until_shutdown(async move { followed.follow(interval, clock, shutdown).await });
            https_web::server_config(Arc::new(served), settings)?
        }
        BundleEndpointProfile::HttpsWeb(WebCertificate::Acme(acme)) => {
            let client = Fetcher::new(Arc::clone(&settings.provider), Arc::clone(&settings.time));
            let provider = Arc::clone(&settings.provider);
            let (certificate, renewal) = AcmeCertificate::open(acme_settings(acme, data_dir), client, provider).await;
            let (ordering, shutdown) = (certificate.clone(), tasks.shutdown_token());
            tasks.spawn_until_shutdown(async move {
                ordering.follow(renewal, clock, &mut OsRng.unwrap_err(), shutdown).await;
            });
            acme::server_config(&certificate, settings)?
        }
    };
    let endpoint = serve::BundleEndpoint::new(bundle, tls, config.refresh_hint);
    let shutdown = tasks.shutdown_token();
    tasks.spawn("bundle endpoint", async move {
        endpoint.serve(listener, shutdown).await;
        Ok::<(), Infallible>(())
    });
    tracing::info!(addr = %address, refresh_hint = %config.refresh_hint, "Serving bundle endpoint");
    Ok(address)
}

fn acme_settings(config: &AcmeConfig, data_dir: &Path) -> AcmeSettings {
    AcmeSettings {
        directory_url: config.directory_url.clone(),
        domain_name: config.domain_name.clone(),
        email: config.email.clone(),
        tos_accepted: config.tos_accepted,
        cache_dir: data_dir.join("bundle-acme"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::tls::{Live, TlsIdentity};
    use spiffe_core::{BundleSet, TrustDomain, Ttl};
    use spire_datastore::{Bundles as _, SqliteStore};
    use spire_runtime::{SystemClock, rustls_time};
    use spire_types::EndpointProfile;

    use super::*;
    use crate::entries::EntryCache;

    /// A server's side of federation, from a configuration.
    async fn endpoint(profile: BundleEndpointProfile, tasks: &Tasks) -> Result<(TestAuthority, SocketAddr), Error> {
        let authority = TestAuthority::new("other.org");
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        datastore.set_bundle(authority.bundle()).await.unwrap();
        let own = Arc::new(StoredOwnBundle::new(datastore, authority.trust_domain().clone()));
        let identity = TlsIdentity::from(&*authority.svid("/spire/server"));
        let server = Live::new(Some(identity), BundleSet::default());
        let config =
            BundleEndpoint { address: ([127, 0, 0, 1], 0).into(), refresh_hint: Ttl::from_minutes(2), profile };
        let clock = Arc::new(SystemClock);
        let address =
            start_endpoint(&config, own, server, &settings(), clock, Path::new("/nonexistent"), tasks).await?;
        Ok((authority, address))
    }

    fn settings() -> Settings {
        Settings::new(Arc::new(rustls::crypto::ring::default_provider()), rustls_time(Arc::new(SystemClock)))
    }

    #[tokio::test]
    async fn a_configured_relationship_is_fetched_from_a_configured_endpoint() {
        let tasks = Tasks::new();
        let (other, address) = endpoint(BundleEndpointProfile::HttpsSpiffe, &tasks).await.unwrap();
        let here = Arc::new(SqliteStore::in_memory().await.unwrap());
        here.set_bundle(other.bundle()).await.unwrap();
        let relationship = FederationRelationship {
            trust_domain: other.trust_domain().clone(),
            bundle_endpoint_url: format!("https://{address}/"),
            profile: EndpointProfile::HttpsSpiffe { endpoint_id: other.trust_domain().join("/spire/server").unwrap() },
        };
        let rng = Box::new(ChaCha8Rng::seed_from_u64(1));
        let clock = Arc::new(SystemClock);
        let metrics = Metrics::disabled();
        let cache = EntryCache::load(here.clone(), TrustDomain::parse("near.example").unwrap()).await.unwrap();
        let store = StoredFederation::new(here.clone(), Arc::new(cache));
        let handle = start_driver(vec![relationship], store, &settings(), clock, rng, metrics, &tasks);
        handle.refresh(other.trust_domain()).await.unwrap();
        let fetched = here.fetch_bundle(&TrustDomain::parse("other.org").unwrap()).await.unwrap().unwrap();
        assert_eq!(fetched.refresh_hint, Some(Ttl::from_minutes(2)));
        tasks.shutdown(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn certificate_files_that_are_not_there_keep_the_server_from_starting() {
        let missing = WebCertificate::Files {
            certificate: "/nonexistent/cert.pem".into(),
            key: "/nonexistent/key.pem".into(),
            sync_interval: Ttl::ZERO,
        };
        let refused = endpoint(BundleEndpointProfile::HttpsWeb(missing), &Tasks::new()).await.err().unwrap();
        assert!(refused.to_string().contains("/nonexistent/cert.pem"), "{refused}");
    }
}
