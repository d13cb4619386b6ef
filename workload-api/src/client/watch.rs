//! Keeps a stream open, and opens it again when it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use rand_core::{OsRng, TryRngCore as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::{Client, Kind};
use crate::error::Error;

/// What a watch has come to.
pub(super) struct Latest<K: Kind> {
    state: ArcSwapOption<K::State>,
    error: Mutex<Option<Error>>,
    version: watch::Sender<u64>,
}

impl<K: Kind> Latest<K> {
    pub(super) fn new() -> Self {
        Self { state: ArcSwapOption::empty(), error: Mutex::new(None), version: watch::Sender::new(0) }
    }

    pub(super) fn state(&self) -> Option<Arc<K::State>> {
        self.state.load_full()
    }

    /// What the last attempt failed with, if it did.
    pub(super) fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn publish(&self, state: K::State) {
        self.set_error(None);
        if self.state.load().as_deref().is_some_and(|last| K::same(last, &state)) {
            return;
        }
        self.state.store(Some(Arc::new(state)));
        self.version.send_modify(|version| *version += 1);
    }

    fn withdraw(&self) {
        if self.state.swap(None).is_some() {
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn set_error(&self, error: Option<Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// Follows the endpoint until `stop`, or until it says that asking is wrong.
///
/// What was received stays when the connection breaks; it is withdrawn when the endpoint says that this workload has no
/// identity (any more).
pub(super) async fn follow<K: Kind>(client: Client, latest: Arc<Latest<K>>, stop: CancellationToken) {
    let mut backoff = Backoff::new();
    loop {
        let opened = Instant::now();
        let ended = tokio::select! {
            ended = receive(&client, &latest) => ended,
            () = stop.cancelled() => return,
        };
        if opened.elapsed() >= LASTING {
            backoff.reset();
        }
        if matches!(ended, Error::NoIdentity { .. }) {
            latest.withdraw();
        }
        let permanent = ended.is_permanent();
        tracing::warn!(err = %ended, watching = K::NAME, permanent, "workload API stream ended");
        latest.set_error(Some(ended));
        // Those who wait for a first state look at the error now.
        latest.version.send_modify(|_| {});
        if permanent {
            return;
        }
        let wait = backoff.next(&mut OsRng.unwrap_err());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Receives until the stream ends, and says why it did.
async fn receive<K: Kind>(client: &Client, latest: &Latest<K>) -> Error {
    let mut responses = match K::open(&mut client.0.clone()).await {
        Ok(responses) => responses,
        Err(status) => return status.into(),
    };
    loop {
        match responses.next().await {
            Some(Ok(response)) => match K::read(response) {
                Ok(state) => latest.publish(state),
                // The message is discarded and the state before it stays (SPIFFE Workload API §4.5).
                Err(err) => {
                    tracing::warn!(%err, watching = K::NAME, "workload API sent a message that cannot be used");
                    latest.set_error(Some(err));
                }
            },
            Some(Err(status)) => return status.into(),
            None => return Error::Missing { what: "further messages, the stream was closed" },
        }
    }
}

/// A stream that was open this long is not part of a series of failures.
const LASTING: Duration = Duration::from_secs(5);
