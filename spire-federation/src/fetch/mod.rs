//! The client of bundle endpoints: one GET, bounded in time and size, from exactly the configured URL.
//!
//! Redirects are never followed, compression is never asked for, a proxy is never used. Whom the client believes is the
//! profile's matter: [`https_spiffe`] or [`https_web`].

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, crypto::CryptoProvider, time_provider::TimeProvider};
use spiffe_core::{
    Bundle, BundleSet,
    tls::{ALPN_HTTP_1_1, Settings},
};
use spire_types::{EndpointProfile, FederationRelationship};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Error, Stage};

pub mod connect;
pub(crate) mod exchange;
pub mod https_spiffe;
pub mod https_web;
mod url;

pub use connect::{Connection, Connector, TcpConnector};
pub use https_web::WebRoots;
pub use url::EndpointUrl;

/// Fetches bundles. Cheap to clone; fetches run side by side.
#[derive(Debug, Clone)]
pub struct Fetcher {
    settings: Settings,
    connector: Arc<dyn Connector>,
    web_roots: WebRoots,
}

/// What a fetch has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The bundle, of the relationship's trust domain whatever the document says.
    pub bundle: Bundle,
    /// Whether it is another than the one at hand. Where it is not, nothing needs to be stored.
    pub changed: bool,
}

impl Fetcher {
    /// A client over TCP that believes the system's Web PKI roots. `time` is what certificates are judged at.
    pub fn new(provider: Arc<CryptoProvider>, time: Arc<dyn TimeProvider>) -> Self {
        Self {
            settings: Settings::new(provider, time).with_alpn(&[ALPN_HTTP_1_1]),
            connector: Arc::new(TcpConnector),
            web_roots: WebRoots::system(),
        }
    }

    /// Reaches endpoints through `connector`.
    #[must_use]
    pub fn with_connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// Believes `roots` for the profile https_web.
    #[must_use]
    pub fn with_web_roots(mut self, roots: WebRoots) -> Self {
        self.web_roots = roots;
        self
    }

    /// Fetches the bundle of `relationship`, once. `known` holds the bundles at hand: that of the endpoint's trust domain
    /// authenticates an https_spiffe endpoint, that of the relationship's is compared with what comes.
    ///
    /// Ends within [`CONNECT_DEADLINE`] + [`HANDSHAKE_DEADLINE`] + [`ANSWER_DEADLINE`] + [`BODY_DEADLINE`]. May be dropped
    /// at any time.
    ///
    /// # Errors
    /// [`Error`] tells which stage failed; nothing is to be stored then, the bundle at hand stays in force.
    ///
    /// Standard: SPIFFE Federation §5.2.1.4, §5.2.2.4 and §4.2.
    pub async fn fetch(&self, relationship: &FederationRelationship, known: &BundleSet) -> Result<Fetched, Error> {
        let url = EndpointUrl::parse(&relationship.bundle_endpoint_url)?;
        let config = self.client_config(&relationship.profile, known).await?;
        let document = self.get(&url, config).await?;
        let trust_domain = relationship.trust_domain.clone();
        let parsed = Bundle::parse_document(trust_domain.clone(), &document)?;
        if parsed.skipped > 0 {
            tracing::warn!(%trust_domain, skipped = parsed.skipped, "bundle has keys of unknown use, which are ignored");
        }
        for err in parsed.problems.iter().take(8) {
            tracing::warn!(%trust_domain, %err, "part of the bundle is ignored");
        }
        judge(parsed.bundle, known.get(&trust_domain).map(|bundle| &**bundle))
    }

    pub(crate) async fn client_config(
        &self,
        profile: &EndpointProfile,
        known: &BundleSet,
    ) -> Result<ClientConfig, Error> {
        match profile {
            EndpointProfile::HttpsSpiffe { endpoint_id } => {
                https_spiffe::client_config(endpoint_id, known, &self.settings)
            }
            EndpointProfile::HttpsWeb => https_web::client_config(self.web_roots.load().await?, &self.settings),
            _ => Err(Error::Profile),
        }
    }

    async fn get(&self, url: &EndpointUrl, config: ClientConfig) -> Result<Vec<u8>, Error> {
        exchange::get(url, self.connect(url, config).await?).await
    }

    /// A connection to the host of `url` that is authentic by `config`.
    pub(crate) async fn connect(
        &self,
        url: &EndpointUrl,
        config: ClientConfig,
    ) -> Result<TlsStream<Box<dyn Connection>>, Error> {
        let host = url.host_and_port();
        let connection = within(CONNECT_DEADLINE, Stage::Connect, self.connector.connect(url.host(), url.port()))
            .await?
            .map_err(|source| Error::Connect { host: host.clone(), source })?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(url.server_name()?, connection);
        within(HANDSHAKE_DEADLINE, Stage::Handshake, handshake).await?.map_err(|source| Error::Tls { host, source })
    }
}

/// Compares what has come with what is at hand: a sequence number never goes back.
fn judge(fetched: Bundle, current: Option<&Bundle>) -> Result<Fetched, Error> {
    let Some(current) = current else { return Ok(Fetched { bundle: fetched, changed: true }) };
    // Zero stands for a number that is not known.
    if fetched.sequence_number > 0 && fetched.sequence_number < current.sequence_number {
        return Err(Error::Older {
            trust_domain: fetched.trust_domain,
            received: fetched.sequence_number,
            current: current.sequence_number,
        });
    }
    let changed = !fetched.same_contents(current) || fetched.sequence_number > current.sequence_number;
    Ok(Fetched { bundle: fetched, changed })
}

pub(crate) async fn within<F: Future>(limit: Duration, stage: Stage, future: F) -> Result<F::Output, Error> {
    timeout(limit, future).await.map_err(|_| Error::Timeout { stage, limit })
}

/// For the look-up of the name and the connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// For the TLS handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// From the request to the end of the answer's head.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// For the rest of the answer.
pub const BODY_DEADLINE: Duration = Duration::from_secs(20);
