//! The one writer. All writes that wait are committed together, so that they share one sync of the disk.
//!
//! There is no thread of its own: whoever finds the queue idle starts one blocking call of tokio's that works it off.
//! A simulated clock stands still meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::fail::Fail;
use super::tail::Tail;
use super::{connection, log};
use crate::{Change, Changes, Error, Revision};

/// Most writes in one transaction.
const MAX_BATCH: usize = 1024;

/// The one writer; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
    tail: Mutex<Tail>,
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
        // An answered write is on disk, not merely safe from a killed process.
        connection::sync_commits(&connection, true)?;
        let (revisions, _) = watch::channel(log::newest(&connection)?);
        Ok(Self(Arc::new(Shared {
            connection: Mutex::new(connection),
            queue: Mutex::default(),
            tail: Mutex::default(),
            revisions,
        })))
    }

    /// Does `operation` in a transaction, and answers once that is on disk. If the caller goes away before its turn,
    /// nothing is written.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Error> {
        self.enqueue(attempt, false, operation, |_| Vec::new()).await
    }

    /// [`Self::write`], and tells those who follow the log what `changed` makes of the outcome: all changes that
    /// `operation` has made.
    pub(super) async fn write_changing<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
        changed: fn(&T) -> Vec<(Revision, Change)>,
    ) -> Result<T, Error> {
        self.enqueue(attempt, false, operation, changed).await
    }

    /// [`Self::write_changing`] for an `operation` that looks first and writes then: where it fails before it writes,
    /// nothing need be undone, which spares a copy of all pages that it writes to. Where it fails later, so does whatever
    /// is committed together with it.
    pub(super) async fn write_whole<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
        changed: fn(&T) -> Vec<(Revision, Change)>,
    ) -> Result<T, Error> {
        self.enqueue(attempt, true, operation, changed).await
    }

    async fn enqueue<T: Send + 'static>(
        &self,
        attempt: &'static str,
        whole: bool,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
        changed: fn(&T) -> Vec<(Revision, Change)>,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Pending { attempt, whole, operation: Some(operation), changed, outcome: None, reply };
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

    /// What has changed since a revision, where it is known without asking the database; given once.
    pub(super) fn take_changes_since(&self, revision: Revision) -> Option<Changes> {
        lock(&self.0.tail).take_since(revision)
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
            let committed = self.commit(&mut batch);
            if let Ok(revision) = committed {
                lock(&self.shared.tail).extend(batch.iter().flat_map(|job| job.changes()));
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

    fn commit(&self, batch: &mut [Box<dyn Job>]) -> Result<Revision, Error> {
        commit(&lock(&self.shared.connection), batch)
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
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<Revision, Error> {
    let outcome = step(connection, "BEGIN IMMEDIATE")
        .map_err(|fail| fail.during("commit"))
        .and_then(|()| commit_begun(connection, batch));
    if outcome.is_err() {
        undo(connection).map_err(|fail| fail.during("commit"))?;
    }
    outcome
}

fn commit_begun(connection: &Connection, batch: &mut [Box<dyn Job>]) -> Result<Revision, Error> {
    let attempt = |fail: Fail| fail.during("commit");
    if let [only] = batch {
        if only.run(connection).is_err() {
            return undo(connection).and_then(|()| log::newest(connection)).map_err(attempt);
        }
    } else {
        for job in batch.iter_mut() {
            run_apart(connection, job.as_mut())?;
        }
    }
    log::trim(connection).map_err(attempt)?;
    let revision = log::newest(connection).map_err(attempt)?;
    step(connection, "COMMIT").map(|()| revision).map_err(attempt)
}

/// Rolls back, unless SQLite has done so by itself, as it does after some failures (a full disk, say).
fn undo(connection: &Connection) -> Result<(), Fail> {
    if connection.is_autocommit() { Ok(()) } else { step(connection, "ROLLBACK") }
}

fn step(connection: &Connection, sql: &str) -> Result<(), Fail> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Does one job of several; fails where what it leaves behind cannot be undone alone.
fn run_apart(connection: &Connection, job: &mut dyn Job) -> Result<(), Error> {
    if job.is_whole() {
        let before = connection.total_changes();
        return match job.run(connection) {
            Err(err) if connection.is_autocommit() || connection.total_changes() != before => Err(err),
            _ => Ok(()),
        };
    }
    let done = step(connection, "SAVEPOINT job").map(|()| job.run(connection)).and_then(|outcome| {
        // After some failures (a full disk, say) SQLite has rolled everything back by itself.
        if connection.is_autocommit() {
            return Err(Fail::Rule(outcome.err().unwrap_or(Error::Closed)));
        }
        if outcome.is_err() {
            step(connection, "ROLLBACK TO job")?;
        }
        step(connection, "RELEASE job")
    });
    done.map_err(|fail: Fail| fail.during("commit"))
}

/// A write that waits.
trait Job: Send {
    /// Whether there is nothing to undo when it fails, as a rule.
    fn is_whole(&self) -> bool;
    /// What it has changed, as far as it tells; asked once it is committed.
    fn changes(&self) -> Vec<(Revision, Change)>;
    /// Does it; what it fails with.
    fn run(&mut self, connection: &Connection) -> Result<(), Error>;
    /// Tells its caller, `failure` being that of the commit.
    fn answer(self: Box<Self>, failure: Option<&Error>);
}

struct Pending<T, F> {
    attempt: &'static str,
    whole: bool,
    operation: Option<F>,
    changed: fn(&T) -> Vec<(Revision, Change)>,
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Fail> + Send> Job for Pending<T, F> {
    fn is_whole(&self) -> bool {
        self.whole
    }

    fn changes(&self) -> Vec<(Revision, Change)> {
        self.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok()).map(self.changed).unwrap_or_default()
    }

    fn run(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.reply.is_closed() {
            return Err(Error::Closed);
        }
        let operation = self.operation.take().ok_or(Error::Closed)?;
        let outcome = operation(connection).map_err(|fail| fail.during(self.attempt));
        self.outcome.insert(outcome).as_ref().map(|_| ()).map_err(Error::clone)
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::sqlite::connection::{BUSY_TIMEOUT, Place, open_writer};
    use crate::sqlite::log::{Kind, Op, record};
    use crate::sqlite::migrate::migrate;

    fn writer() -> Writer {
        let mut connection = open_writer(&Place::Memory, BUSY_TIMEOUT).unwrap();
        migrate(&mut connection).unwrap();
        Writer::new(connection).unwrap()
    }

    async fn change(writer: &Writer, key: String) -> Result<Revision, Error> {
        writer.write("change", move |connection| record(connection, Kind::Entry, &key, Op::Put)).await
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_writes_that_need_room_and_harms_nothing() {
        let writer = writer();
        let first = change(&writer, "small".into()).await.unwrap();
        let limit = |pages: u32| {
            let set = move |connection: &Connection| Ok(connection.pragma_update(None, "max_page_count", pages)?);
            writer.read(set).unwrap();
        };
        limit(1);
        let large = || change(&writer, "x".repeat(100_000));
        let answers = tokio::join!(large(), large(), large());
        for answer in [answers.0, answers.1, answers.2] {
            assert_eq!(answer, Err(Error::DiskFull { attempt: "change" }));
        }
        assert_eq!(*writer.revisions().borrow(), first);
        limit(1_000_000);
        assert_eq!(large().await, Ok(Revision(first.0 + 1)), "no revision was lost on the way");
    }

    #[tokio::test]
    async fn a_write_whose_caller_went_away_is_not_made() {
        let writer = writer();
        let (mut first, mut second) = (Box::pin(change(&writer, "1".into())), Box::pin(change(&writer, "2".into())));
        {
            // The shift that begins waits for the connection.
            let _held = lock(&writer.0.connection);
            assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
            drop(second);
        }
        assert_eq!(first.await, Ok(Revision(1)));
        assert_eq!(change(&writer, "3".into()).await, Ok(Revision(2)));
    }

    /// The answers to a change, to `operation` as a whole write, and to another change, all in one commit.
    async fn with_neighbours(
        writer: &Writer,
        operation: impl FnOnce(&Connection) -> Result<Revision, Fail> + Send + 'static,
    ) -> [Result<Revision, Error>; 3] {
        // The shift that begins takes it alone, and waits for the connection.
        let mut blocker = Box::pin(change(writer, "blocker".into()));
        let mut first = Box::pin(change(writer, "first".into()));
        let mut whole = Box::pin(writer.write_whole("whole", operation, |_| Vec::new()));
        let mut last = Box::pin(change(writer, "last".into()));
        {
            let _held = lock(&writer.0.connection);
            assert!((&mut blocker).now_or_never().is_none());
            while !lock(&writer.0.queue).waiting.is_empty() {
                std::thread::yield_now();
            }
            assert!((&mut first).now_or_never().is_none());
            assert!((&mut whole).now_or_never().is_none() && (&mut last).now_or_never().is_none());
        }
        blocker.await.unwrap();
        [first.await, whole.await, last.await]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_whole_write_that_a_rule_refuses_harms_nobody_and_one_that_breaks_off_leaves_nothing() {
        let writer = writer();
        let answers = with_neighbours(&writer, |_| Err(Error::Banned.into())).await;
        assert_eq!(answers, [Ok(Revision(2)), Err(Error::Banned), Ok(Revision(3))]);
        let answers = with_neighbours(&writer, |connection| {
            record(connection, Kind::Entry, "half", Op::Put)?;
            Err(Error::Banned.into())
        });
        assert_eq!(answers.await, [Err(Error::Banned), Err(Error::Banned), Err(Error::Banned)]);
        assert_eq!(change(&writer, "next".into()).await, Ok(Revision(5)), "only the blocker was committed");
    }

    #[tokio::test]
    async fn a_shift_that_is_never_begun_leaves_nobody_waiting() {
        let writer = writer();
        lock(&writer.0.queue).at_work = true;
        let mut left_behind = Box::pin(change(&writer, "1".into()));
        assert!((&mut left_behind).now_or_never().is_none());
        drop(Shift { shared: Arc::clone(&writer.0), over: false });
        assert_eq!(left_behind.await, Err(Error::Closed));
        assert_eq!(change(&writer, "2".into()).await, Ok(Revision(1)), "the next one begins anew");
    }
}
