//! The schema, brought up to date when the database is opened.

use rusqlite::{Connection, TransactionBehavior};

use super::entry_rows;
use super::fail::Fail;
use crate::Error;

/// A step of the schema.
struct Migration {
    sql: &'static str,
    /// What SQL cannot compute.
    then: fn(&Connection) -> Result<(), Fail>,
}

/// Each brings the schema from the version before to its own, which is its file's number.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("migrations/0001_registry.sql"), then: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0002_entries.sql"), then: entry_rows::fill_in_digests },
];

/// Marks a database as ours: "spre".
const APPLICATION_ID: i64 = 0x7370_7265;

/// The version that this program writes.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings the schema up to date.
///
/// # Errors
/// [`Error::NewerSchema`], and [`Error::ForeignDatabase`] for a database that another program made.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Fail> {
    // A table that is replaced by another must not take along what refers to its rows.
    connection.pragma_update(None, "foreign_keys", false)?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let owner: i64 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if owner != APPLICATION_ID && (tables > 0 || version != 0) {
        return Err(Error::ForeignDatabase.into());
    }
    if version > newest() {
        return Err(Error::NewerSchema { found: version, known: newest() }.into());
    }
    let done = usize::try_from(version).map_err(|_| Fail::damaged("schema version"))?;
    for migration in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(migration.sql)?;
        (migration.then)(&tx)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", newest())?;
    tx.commit()?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use spire_types::{EntryId, RegistrationEntry};

    use super::*;

    #[test]
    fn a_new_database_gets_the_newest_schema_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, newest());
    }

    #[test]
    fn entries_of_the_first_version_are_kept_with_all_that_belongs_to_them() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.execute_batch(MIGRATIONS.first().unwrap().sql).unwrap();
        connection.execute_batch(include_str!("migrations/tests/version_1.sql")).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        migrate(&mut connection).unwrap();

        let mut entries = Vec::new();
        entry_rows::all(&connection, &mut |entry| entries.push(entry)).unwrap();
        let [first, second] = entries.as_slice() else { panic!("{entries:?}") };
        let texts = |entry: &RegistrationEntry| entry.selectors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(first.id.as_ref().map(EntryId::as_str), Some("one"));
        assert_eq!(texts(first), ["unix:uid:1", "unix:gid:\"2\""], "in the order given");
        assert_eq!(first.dns_names, ["b.example", "a.example"]);
        assert_eq!(first.federates_with.iter().map(ToString::to_string).collect::<Vec<_>>(), ["other.org"]);
        assert_eq!((first.admin, first.downstream, first.hint.as_str()), (true, false, "h"));
        assert_eq!((second.dns_names.len(), second.federates_with.len()), (0, 0));
        assert_eq!(texts(second), ["unix:uid:1"]);

        for entry in &entries {
            assert_eq!(entry_rows::similar(&connection, entry).unwrap().as_ref(), Some(entry), "digests are filled in");
        }
        let broken: i64 =
            connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        let watched: bool = connection.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
        assert_eq!((broken, watched), (0, true));
        entry_rows::delete(&connection, 2, first).unwrap();
        let left = |sql: &str| connection.query_row::<i64, _, _>(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(left("SELECT count(*) FROM federated_registration_entries"), 0);
        assert_eq!(left("SELECT count(*) FROM selectors"), 1);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let err = migrate(&mut connection).unwrap_err().during("open");
        assert_eq!(err, Error::NewerSchema { found: 99, known: newest() });
    }

    #[test]
    fn another_programs_database_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE migrations (version INTEGER)").unwrap();
        assert_eq!(migrate(&mut connection).unwrap_err().during("open"), Error::ForeignDatabase);
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
