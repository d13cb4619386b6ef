//! SQLite's own: files, locks, damage. What every backend must do is in the conformance suite.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use spiffe_core::{SpiffeId, Timestamp};
use spire_datastore::{Created, Entries as _, Error, Log as _, Revision, SqliteStore};
use spire_types::{EntryFilter, EntryId, ErrorKind, PageRequest, RegistrationEntry};

fn entry(name: &str) -> RegistrationEntry {
    RegistrationEntry::new(
        SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap(),
        SpiffeId::parse("spiffe://example.org/node").unwrap(),
        vec![format!("unix:user:{name}").parse().unwrap()],
    )
}

async fn create(store: &SqliteStore, name: &str) -> Result<Created, Error> {
    store.create_entry(entry(name), EntryId::parse(name).unwrap(), Timestamp::from_unix(7)).await
}

/// A database with one entry, closed, and its directory.
async fn closed_database() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    let store = SqliteStore::open(&path).await.unwrap();
    create(&store, "a").await.unwrap();
    drop(store);
    // Connections close behind the scenes; the last one takes the log away.
    for _ in 0..1000 {
        let is_closed = !path.with_extension("sqlite3-wal").exists();
        // Once more after that: its lock goes last.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if is_closed {
            return (directory, path);
        }
    }
    panic!("the database does not close");
}

async fn open_error(path: &Path) -> Error {
    SqliteStore::open_waiting(path, Duration::from_millis(1)).await.unwrap_err()
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_anew() {
    let (_directory, path) = closed_database().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.revision, Revision(1));
    assert_eq!(*store.revisions().borrow(), Revision(1));
    assert_eq!(snapshot.entries.first().map(|entry| entry.spiffe_id.clone()), Some(entry("a").spiffe_id));
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("datastore.sqlite3")).await.unwrap();
    create(&store, "a").await.unwrap();
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() > 1, "the log lies beside the database");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_opened_is_named() {
    let err = open_error(Path::new("/nonexistent/datastore.sqlite3")).await;
    assert!(matches!(err, Error::Io { .. }), "{err:?}");
    assert!(err.to_string().contains("/nonexistent/datastore.sqlite3"), "{err}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    let text = "no database at all, but long enough to have a header. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(open_error(&path).await, Error::DamagedDatabase { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_database_yields_an_error_and_no_made_up_entries() {
    let (_directory, path) = closed_database().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which has the header and the schema.
    bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0xa5);
    std::fs::write(&path, bytes).unwrap();
    // Whether opening it fails or the first read, it is told what it is.
    let err = match SqliteStore::open(&path).await {
        Ok(store) => store.list_entries(EntryFilter::default(), PageRequest::default()).await.unwrap_err(),
        Err(err) => err,
    };
    assert!(matches!(err, Error::DamagedDatabase { .. }), "{err:?}");
    assert_eq!(err.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn values_that_another_program_wrote_are_told_as_damage() {
    let (_directory, path) = closed_database().await;
    let meddler = rusqlite::Connection::open(&path).unwrap();
    meddler.execute("UPDATE registered_entries SET spiffe_id = 'no ID'", []).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let err = store.snapshot().await.unwrap_err();
    assert!(matches!(err, Error::Damaged { .. }), "{err:?}");
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE migrations (version)").unwrap();
    assert_eq!(open_error(&path).await, Error::ForeignDatabase);
}

#[tokio::test]
async fn a_lock_that_another_process_holds_is_told_and_reading_goes_on() {
    let (_directory, path) = closed_database().await;
    let store = SqliteStore::open_waiting(&path, Duration::from_millis(1)).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let err = create(&store, "b").await.unwrap_err();
    assert_eq!((&err, err.kind()), (&Error::Busy { attempt: "commit" }, ErrorKind::Unavailable));
    assert_eq!(store.count_entries(EntryFilter::default()).await.unwrap(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    create(&store, "b").await.unwrap();
    assert_eq!(*store.revisions().borrow(), Revision(2));
}

#[tokio::test(start_paused = true)]
async fn simulated_time_stands_still_while_a_write_is_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("datastore.sqlite3")).await.unwrap();
    let before = tokio::time::Instant::now();
    let created = tokio::time::timeout(Duration::from_millis(1), create(&store, "a")).await;
    assert!(created.is_ok());
    assert_eq!(before.elapsed(), Duration::ZERO);
}
