//! The embedded store: SQLite in a file beside the server, or in memory.

mod bundle_data;
mod bundles;
mod connection;
mod entries;
mod entry_rows;
mod fail;
mod federation;
mod join_tokens;
mod journals;
mod log;
mod migrate;
mod node_rows;
mod nodes;
mod page;
mod readers;
mod selectors;
mod tail;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connection::{BUSY_TIMEOUT, Place};
use fail::Fail;
use join_tokens::Fresh;
use readers::Readers;
use rusqlite::Connection;
use writer::Writer;

use crate::{Change, Error, Revision};

/// The embedded store; clones share it. Needs a tokio runtime.
///
/// One process writes to a file. A second one may read, or wait for its turn to write; it does not learn at once of
/// what the first has written.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    fresh_tokens: Arc<Fresh>,
}

impl SqliteStore {
    /// Opens the database in that file, or makes it with mode 0600, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be opened, [`Error::DamagedDatabase`] for one that is no database,
    /// [`Error::ForeignDatabase`] for another program's, [`Error::NewerSchema`], [`Error::Busy`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_waiting(path, BUSY_TIMEOUT).await
    }

    /// Like [`Self::open`], but waits for a lock that another process holds no longer than `busy_timeout`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_waiting(path: impl AsRef<Path>, busy_timeout: Duration) -> Result<Self, Error> {
        Self::open_at(Place::File(path.as_ref().to_owned()), busy_timeout).await
    }

    /// A new database in memory, which goes with the last clone of this store.
    ///
    /// # Errors
    /// When memory is short.
    pub async fn in_memory() -> Result<Self, Error> {
        Self::open_at(Place::Memory, BUSY_TIMEOUT).await
    }

    async fn open_at(place: Place, busy_timeout: Duration) -> Result<Self, Error> {
        let opened = tokio::task::spawn_blocking(move || {
            let mut connection = connection::open_writer(&place, busy_timeout)?;
            migrate::migrate(&mut connection)?;
            let writer = Writer::new(connection)?;
            let readers = match place {
                Place::Memory => Readers::Shared(writer.clone()),
                Place::File(path) => Readers::pool(path, busy_timeout),
            };
            Ok(Self { writer, readers, fresh_tokens: Arc::default() })
        });
        opened.await.map_err(|_| Error::Closed)?.map_err(|fail: Fail| fail.during("open database"))
    }

    async fn write<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.write(attempt, operation).await
    }

    /// Tells the log's followers what `changed` makes of the outcome.
    async fn write_changing<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
        changed: fn(&T) -> Vec<(Revision, Change)>,
    ) -> Result<T, Error> {
        self.writer.write_changing(attempt, operation, changed).await
    }

    /// [`Self::write_changing`] for what has written nothing when a rule makes it fail.
    async fn write_whole<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
        changed: fn(&T) -> Vec<(Revision, Change)>,
    ) -> Result<T, Error> {
        self.writer.write_whole(attempt, operation, changed).await
    }

    async fn read<T: Send + 'static>(
        &self,
        attempt: &'static str,
        operation: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(attempt, operation).await
    }
}
