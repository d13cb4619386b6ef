//! `spire`: another server of the same trust domain signs.
//!
//! This server is a workload of an agent of the upstream's: the Workload API gives the identity that it calls with, and
//! the upstream's entry for that identity says that it may (`-downstream`).

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::tls::{ALPN_H2, Settings, authorize_id, server_name};
use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, JwtAuthority, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_api::proto::bundle as bundle_api;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::svid::NewDownstreamX509caRequest;
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::{channel, convert};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;
use workload_api::{Client, X509Context, X509Source};

use super::{UpstreamAuthority, UpstreamCa};
use crate::Error;

/// Where the upstream server is, as `UpstreamAuthority "spire"` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpireUpstreamAddress {
    /// `server_address`: an IP address or a DNS name.
    pub host: String,
    /// `server_port`
    pub port: u16,
}

/// Signs with the CA of another server.
pub struct SpireUpstream {
    trust_domain: TrustDomain,
    address: SpireUpstreamAddress,
    settings: Settings,
    source: X509Source,
    /// The channel, and the identity that it was made with: with another one, another is made.
    channel: Mutex<Option<(Arc<X509Context>, Channel)>>,
}

impl SpireUpstream {
    /// The server at `address`, called with the identity that `workload_api` gives. Starts to follow that identity, for
    /// which it needs a runtime, and waits for nothing: the upstream may be down.
    ///
    /// # Errors
    /// [`Error::Upstream`] when the trust domain's server has no ID that fits.
    pub fn new(
        trust_domain: TrustDomain,
        address: SpireUpstreamAddress,
        workload_api: &Client,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let settings = settings.clone().with_alpn(&[ALPN_H2]);
        let source = X509Source::start(workload_api);
        let upstream = Self { trust_domain, address, settings, source, channel: Mutex::default() };
        upstream.server_id().map(|_| upstream)
    }

    fn server_id(&self) -> Result<SpiffeId, Error> {
        self.trust_domain.join("/spire/server").map_err(failed("to name the upstream server"))
    }

    /// A channel with the identity of the moment.
    fn channel(&self, context: Arc<X509Context>) -> Result<Channel, Error> {
        let mut current = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((with, channel)) = &*current
            && Arc::ptr_eq(with, &context)
        {
            return Ok(channel.clone());
        }
        let config = workload_api::tls::client_config(&self.source, authorize_id(self.server_id()?), &self.settings)
            .map_err(failed("to set up TLS"))?;
        let (connector, address) = (TlsConnector::from(Arc::new(config)), self.address.clone());
        let channel = channel::over(move || connect(connector.clone(), address.clone()));
        *current = Some((context, channel.clone()));
        Ok(channel)
    }

    /// The identity of the moment, which is waited for a while.
    async fn identity(&self) -> Result<Arc<X509Context>, Error> {
        match timeout(IDENTITY_DEADLINE, self.first_identity()).await {
            Ok(context) => context,
            Err(_) => Err(match self.source.last_error() {
                Some(err) => failed(TO_GET_IDENTITY)(err),
                None => failed(TO_GET_IDENTITY)(format!("there was none within {} s", IDENTITY_DEADLINE.as_secs())),
            }),
        }
    }

    async fn first_identity(&self) -> Result<Arc<X509Context>, Error> {
        let mut source = self.source.clone();
        loop {
            match source.state() {
                Ok(context) => return Ok(context),
                Err(err) if err.is_permanent() => return Err(failed(TO_GET_IDENTITY)(err)),
                Err(_) => source.changed().await,
            }
        }
    }

    async fn bundle(&self, channel: Channel) -> Result<Bundle, Error> {
        let attempt = "to fetch the bundle";
        let mut client = BundleClient::new(channel).max_decoding_message_size(channel::MAX_RESPONSE_LENGTH);
        let wire = within(attempt, client.get_bundle(bundle_api::GetBundleRequest { output_mask: None })).await?;
        let bundle = convert::bundle::from_proto(&wire).map_err(failed(attempt))?;
        if bundle.trust_domain == self.trust_domain {
            Ok(bundle)
        } else {
            Err(failed(attempt)(format!("it is that of {:?}", bundle.trust_domain.as_str())))
        }
    }
}

