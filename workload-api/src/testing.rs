//! An endpoint for tests, with a throwaway authority behind it.
//!
//! ```no_run
//! # async fn example() {
//! use workload_api::X509Source;
//! use workload_api::testing::FakeEndpoint;
//!
//! let endpoint = FakeEndpoint::new("example.org");
//! endpoint.set_identities(&["/web"]);
//! let source: X509Source = endpoint.source().await;
//! assert_eq!(source.svid().unwrap().id().path(), "/web");
//! # }
//! ```
#![expect(clippy::expect_used, reason = "a failing fixture should fail the test at once")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
pub use spiffe_core::testing::TestAuthority;
use spiffe_core::{SpiffeId, Timestamp, Ttl};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::address::Address;
use crate::client::{Client, X509Source};
use crate::context::{Identity, JwtToken, ValidatedJwt, X509Context};
use crate::server::{
    Caller, Connection, Endpoint, Identities, IdentityError, Limits, ListenError, PUBLIC_SOCKET_MODE, UnixSocket,
    Updates, following,
};
use crate::validate_jwt_svid;

/// What every caller of a [`FakeEndpoint`] gets.
pub type Answer = Result<Arc<X509Context>, IdentityError>;

/// An endpoint in memory that gives all callers the same, which the test decides and changes at will.
pub struct FakeEndpoint {
    fake: Arc<Fake>,
    limits: Limits,
    connections: mpsc::UnboundedSender<Connection<DuplexStream>>,
    serving: DropGuard,
}

/// The time at which tokens are validated; all SVIDs of [`TestAuthority`] are valid then.
pub const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes in flight in each direction.
const PIPE: usize = 64 << 10;

impl FakeEndpoint {
    /// Serves, on the current runtime, until it is dropped. At first nobody has an identity.
    #[must_use]
    pub fn new(trust_domain: &str) -> Self {
        Self::with_limits(trust_domain, Limits::default())
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(trust_domain: &str, limits: Limits) -> Self {
        let fake = Arc::new(Fake {
            authority: TestAuthority::new(trust_domain),
            state: watch::Sender::new(Err(IdentityError::NoIdentity)),
        });
        let (connections, incoming) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let endpoint = Endpoint::new(Arc::clone(&fake)).limits(limits);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(endpoint.serve(UnboundedReceiverStream::new(incoming).map(Ok), stopped));
        Self { fake, limits, connections, serving: stop.drop_guard() }
    }

    /// Serves on a Unix socket too, for clients in other processes.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self, path: &Path) -> Result<Address, ListenError> {
        let socket = UnixSocket::bind(path, PUBLIC_SOCKET_MODE)?;
        let endpoint = Endpoint::new(Arc::clone(&self.fake)).limits(self.limits);
        let stopped = self.serving.token().clone().cancelled_owned();
        tokio::spawn(endpoint.serve(socket.incoming(), stopped));
        Ok(Address::unix(path))
    }

    /// The authority behind it.
    #[must_use]
    pub fn authority(&self) -> &TestAuthority {
        &self.fake.authority
    }

    /// Gives new SVIDs for these paths, and the bundle of the own authority beside those that are there already.
    pub fn set_identities(&self, paths: &[&str]) {
        let identities = paths.iter().map(|path| Identity::new(self.fake.authority.svid(path))).collect();
        let mut bundles =
            self.fake.state.borrow().as_ref().map(|context| (*context.bundles).clone()).unwrap_or_default();
        bundles.insert(self.fake.authority.bundle());
        self.set(Ok(X509Context { identities, bundles: Arc::new(bundles) }));
    }

    /// Adds the bundle of another authority. There must be identities already.
    pub fn federate(&self, other: &TestAuthority) {
        let mut context = self.fake.state.borrow().as_deref().cloned().expect("identities to federate");
        Arc::make_mut(&mut context.bundles).insert(other.bundle());
        self.set(Ok(context));
    }

    /// Tells every caller this from now on.
    pub fn set(&self, answer: Result<X509Context, IdentityError>) {
        let _ = self.fake.state.send_replace(answer.map(Arc::new));
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// When it does not serve any more.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        connect(&self.connections)
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        let connections = self.connections.clone();
        Client::over(move || std::future::ready(connect(&connections)))
    }

    /// A source that follows it, with the first state there.
    pub async fn source(&self) -> X509Source {
        X509Source::with_client(&self.client(), PATIENCE).await.expect("first state")
    }
}

fn connect(connections: &mpsc::UnboundedSender<Connection<DuplexStream>>) -> io::Result<DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    connections.send(Connection::in_memory(theirs)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(ours)
}

struct Fake {
    authority: TestAuthority,
    state: watch::Sender<Answer>,
}

impl Fake {
    fn context(&self) -> Answer {
        self.state.borrow().clone()
    }
}

#[async_trait]
impl Identities for Fake {
    async fn watch_x509(&self, _: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        self.context()?;
        Ok(following(self.state.subscribe()))
    }

    async fn fetch_jwt_svids(
        &self,
        _: &Caller,
        audience: &[String],
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtToken>, IdentityError> {
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        let context = self.context()?;
        let wanted = context.identities.iter().filter(|identity| id.is_none_or(|id| identity.svid.id() == id));
        Ok(wanted
            .map(|identity| JwtToken {
                id: identity.svid.id().clone(),
                token: self.authority.jwt_svid(identity.svid.id().path(), &audience, NOW + Ttl::from_minutes(5)),
                hint: identity.hint.clone(),
            })
            .collect())
    }

    async fn validate_jwt_svid(&self, _: &Caller, audience: &str, token: &str) -> Result<ValidatedJwt, IdentityError> {
        let context = self.context()?;
        validate_jwt_svid(token, audience, &context.bundles, self.authority.trust_domain(), &[], NOW)
    }
}
