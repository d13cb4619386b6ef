//! The newest index, kept so by the store's log.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex as SyncMutex;
use spiffe_core::TrustDomain;
use spire_api::status::{code, code_name};
use spire_datastore::{Changes, DataStore, Error};
use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;
use spire_types::Revision;
use tokio::sync::{Mutex, watch};

use super::history::{History, Step, Touched, Touches};
use super::index::{Builder, EntryIndex};

/// How long to wait after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// Holds the newest [`EntryIndex`].
#[derive(Debug)]
pub struct EntryCache {
    store: Arc<dyn DataStore>,
    trust_domain: TrustDomain,
    current: ArcSwap<EntryIndex>,
    revisions: watch::Sender<Revision>,
    /// Never locked across an await.
    history: SyncMutex<History>,
    /// One refresh at a time.
    refreshing: Mutex<()>,
    metrics: Metrics,
}

impl EntryCache {
    /// Reads everything once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(store: Arc<dyn DataStore>, trust_domain: TrustDomain) -> Result<Self, Error> {
        let index = read_index(store.as_ref(), trust_domain.clone()).await?;
        let (revisions, _) = watch::channel(index.revision());
        let current = ArcSwap::from_pointee(index);
        let history = SyncMutex::default();
        Ok(Self {
            store,
            trust_domain,
            current,
            revisions,
            history,
            refreshing: Mutex::new(()),
            metrics: Metrics::disabled(),
        })
    }

    /// Counts refreshes in `metrics`, and what is held.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The newest index. It stays as it is however long it is held.
    #[must_use]
    pub fn current(&self) -> Arc<EntryIndex> {
        self.current.load_full()
    }

    /// Shows the revision of the newest index.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.subscribe()
    }

    /// The steps that lead on from `revision` to the newest index; `None` where it is too far back.
    #[must_use]
    pub fn since(&self, revision: Revision) -> Option<Vec<Arc<Step>>> {
        self.history.lock().since(revision)
    }

    /// The index at `revision`; `None` where it is too far back, or has never been.
    #[must_use]
    pub fn at(&self, revision: Revision) -> Option<Arc<EntryIndex>> {
        let current = self.current();
        if current.revision() == revision { Some(current) } else { self.history.lock().at(revision) }
    }

    /// Takes in what the store has committed so far.
    ///
    /// # Errors
    /// When the store fails; the index stays as it was.
    pub async fn refresh(&self) -> Result<Revision, Error> {
        let _alone = self.refreshing.lock().await;
        self.take_in_counted(None).await
    }

    /// Returns once the index shows `revision`, the answer to a write: whoever wrote finds what they wrote.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reach(&self, revision: Revision) -> Result<(), Error> {
        if self.current.load().revision() >= revision {
            return Ok(());
        }
        let _alone = self.refreshing.lock().await;
        if self.current.load().revision() < revision {
            self.take_in_counted(Some(revision)).await?;
        }
        Ok(())
    }

    async fn take_in_counted(&self, wanted: Option<Revision>) -> Result<Revision, Error> {
        let failure = |err: &Error| code_name(code(err.kind()));
        let revision = self.metrics.timed(&["entry", "cache", "reload"], &[], failure, self.take_in(wanted)).await?;
        if self.metrics.is_enabled() {
            let index = self.current.load();
            let gauge = |key: &[&str], count: usize| {
                self.metrics.gauge(key, &[], f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            };
            gauge(&["entry", "entries_by_entryid_cache", "count"], index.len());
            gauge(&["node", "agents_by_id_cache", "count"], index.node_count());
        }
        Ok(revision)
    }

    /// What is known without asking the store comes first, and may do where a revision is wanted.
    async fn take_in(&self, wanted: Option<Revision>) -> Result<Revision, Error> {
        let before = self.current.load_full();
        if let Some(changes) = self.store.recent_changes(before.revision()) {
            let reached = self.take(before, changes).await?;
            if wanted.is_some_and(|wanted| reached >= wanted) {
                return Ok(reached);
            }
        }
        let before = self.current.load_full();
        let changes = self.store.changes_since(before.revision()).await?;
        self.take(before, changes).await
    }

    async fn take(&self, before: Arc<EntryIndex>, changes: Changes) -> Result<Revision, Error> {
        let (after, touched) = match changes {
            Changes::Since(revision, _) if revision == before.revision() => return Ok(revision),
            Changes::Since(revision, changes) => {
                let touches = Touches::of(&changes);
                let after = before.after(revision, changes);
                let touched = touches.between(&before, &after);
                (after, touched)
            }
            Changes::TooOld => {
                let index = read_index(self.store.as_ref(), self.trust_domain.clone()).await?;
                (index, Touched::Everything)
            }
        };
        let revision = after.revision();
        let after = Arc::new(after);
        self.history.lock().push(Step { from: before.revision(), after: Arc::clone(&after), touched });
        self.current.store(after);
        self.revisions.send_replace(revision);
        Ok(revision)
    }

    /// Follows the store until the store is gone: the driver's loop. What this process writes is taken in at once, what
    /// another one writes to the same store after `interval` at the latest.
    pub async fn follow(&self, clock: &dyn Clock, interval: Duration) {
        let mut committed = self.store.revisions();
        let mut outcome = self.refresh().await.map(drop);
        loop {
            if let Err(err) = outcome {
                tracing::warn!(%err, "Failed to refresh the entry cache, will retry");
                clock.sleep(RETRY).await;
                outcome = self.refresh().await.map(drop);
                continue;
            }
            outcome = tokio::select! {
                changed = committed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Whoever wrote it has taken it in, as a rule.
                    let revision = *committed.borrow_and_update();
                    self.reach(revision).await
                }
                () = clock.sleep(interval) => self.refresh().await.map(drop),
            };
        }
    }
}

/// Puts the index together as the store reads: what an entry takes on its way is free again at once, where it was taken.
async fn read_index(store: &dyn DataStore, trust_domain: TrustDomain) -> Result<EntryIndex, Error> {
    let builder = Arc::new(SyncMutex::new(Builder::new(trust_domain.clone())));
    let taking = Arc::clone(&builder);
    let rest = store.read_all(Box::new(move |entry| taking.lock().push(entry))).await?;
    let builder = std::mem::replace(&mut *builder.lock(), Builder::new(trust_domain));
    let built = tokio::task::spawn_blocking(move || builder.build()).await.map_err(|_| Error::Closed)?;
    Ok(built.completed(rest))
}