#[async_trait]
impl UpstreamAuthority for SpireUpstream {
    /// The agent may be about to start, and the entry to reach it: as in SPIRE, no time is too long for that.
    async fn ready(&self) -> Result<(), Error> {
        while let Err(err) = self.identity().await {
            if self.source.last_error().is_some_and(|err| err.is_permanent()) {
                return Err(err);
            }
            tracing::warn!(%err, "waiting for the upstream's agent to give this server an identity");
        }
        Ok(())
    }

    async fn mint_x509_ca(
        &self,
        csr: &[u8],
        preferred_ttl: Ttl,
        _now: Timestamp,
        _rng: &mut (dyn CryptoRng + Send),
    ) -> Result<UpstreamCa, Error> {
        let attempt = "to have a CA signed";
        let channel = self.channel(self.identity().await?)?;
        let request = NewDownstreamX509caRequest {
            csr: csr.to_vec().into(),
            preferred_ttl: i32::try_from(preferred_ttl.as_secs()).unwrap_or(i32::MAX),
        };
        let mut client = SvidClient::new(channel.clone()).max_decoding_message_size(channel::MAX_RESPONSE_LENGTH);
        let answer = within(attempt, client.new_downstream_x509ca(request)).await?;
        let chain = answer.ca_cert_chain.iter().map(|der| Certificate::from_der(der));
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed(attempt))?;
        // The roots in the answer do not tell which are tainted.
        Ok(UpstreamCa { chain, roots: self.bundle(channel).await?.x509_authorities })
    }

    async fn publish_jwt_key(&self, key: &JwtAuthority) -> Result<Option<Vec<JwtAuthority>>, Error> {
        let attempt = "to publish a JWT key";
        let mut client = BundleClient::new(self.channel(self.identity().await?)?)
            .max_decoding_message_size(channel::MAX_RESPONSE_LENGTH);
        let jwt_authority = Some(convert::bundle::jwt_authority_to_proto(key));
        let request = bundle_api::PublishJwtAuthorityRequest { jwt_authority };
        let answer = within(attempt, client.publish_jwt_authority(request)).await?;
        let published = convert::bundle::jwt_authorities(&answer.jwt_authorities).map_err(failed(attempt))?;
        if published.iter().any(|known| known.key_id == key.key_id && known.public_key == key.public_key) {
            Ok(Some(published))
        } else {
            Err(failed(attempt)("the upstream's list does not have it"))
        }
    }

    fn has_bundle(&self) -> bool {
        true
    }

    async fn fetch_bundle(&self) -> Result<Bundle, Error> {
        // Without waiting: it is asked for again soon.
        let context = self.source.state().map_err(failed(TO_GET_IDENTITY))?;
        self.bundle(self.channel(context)?).await
    }
}

async fn connect(connector: TlsConnector, address: SpireUpstreamAddress) -> io::Result<TlsStream<TcpStream>> {
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port)).await?;
    stream.set_nodelay(true)?;
    connector.connect(server_name(), stream).await
}

async fn within<T>(
    attempt: &'static str,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match timeout(CALL_DEADLINE, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(|status| refused(attempt, &status)),
        Err(_) => Err(failed(attempt)(format!("no answer within {} s", CALL_DEADLINE.as_secs()))),
    }
}

/// What a status says, down to what kept the connection from being made.
fn refused(attempt: &'static str, status: &tonic::Status) -> Error {
    let mut reason = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    failed(attempt)(reason)
}

fn failed<E: fmt::Display>(attempt: &'static str) -> impl Fn(E) -> Error {
    move |reason| Error::Upstream { reason: format!("failed {attempt}: {reason}") }
}

impl fmt::Debug for SpireUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpireUpstream").field("address", &self.address).finish_non_exhaustive()
    }
}

const TO_GET_IDENTITY: &str = "to get this server's identity from the Workload API";

/// For the agent to have an identity for this server.
const IDENTITY_DEADLINE: Duration = Duration::from_secs(10);
/// For one call.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
