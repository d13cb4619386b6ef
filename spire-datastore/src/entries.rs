//! Registration entries.

use async_trait::async_trait;
use spiffe_core::Timestamp;
use spire_types::{EntryFilter, EntryId, EntryMask, Page, PageRequest, RegistrationEntry};

use crate::{Error, Revision};

/// What became of an entry that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was, with the ID and time it got.
    New(RegistrationEntry, Revision),
    /// It was not: this one says the same of the same workload.
    Similar(RegistrationEntry),
}

/// Registration entries.
#[async_trait]
pub trait Entries {
    /// Creates an entry: [`Self::create_entries`] with one.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for an ID that is taken, [`Error::NoFederatedBundle`], [`Error::Invalid`], or when the
    /// backend fails.
    async fn create_entry(
        &self,
        entry: RegistrationEntry,
        fallback_id: EntryId,
        now: Timestamp,
    ) -> Result<Created, Error> {
        self.create_entries(vec![(entry, fallback_id)], now).await?.pop().unwrap_or(Err(Error::Closed))
    }

    /// Creates entries at one moment; one without an ID gets the one beside it. Revision number and creation time are
    /// set here. Each that can be created is, in the order given, and each has its own outcome.
    ///
    /// # Errors
    /// When the backend fails: then none of them is created.
    async fn create_entries(
        &self,
        entries: Vec<(RegistrationEntry, EntryId)>,
        now: Timestamp,
    ) -> Result<Vec<Result<Created, Error>>, Error>;

    /// Changes the fields of the entry of that ID which `mask` names, and raises its revision number.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoFederatedBundle`], [`Error::Invalid`].
    async fn update_entry(
        &self,
        entry: RegistrationEntry,
        mask: EntryMask,
    ) -> Result<(RegistrationEntry, Revision), Error>;

    /// Deletes an entry and returns it.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn delete_entry(&self, id: &EntryId) -> Result<(RegistrationEntry, Revision), Error>;

    /// Deletes all entries that ended before `now`, and returns them.
    ///
    /// # Errors
    /// When the backend fails.
    async fn prune_entries(&self, now: Timestamp) -> Result<Vec<RegistrationEntry>, Error>;

    /// The entry of that ID.
    ///
    /// # Errors
    /// When the backend fails.
    async fn fetch_entry(&self, id: &EntryId) -> Result<Option<RegistrationEntry>, Error>;

    /// The entries that are meant, in the order of their creation.
    ///
    /// # Errors
    /// [`Error::PageToken`], or when the backend fails.
    async fn list_entries(&self, filter: EntryFilter, page: PageRequest) -> Result<Page<RegistrationEntry>, Error>;

    /// How many entries are meant.
    ///
    /// # Errors
    /// When the backend fails.
    async fn count_entries(&self, filter: EntryFilter) -> Result<usize, Error>;
}
