//! The readers: a few connections beside the writer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection::open_reader;
use super::fail::Fail;
use super::writer::Writer;
use crate::Error;

/// Most reads at a time.
const MAX_READERS: usize = 4;

/// Reads at one state of the database each; clones share the connections.
#[derive(Clone, Debug)]
pub(super) enum Readers {
    /// Connections of their own.
    Pool(Arc<Pool>),
    /// The writer's.
    Shared(Writer),
}

#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    busy_timeout: Duration,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn pool(path: PathBuf, busy_timeout: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_READERS));
        Self::Pool(Arc::new(Pool { path, busy_timeout, idle: Mutex::default(), permits }))
    }

    /// Does `operation`, which sees the database as it was at its start.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Error> {
        let outcome = match self {
            Self::Shared(writer) => {
                let writer = writer.clone();
                tokio::task::spawn_blocking(move || writer.read(operation)).await
            }
            Self::Pool(pool) => {
                let permit = Arc::clone(&pool.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
                let pool = Arc::clone(pool);
                tokio::task::spawn_blocking(move || {
                    let outcome = pool.read(operation);
                    drop(permit);
                    outcome
                })
                .await
            }
        };
        outcome.map_err(|_| Error::Closed)?.map_err(|fail| fail.during(attempt))
    }
}

impl Pool {
    fn read<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, Fail> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path, self.busy_timeout)?,
        };
        let tx = connection.unchecked_transaction()?;
        let outcome = operation(&tx);
        let ended = tx.rollback();
        // A connection that failed is not used again.
        if ended.is_ok() && !matches!(outcome, Err(Fail::Sql(_))) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        outcome
    }
}
