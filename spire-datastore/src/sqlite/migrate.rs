//! The schema, brought up to date when the database is opened.

use rusqlite::{Connection, TransactionBehavior};

use super::fail::Fail;
use crate::Error;

/// Each file brings the schema from the version before to its own, which is its number.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_registry.sql")];

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
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", newest())?;
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
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
