//! What the rest of the server has of the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spiffe_core::Timestamp;
use spire_ca::rotation::{Held, Kind, Record, Slots, Status};
use spire_ca::{Authority, AuthorityId};
use spire_runtime::telemetry::Metrics;
use tokio::sync::{mpsc, oneshot, watch};

use super::{AuthorityError, MAX_FAILURES};

/// What signs at the moment, and commands to the driver. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct AuthorityHandle {
    pub(super) current: watch::Receiver<Authority>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) failures: Arc<AtomicU64>,
    pub(super) upstream: bool,
    pub(super) metrics: Metrics,
}

/// How long a request waits for the first JWT key.
const FIRST_KEY_PATIENCE: Duration = Duration::from_secs(25);

impl AuthorityHandle {
    /// Whether rotation works: not more than [`MAX_FAILURES`] attempts have failed in a row.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.failures.load(Ordering::Relaxed) <= MAX_FAILURES
    }

    /// Counts what was signed: `x509_svid`, `x509_ca_svid` or `jwt_svid`.
    pub(crate) fn count_signed(&self, what: &str) {
        self.metrics.count(&["server_ca", "sign", what], &[]);
    }

    /// Whether X.509 CAs are signed by an upstream authority.
    #[must_use]
    pub fn has_upstream(&self) -> bool {
        self.upstream
    }

    /// What signs at the moment.
    #[must_use]
    pub fn current(&self) -> Authority {
        self.current.borrow().clone()
    }

    /// What signs at the moment, with a JWT key: a first one that is being published is waited for, for a while.
    pub async fn with_jwt_key(&self) -> Authority {
        let mut watch = self.watch();
        let ready = watch.wait_for(|authority| authority.jwt().is_some());
        // Without one, whoever signs says so.
        drop(tokio::time::timeout(FIRST_KEY_PATIENCE, ready).await);
        self.current()
    }

    /// Tells when something else signs, or when something was tainted.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Authority> {
        self.current.clone()
    }

    /// The authorities of one kind.
    ///
    /// # Errors
    /// [`AuthorityError::Ended`]
    pub async fn states(&self, kind: Kind) -> Result<AuthorityStates, AuthorityError> {
        let (answer, outcome) = oneshot::channel();
        self.commands.send(Command::States(kind, answer)).await.map_err(|_| AuthorityError::Ended)?;
        outcome.await.map_err(|_| AuthorityError::Ended)
    }

    /// Prepares an authority now, over what is prepared or old.
    ///
    /// # Errors
    /// [`AuthorityError::Refused`], or why it failed.
    pub async fn prepare(&self, kind: Kind) -> Result<AuthorityStates, AuthorityError> {
        self.change(kind, Change::Prepare).await
    }

    /// Activates the prepared authority of that name.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn activate(&self, kind: Kind, id: AuthorityId) -> Result<AuthorityStates, AuthorityError> {
        self.change(kind, Change::Activate(id)).await
    }

    /// Taints the old authority of that name in the bundle: what it signed is replaced.
    ///
    /// # Errors
    /// As [`Self::prepare`]; with an upstream, X.509 CAs are tainted there.
    pub async fn taint(&self, kind: Kind, id: AuthorityId) -> Result<AuthorityStates, AuthorityError> {
        self.change(kind, Change::Taint(id)).await
    }

    /// Removes the tainted authority of that name from the bundle.
    ///
    /// # Errors
    /// As [`Self::taint`].
    pub async fn revoke(&self, kind: Kind, id: AuthorityId) -> Result<AuthorityStates, AuthorityError> {
        self.change(kind, Change::Revoke(id)).await
    }

    /// Taints the upstream authority of that key ID in the bundle, which must have signed the old CA and not the active
    /// one: what is below it is replaced.
    ///
    /// # Errors
    /// [`AuthorityError::NoUpstream`], [`AuthorityError::UpstreamUnfit`], or why it failed.
    pub async fn taint_upstream(&self, id: AuthorityId) -> Result<AuthorityStates, AuthorityError> {
        self.change(Kind::X509, Change::TaintUpstream(id)).await
    }

    /// Removes the tainted upstream authority of that key ID from the bundle.
    ///
    /// # Errors
    /// As [`Self::taint_upstream`].
    pub async fn revoke_upstream(&self, id: AuthorityId) -> Result<AuthorityStates, AuthorityError> {
        self.change(Kind::X509, Change::RevokeUpstream(id)).await
    }

    async fn change(&self, kind: Kind, change: Change) -> Result<AuthorityStates, AuthorityError> {
        let (answer, outcome) = oneshot::channel();
        self.commands.send(Command::Change(kind, change, answer)).await.map_err(|_| AuthorityError::Ended)?;
        outcome.await.map_err(|_| AuthorityError::Ended)?
    }
}

/// What the driver is asked.
#[derive(Debug)]
pub(super) enum Command {
    States(Kind, oneshot::Sender<AuthorityStates>),
    Change(Kind, Change, oneshot::Sender<Result<AuthorityStates, AuthorityError>>),
}

/// What an operator wants changed.
#[derive(Debug)]
pub(super) enum Change {
    Prepare,
    Activate(AuthorityId),
    Taint(AuthorityId),
    Revoke(AuthorityId),
    TaintUpstream(AuthorityId),
    RevokeUpstream(AuthorityId),
}

/// The authorities of one kind, as the LocalAuthority API shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorityStates {
    /// The one that signs.
    pub active: Option<AuthorityState>,
    /// The one that is to sign next.
    pub prepared: Option<AuthorityState>,
    /// The one that signed before.
    pub old: Option<AuthorityState>,
}

/// One authority, as the LocalAuthority API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityState {
    /// Its name.
    pub id: AuthorityId,
    /// End of its validity.
    pub expires_at: Timestamp,
    /// The lower-case hex of the key ID of what signed it; empty for a self-signed CA, and for JWT keys.
    pub upstream_authority_id: String,
}

impl AuthorityStates {
    pub(super) fn of<R: Record>(slots: &Slots<R>, upstream_authority_id: impl Fn(&R) -> String) -> Self {
        let state = |held: Held<&R>| AuthorityState {
            id: held.record.authority_id().clone(),
            expires_at: held.record.not_after(),
            upstream_authority_id: upstream_authority_id(held.record),
        };
        let other = |status| slots.other().filter(|held| held.status == status).map(state);
        Self { active: slots.active().map(state), prepared: other(Status::Prepared), old: other(Status::Old) }
    }
}
