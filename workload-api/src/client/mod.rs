//! The workload's side: single calls here, sources that follow rotation in [`Source`].

mod backoff;
mod jwt_source;
mod kind;
mod source;
mod watch;

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use spiffe_core::{BundleSet, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower::service_fn;

pub use jwt_source::JwtSource;
pub use kind::{JwtBundles, Kind, X509, X509Bundles};
pub use source::{DEFAULT_INITIAL_TIMEOUT, JwtBundleSource, Source, X509BundleSource, X509Source};

use crate::address::Address;
use crate::claims;
use crate::context::{JwtToken, ValidatedJwt, X509Context};
use crate::error::Error;
use crate::proto;
use crate::proto::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::server::SECURITY_HEADER;

/// Largest response that is read, in bytes.
pub const MAX_RESPONSE_LENGTH: usize = 16 << 20;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls an endpoint; cheap to clone, all clones share one connection, which is made when it is first needed.
#[derive(Clone)]
pub struct Client(Api);

pub(crate) type Api = SpiffeWorkloadApiClient<InterceptedService<Channel, AddHeader>>;
pub(crate) type AddHeader = fn(Request<()>) -> Result<Request<()>, Status>;

impl Client {
    /// Of the endpoint at `address`.
    #[must_use]
    pub fn new(address: Address) -> Self {
        match address {
            Address::Unix(path) => Self::over(move || UnixStream::connect(path.clone())),
            Address::Tcp(address) => Self::over(move || async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }),
        }
    }

    /// Of the endpoint that `SPIFFE_ENDPOINT_SOCKET` names.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn from_env() -> Result<Self, Error> {
        Ok(Self::new(Address::from_env()?))
    }

    /// Over connections that `connect` makes, one at a time and anew whenever the last one has ended.
    pub fn over<C, F, S>(connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The address is never looked up: the connector knows where to go.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(CONNECT_TIMEOUT)
            .connect_with_connector_lazy(service_fn(move |_: Uri| {
                let connection = connect();
                async move { connection.await.map(TokioIo::new) }
            }));
        let api = Api::new(InterceptedService::new(channel, add_security_header as AddHeader));
        Self(api.max_decoding_message_size(MAX_RESPONSE_LENGTH))
    }

    /// Asks once for all identities and bundles.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_x509_context(&self) -> Result<X509Context, Error> {
        self.fetch::<X509>().await
    }

    /// Asks once for the X.509 bundles.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_x509_bundles(&self) -> Result<BundleSet, Error> {
        self.fetch::<X509Bundles>().await
    }

    /// Asks once for the JWT bundles.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_jwt_bundles(&self) -> Result<BundleSet, Error> {
        self.fetch::<JwtBundles>().await
    }

    /// Asks for new tokens for `audience`, which must not be empty: for one identity, or for all of this workload's.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_jwt_svids(&self, audience: &[&str], id: Option<&SpiffeId>) -> Result<Vec<JwtToken>, Error> {
        let request = proto::JwtsvidRequest {
            audience: audience.iter().map(|audience| (*audience).to_owned()).collect(),
            spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        };
        let response = self.0.clone().fetch_jwtsvid(request).await?.into_inner();
        kind::read_jwt_svids(response)
    }

    /// Has the endpoint validate a token for `audience`.
    ///
    /// # Errors
    /// [`Error::Rpc`] with `InvalidArgument` for a token that is not valid.
    pub async fn validate_jwt_svid(&self, audience: &str, token: &str) -> Result<ValidatedJwt, Error> {
        let request = proto::ValidateJwtsvidRequest { audience: audience.to_owned(), svid: token.to_owned() };
        let response = self.0.clone().validate_jwtsvid(request).await?.into_inner();
        Ok(ValidatedJwt {
            id: SpiffeId::parse(&response.spiffe_id)?,
            claims: claims::from_struct(response.claims.ok_or(Error::Missing { what: "claims" })?),
        })
    }

    /// Opens one stream of complete states. It ends with an error and does not begin anew: that is what [`Source`] is
    /// for. A state that cannot be read is an error that does not end it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stream<K: Kind>(
        &self,
    ) -> Result<impl Stream<Item = Result<K::State, Error>> + Send + Unpin + use<K>, Error> {
        let responses = K::open(&mut self.0.clone()).await?;
        Ok(responses.map(|response| K::read(response?)))
    }

    async fn fetch<K: Kind>(&self) -> Result<K::State, Error> {
        let mut stream = self.stream::<K>().await?;
        stream.next().await.unwrap_or(Err(Error::Missing { what: "message" }))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn add_security_header(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    Ok(request)
}
