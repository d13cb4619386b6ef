//! The one writer. All writes that wait are committed together, so that they share one sync of the disk.
//!
//! There is no thread of its own: whoever finds the queue idle starts one blocking call of tokio's that works it off.
//! A simulated clock stands still meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::fail::Fail;
use super::log;
use crate::{Error, Revision};

/// Most writes in one transaction.
const MAX_BATCH: usize = 1024;

/// The one writer; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
    revisions: watch::Sender<Revision>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn Job>>,
    /// Whether a blocking call works on it.
    at_work: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).field("at_work", &self.at_work).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Result<Self, Fail> {
        let (revisions, _) = watch::channel(log::newest(&connection)?);
        Ok(Self(Arc::new(Shared { connection: Mutex::new(connection), queue: Mutex::default(), revisions })))
    }

    /// Does `operation` in a transaction, and answers once that is on disk. If the caller goes away before its turn,
    /// nothing is written.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Pending { attempt, operation: Some(operation), outcome: None, reply };
        let idle = {
            let mut queue = lock(&self.0.queue);
            queue.waiting.push_back(Box::new(job));
            !std::mem::replace(&mut queue.at_work, true)
        };
        if idle {
            let shift = Shift { shared: Arc::clone(&self.0), over: false };
            tokio::task::spawn_blocking(move || shift.work());
        }
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Reads through the writer's own connection: for a database in memory, which has no other.
    pub(super) fn read<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, Fail> {
        operation(&lock(&self.0.connection))
    }

    pub(super) fn revisions(&self) -> watch::Receiver<Revision> {
        self.0.revisions.subscribe()
    }
}

/// One blocking call's work.
struct Shift {
    shared: Arc<Shared>,
    over: bool,
}

impl Shift {
    fn work(mut self) {
        while let Some(mut batch) = self.next_batch() {
            let committed = commit(&mut lock(&self.shared.connection), &mut batch);
            if let Ok(revision) = committed {
                self.shared.revisions.send_if_modified(|newest| {
                    let newer = revision > *newest;
                    *newest = revision.max(*newest);
                    newer
                });
            }
            for job in batch {
                job.answer(committed.as_ref().err());
            }
        }
    }

    fn next_batch(&mut self) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = lock(&self.shared.queue);
        if queue.waiting.is_empty() {
            queue.at_work = false;
            self.over = true;
            return None;
        }
        let length = queue.waiting.len().min(MAX_BATCH);
        Some(queue.waiting.drain(..length).collect())
    }
}

/// A shift that was never begun, because the runtime ends, or that broke off, leaves nobody waiting for ever.
impl Drop for Shift {
    fn drop(&mut self) {
        if !self.over {
            let abandoned = {
                let mut queue = lock(&self.shared.queue);
                queue.at_work = false;
                std::mem::take(&mut queue.waiting)
            };
            drop(abandoned);
        }
    }
}

/// Does all jobs in one transaction; one that fails leaves no trace and does not hold up the others.
fn commit(connection: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<Revision, Error> {
    let attempt = |err: rusqlite::Error| Fail::from(err).during("commit");
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(attempt)?;
    if let [only] = batch {
        if !only.run(&tx) {
            return log::newest(&tx).map_err(|fail| fail.during("commit"));
        }
    } else {
        for job in batch.iter_mut() {
            run_apart(&tx, job.as_mut())?;
        }
    }
    log::trim(&tx).map_err(|fail| fail.during("commit"))?;
    let revision = log::newest(&tx).map_err(|fail| fail.during("commit"))?;
    tx.commit().map_err(attempt)?;
    Ok(revision)
}

fn run_apart(tx: &Transaction<'_>, job: &mut dyn Job) -> Result<(), Error> {
    let step = |sql| tx.prepare_cached(sql)?.execute([]).map_err(Fail::from);
    let done = step("SAVEPOINT job").map(|_| job.run(tx)).and_then(|succeeded| {
        // After some failures (a full disk, say) SQLite has rolled everything back by itself.
        if tx.is_autocommit() {
            return Err(Error::Backend { attempt: "commit", cause: "rolled back by a failure".to_owned() }.into());
        }
        if !succeeded {
            step("ROLLBACK TO job")?;
        }
        step("RELEASE job")?;
        Ok(())
    });
    done.map_err(|fail: Fail| fail.during("commit"))
}

/// A write that waits.
trait Job: Send {
    /// Does it; whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells its caller, `failure` being that of the commit.
    fn answer(self: Box<Self>, failure: Option<&Error>);
}

struct Pending<T, F> {
    attempt: &'static str,
    operation: Option<F>,
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Fail> + Send> Job for Pending<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        if self.reply.is_closed() {
            return false;
        }
        let Some(operation) = self.operation.take() else { return false };
        let outcome = operation(connection).map_err(|fail| fail.during(self.attempt));
        self.outcome.insert(outcome).is_ok()
    }

    fn answer(self: Box<Self>, failure: Option<&Error>) {
        let outcome = match (self.outcome, failure) {
            (Some(Err(err)), _) => Err(err),
            (_, Some(failure)) => Err(failure.clone()),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Error::Closed),
        };
        // The caller may have gone away.
        let _ = self.reply.send(outcome);
    }
}
