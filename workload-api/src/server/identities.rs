//! What an endpoint serves.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use spiffe_core::{BundleSet, SpiffeId};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Status};

use super::{Peer, Process};
use crate::context::{JwtToken, ValidatedJwt, X509Context};

/// Decides who gets which identity; the service around it speaks the protocol.
///
/// All methods may be called concurrently and dropped at any time. Each call stands for one RPC, whose caller is
/// attested anew; afterwards the service asks whether the process is still the one that connected, and only then
/// answers. An error is final for its RPC. A wrong answer hands somebody else's identity out: there is no check behind
/// this one.
///
/// A context without identities denies the caller just as [`IdentityError::NoIdentity`] does, but does not end the
/// updates: who serves others with them (Envoy's secret discovery has something to tell even then) yields it instead.
///
/// Only [`Self::watch_x509`] has to be written: bundles are those that go with the identities, and the JWT profile is
/// not served, until their methods are written too.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// The caller's identities and bundles: the first item as soon as it is known, then one for each change. Items that
    /// tell nothing new are not sent on.
    ///
    /// # Errors
    /// [`IdentityError::NoIdentity`] for a caller without identity.
    async fn watch_x509(&self, caller: &Caller) -> Result<Updates<X509Context>, IdentityError>;

    /// The bundles that the caller may verify others with, his own trust domain's first of all: as
    /// [`Self::watch_x509`]. Serves `FetchX509Bundles` and `FetchJWTBundles`.
    ///
    /// # Errors
    /// [`IdentityError::NoIdentity`] for a caller without identity.
    async fn watch_bundles(&self, caller: &Caller) -> Result<Updates<BundleSet>, IdentityError> {
        let contexts = self.watch_x509(caller).await?;
        Ok(Box::pin(contexts.map(|context| context.map(|context| Arc::clone(&context.bundles)))))
    }

    /// New tokens for `audience`, which is not empty: for the identity that was asked for, or for all of the caller's.
    ///
    /// # Errors
    /// [`IdentityError::NoIdentity`] where the caller has no identity, or not the one that was asked for;
    /// [`IdentityError::JwtSvid`] where a token could not be had.
    async fn fetch_jwt_svids(
        &self,
        caller: &Caller,
        audience: &[String],
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtToken>, IdentityError> {
        let _ = (caller, audience, id);
        Err(IdentityError::Unsupported { what: "fetching JWT-SVIDs" })
    }

    /// Validates a token for the caller, who needs no identity for it. [`crate::validate_jwt_svid`] does the work.
    ///
    /// # Errors
    /// [`IdentityError::InvalidToken`] names the rule that the token breaks.
    async fn validate_jwt_svid(
        &self,
        caller: &Caller,
        audience: &str,
        token: &str,
    ) -> Result<ValidatedJwt, IdentityError> {
        let _ = (caller, audience, token);
        Err(IdentityError::Unsupported { what: "validating JWT-SVIDs" })
    }
}

#[async_trait]
impl<I: Identities + ?Sized> Identities for Arc<I> {
    async fn watch_x509(&self, caller: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        (**self).watch_x509(caller).await
    }

    async fn watch_bundles(&self, caller: &Caller) -> Result<Updates<BundleSet>, IdentityError> {
        (**self).watch_bundles(caller).await
    }

    async fn fetch_jwt_svids(
        &self,
        caller: &Caller,
        audience: &[String],
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtToken>, IdentityError> {
        (**self).fetch_jwt_svids(caller, audience, id).await
    }

    async fn validate_jwt_svid(
        &self,
        caller: &Caller,
        audience: &str,
        token: &str,
    ) -> Result<ValidatedJwt, IdentityError> {
        (**self).validate_jwt_svid(caller, audience, token).await
    }
}

/// Complete states, one after the other; an error ends them.
pub type Updates<T> = Pin<Box<dyn Stream<Item = Result<Arc<T>, IdentityError>> + Send>>;

/// Updates that never come: `state` and nothing after it.
#[must_use]
pub fn constant<T: Send + Sync + 'static>(state: impl Into<Arc<T>>) -> Updates<T> {
    Box::pin(futures_util::stream::iter([Ok(state.into())]).chain(futures_util::stream::pending()))
}

/// The value of a channel, and each one that replaces it. States that are replaced quickly may be left out.
#[must_use]
pub fn following<T: Send + Sync + 'static>(channel: watch::Receiver<Result<Arc<T>, IdentityError>>) -> Updates<T> {
    Box::pin(WatchStream::new(channel))
}

/// Who asks, and for what.
#[derive(Clone, Debug)]
pub struct Caller {
    peer: Peer,
    method: &'static str,
}

impl Caller {
    /// Of a request for `method`, the full one: `/SpiffeWorkloadAPI/FetchX509SVID`.
    #[must_use]
    pub fn new(peer: Peer, method: &'static str) -> Self {
        Self { peer, method }
    }

    /// Of a gRPC request that came over a connection of this crate.
    ///
    /// # Errors
    /// `Internal` where it came over another.
    pub fn of_request<T>(request: &tonic::Request<T>, method: &'static str) -> Result<Self, Status> {
        match request.extensions().get::<Peer>() {
            Some(peer) => Ok(Self::new(peer.clone(), method)),
            None => Err(Status::internal("connection does not tell who is calling")),
        }
    }

    /// The other end of the connection.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The calling process, where the connection tells.
    #[must_use]
    pub fn process(&self) -> Option<&Arc<Process>> {
        self.peer.process()
    }

    /// The full method that was called.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }
}

/// Why a caller gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The caller could not be looked at, or has gone.
    #[error("workload attestation failed")]
    AttestationFailed,
    /// The token breaks a rule; the reason must not contain it.
    #[error("{reason}")]
    InvalidToken {
        /// Which rule.
        reason: String,
    },
    /// A token could not be had from the server.
    #[error("could not fetch JWT-SVID: {reason}")]
    JwtSvid {
        /// What went wrong.
        reason: String,
    },
    /// The caller has no identity, or not that one.
    #[error("no identity issued")]
    NoIdentity,
    /// The caller asks too often.
    #[error("rate limit exceeded for {method}")]
    RateLimited {
        /// The full method.
        method: &'static str,
    },
    /// The answer could not be put together.
    #[error("could not serialize response: {reason}")]
    Response {
        /// What is missing.
        reason: String,
    },
    /// This endpoint does not do it; clients do not ask again.
    #[error("{what} is not implemented")]
    Unsupported {
        /// What it does not do.
        what: &'static str,
    },
    /// There is nothing to answer with at the moment.
    #[error("{reason}")]
    Unavailable {
        /// What is going on.
        reason: String,
    },
}

impl IdentityError {
    /// The code on the wire; clients stop for good at `InvalidArgument` and try again later at the others.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidToken { .. } => Code::InvalidArgument,
            Self::NoIdentity => Code::PermissionDenied,
            Self::Unsupported { .. } => Code::Unimplemented,
            Self::AttestationFailed
            | Self::JwtSvid { .. }
            | Self::RateLimited { .. }
            | Self::Response { .. }
            | Self::Unavailable { .. } => Code::Unavailable,
        }
    }
}

impl From<IdentityError> for Status {
    fn from(err: IdentityError) -> Self {
        Self::new(err.code(), err.to_string())
    }
}
