//! SQLite's own: files, locks, damage. What every backend must do is in the conformance suite.

#![expect(clippy::unwrap_used, reason = "tests")]

use spiffe_core::{SpiffeId, Timestamp};
use spire_datastore::{Created, Entries as _, Error, Log as _, Revision, SqliteStore};
use spire_types::{EntryId, RegistrationEntry};

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

#[tokio::test]
async fn what_was_written_is_there_after_opening_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datastore.sqlite3");
    let store = SqliteStore::open(&path).await.unwrap();
    create(&store, "a").await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.revision, Revision(1));
    assert_eq!(*store.revisions().borrow(), Revision(1));
    assert_eq!(snapshot.entries[0].spiffe_id, entry("a").spiffe_id);
}
