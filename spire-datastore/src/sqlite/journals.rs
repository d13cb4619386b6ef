//! What is done with CA journals.

use async_trait::async_trait;
use rusqlite::params;

use super::SqliteStore;
use crate::{CaJournal, CaJournals, Error};

#[async_trait]
impl CaJournals for SqliteStore {
    async fn save_ca_journal(&self, journal: CaJournal) -> Result<i64, Error> {
        self.write("save CA journal", move |connection| {
            if journal.id == 0 {
                let mut statement = connection
                    .prepare_cached("INSERT INTO ca_journals (active_x509_authority_id, data) VALUES (?1, ?2)")?;
                return Ok(statement.insert(params![journal.active_x509_authority_id, journal.data])?);
            }
            let mut statement = connection
                .prepare_cached("UPDATE ca_journals SET active_x509_authority_id = ?2, data = ?3 WHERE id = ?1")?;
            if statement.execute(params![journal.id, journal.active_x509_authority_id, journal.data])? == 0 {
                return Err(Error::NotFound { what: "CA journal" }.into());
            }
            Ok(journal.id)
        })
        .await
    }

    async fn list_ca_journals(&self) -> Result<Vec<CaJournal>, Error> {
        self.read("list CA journals", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, active_x509_authority_id, data FROM ca_journals ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                Ok(CaJournal { id: row.get(0)?, active_x509_authority_id: row.get(1)?, data: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn delete_ca_journal(&self, id: i64) -> Result<(), Error> {
        self.write("delete CA journal", move |connection| {
            connection.prepare_cached("DELETE FROM ca_journals WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
        .await
    }
}
