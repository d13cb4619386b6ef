//! One connection to the database, set up for durability.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fail::Fail;
use crate::Error;

/// How long a connection waits for a lock that another process holds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that each connection keeps prepared.
const PREPARED_STATEMENTS: usize = 128;

/// After so many pages of 4 KiB the log is copied into the database, which syncs the disk twice. Pages that are written
/// again meanwhile are copied once.
const CHECKPOINT_PAGES: i64 = 4000;
/// Most memory for pages that the writer keeps: its indexes are touched all over.
const WRITER_CACHE_KIB: i64 = 32 * 1024;

/// Where the database is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file, which is made with mode 0600 if need be.
    File(PathBuf),
    /// In memory; it goes with its one connection.
    Memory,
}

/// A connection that may write, for a [`super::writer::Writer`].
pub(super) fn open_writer(place: &Place, busy_timeout: Duration) -> Result<Connection, Fail> {
    let connection = match place {
        Place::Memory => Connection::open_in_memory()?,
        Place::File(path) => {
            create_private(path)?;
            Connection::open(path)?
        }
    };
    prepare(&connection, busy_timeout)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is done before there is a writer is on disk with the writer's first commit.
    sync_commits(&connection, false)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // What a savepoint may have to put back is not written to a file on the way.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Whether commits are on disk when they are done, or merely safe from a killed process until the next one that is.
pub(super) fn sync_commits(connection: &Connection, sync: bool) -> Result<(), Fail> {
    Ok(connection.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection, Fail> {
    // Not "read only" at the file: a reader of a WAL must be able to make the index file beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection, busy_timeout)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn prepare(connection: &Connection, busy_timeout: Duration) -> Result<(), Fail> {
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    // A plan depends on the statement alone. Else each new value calls for a new plan, because of the partial indexes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the file before SQLite does, for its owner alone. SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> Result<(), Fail> {
    if path.as_os_str().as_encoded_bytes().starts_with(b"file:") {
        return Ok(());
    }
    match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(err) => Err(Error::Io { attempt: "open database", cause: format!("{}: {err}", path.display()) }.into()),
    }
}
