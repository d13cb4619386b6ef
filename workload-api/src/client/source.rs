//! Sources: the current state, kept current.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::x509::X509Svid;
use spiffe_core::{Bundle, BundleSet, TrustDomain};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::watch::{Latest, follow};
use super::{Client, JwtBundles, Kind, X509, X509Bundles};
use crate::address::Address;
use crate::context::X509Context;
use crate::error::Error;

/// How long [`Source::new`] waits for the first state.
pub const DEFAULT_INITIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// This workload's identities and the bundles that go with them.
pub type X509Source = Source<X509>;
/// The bundles for verifying X.509-SVIDs.
pub type X509BundleSource = Source<X509Bundles>;
/// The bundles for verifying JWT-SVIDs.
pub type JwtBundleSource = Source<JwtBundles>;

/// The current state of one kind, and a task that keeps it current for as long as there is a clone of this value.
///
/// Reading takes no lock and no call. A broken connection leaves the last state in place while the task connects again;
/// an endpoint that denies this workload any identity takes the state away until it gives another.
///
/// ```no_run
/// # async fn example() -> Result<(), workload_api::Error> {
/// use workload_api::{Address, X509Source};
///
/// let source = X509Source::new(Address::from_env()?).await?;
/// println!("I am {}", source.svid()?.id());
/// # Ok(())
/// # }
/// ```
pub struct Source<K: Kind> {
    latest: Arc<Latest<K>>,
    seen: watch::Receiver<u64>,
    /// The version that [`Self::changed`] told of last.
    told: u64,
    task: Arc<DropGuard>,
}

impl<K: Kind> Source<K> {
    /// Follows the endpoint at `address`, and waits up to [`DEFAULT_INITIAL_TIMEOUT`] for the first state.
    ///
    /// # Errors
    /// [`Error::Timeout`] with what the last attempt failed with; at once what no retry can help.
    pub async fn new(address: Address) -> Result<Self, Error> {
        Self::with_client(&Client::new(address), DEFAULT_INITIAL_TIMEOUT).await
    }

    /// Follows the endpoint that `SPIFFE_ENDPOINT_SOCKET` names.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::new(Address::from_env()?).await
    }

    /// Follows the endpoint of `client`, and waits up to `timeout` for the first state.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn with_client(client: &Client, timeout: Duration) -> Result<Self, Error> {
        let mut source = Self::start(client);
        let first = tokio::time::timeout(timeout, source.first()).await;
        match first {
            Ok(Ok(())) => Ok(source),
            Ok(Err(err)) => Err(err),
            Err(_) => Err(Error::Timeout { after: timeout, last: source.latest.error().map(Box::new) }),
        }
    }

    /// Follows the endpoint of `client` and does not wait for anything.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        let stop = CancellationToken::new();
        let latest = Arc::new(Latest::new());
        tokio::spawn(follow::<K>(client.clone(), Arc::clone(&latest), stop.clone()));
        Self { seen: latest.subscribe(), told: 0, latest, task: Arc::new(stop.drop_guard()) }
    }

    async fn first(&mut self) -> Result<(), Error> {
        loop {
            self.seen.mark_unchanged();
            if self.latest.state().is_some() {
                self.told = *self.seen.borrow();
                return Ok(());
            }
            if let Some(err) = self.latest.error().filter(Error::is_permanent) {
                return Err(err);
            }
            // The sender lives as long as `self`.
            let _ = self.seen.changed().await;
        }
    }

    /// The current state.
    ///
    /// # Errors
    /// Where there is none: what the last attempt failed with, [`Error::NoIdentity`] after a withdrawal.
    pub fn state(&self) -> Result<Arc<K::State>, Error> {
        self.latest.state().ok_or_else(|| self.latest.error().unwrap_or(Error::Missing { what: "message yet" }))
    }

    /// Waits until the state is another than it was when this was last called (or this clone was made), a withdrawal
    /// included. What happened between two calls is not missed.
    pub async fn changed(&mut self) {
        let version = *self.seen.borrow_and_update();
        if version == self.told {
            // The sender lives as long as `self`.
            while self.seen.changed().await.is_ok() && *self.seen.borrow() == self.told {}
        }
        self.told = *self.seen.borrow_and_update();
    }

    /// What the last attempt to reach the endpoint failed with; `None` while all is well.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.latest.error()
    }
}

impl Source<X509> {
    /// The default SVID: the first one.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn svid(&self) -> Result<Arc<X509Svid>, Error> {
        self.state()?.default_svid().cloned().ok_or(Error::Missing { what: "X.509-SVID" })
    }

    /// The first SVID with that hint.
    ///
    /// # Errors
    /// As [`Self::state`]; [`Error::Missing`] where no SVID has it.
    pub fn svid_with_hint(&self, hint: &str) -> Result<Arc<X509Svid>, Error> {
        self.state()?.svid_with_hint(hint).cloned().ok_or(Error::Missing { what: "X.509-SVID with that hint" })
    }

    /// All identities and bundles.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn context(&self) -> Result<Arc<X509Context>, Error> {
        self.state()
    }

    /// The bundles that came with the SVIDs: of this workload's own trust domain and of those it is federated with.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn bundles(&self) -> Result<Arc<BundleSet>, Error> {
        Ok(Arc::clone(&self.state()?.bundles))
    }
}

impl<K: Kind<State = BundleSet>> Source<K> {
    /// The bundle of one trust domain.
    ///
    /// # Errors
    /// As [`Self::state`]; [`Error::Missing`] where there is none of it.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Result<Arc<Bundle>, Error> {
        self.state()?.get(trust_domain).cloned().ok_or(Error::Missing { what: "bundle of that trust domain" })
    }
}

impl<K: Kind> Clone for Source<K> {
    fn clone(&self) -> Self {
        let seen = self.latest.subscribe();
        let told = *seen.borrow();
        Self { latest: Arc::clone(&self.latest), seen, told, task: Arc::clone(&self.task) }
    }
}

impl<K: Kind> fmt::Debug for Source<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("kind", &K::NAME).field("last_error", &self.last_error()).finish_non_exhaustive()
    }
}
