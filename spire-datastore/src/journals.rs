//! CA journals: which keys a server has prepared, activated and retired.

use async_trait::async_trait;

use crate::Error;

/// A server's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaJournal {
    /// Its number; zero for one that is not stored yet.
    pub id: i64,
    /// Authority ID of the active X.509 CA, by which a server finds its own.
    pub active_x509_authority_id: String,
    /// The journal itself, as `spire-ca` encodes it.
    pub data: Vec<u8>,
}

/// CA journals, one for each server on this store.
#[async_trait]
pub trait CaJournals {
    /// Stores a journal, anew when its number is zero; returns its number.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a number that is not stored.
    async fn save_ca_journal(&self, journal: CaJournal) -> Result<i64, Error>;

    /// All journals.
    ///
    /// # Errors
    /// When the backend fails.
    async fn list_ca_journals(&self) -> Result<Vec<CaJournal>, Error>;

    /// Deletes a journal; nothing happens if there is none of that number.
    ///
    /// # Errors
    /// When the backend fails.
    async fn delete_ca_journal(&self, id: i64) -> Result<(), Error>;
}
