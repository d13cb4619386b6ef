//! SQLite does what every backend must do, in memory and in a file.

#![expect(clippy::unwrap_used, reason = "tests")]

mod in_memory {
    use spire_datastore::SqliteStore;

    spire_datastore::conformance_suite!((SqliteStore::in_memory().await.unwrap(), ()));
}

mod in_a_file {
    use spire_datastore::SqliteStore;

    async fn store() -> (SqliteStore, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (SqliteStore::open(directory.path().join("datastore.sqlite3")).await.unwrap(), directory)
    }

    spire_datastore::conformance_suite!(store().await);
}
