//! Registration entries.
//!
//! A batch is written in the order given, and each member has its own outcome. Whoever wrote finds what they wrote: the
//! answer waits for the index of entries to show it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rand_core::CryptoRng;
use spiffe_core::TrustDomain;
use spire_api::convert;
use spire_api::proto::entry::entry_server::Entry;
use spire_api::proto::entry::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
    GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
    ListEntriesResponse, SyncAuthorizedEntriesRequest, batch_create_entry_response, batch_delete_entry_response,
    batch_update_entry_response,
};
use spire_api::proto::types;
use spire_api::status::{batch_error, batch_ok, code, invalid};
use spire_datastore::{Created, DataStore, Error};
use spire_runtime::Clock;
use spire_types::{EntryId, EntryMask, ErrorKind, RegistrationEntry, Revision};
use tonic::{Request, Response, Status, Streaming};

use super::authorized_entries::{AuthorizedEntries, SyncStream};
use super::{await_revision, store_failed};
use crate::entries::EntryCache;

/// The service.
pub(crate) struct EntryService {
    trust_domain: TrustDomain,
    datastore: Arc<dyn DataStore>,
    cache: Arc<EntryCache>,
    authorized: AuthorizedEntries,
    clock: Arc<dyn Clock>,
    rng: Mutex<Box<dyn CryptoRng + Send>>,
}

impl EntryService {
    /// Entries of `trust_domain` in `datastore`, which `cache` follows. IDs come from `rng`.
    pub(crate) fn new(
        trust_domain: TrustDomain,
        datastore: Arc<dyn DataStore>,
        cache: Arc<EntryCache>,
        authorized: AuthorizedEntries,
        clock: Arc<dyn Clock>,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Self {
        Self { trust_domain, datastore, cache, authorized, clock, rng: Mutex::new(rng) }
    }

    /// Creates all that can be, in one write. Each has its own outcome.
    async fn create(&self, wires: &[types::Entry]) -> Vec<Result<Created, Status>> {
        let now = self.clock.now();
        let mut entries = Vec::with_capacity(wires.len());
        let mut sound = Vec::with_capacity(wires.len());
        for wire in wires {
            sound.push(self.new_entry(wire).map(|entry| {
                entries.push((entry, EntryId::new_at(now, &mut **self.rng.lock())));
            }));
        }
        let (mut created, failure) = match self.datastore.create_entries(entries, now).await {
            Ok(outcomes) => (outcomes.into_iter(), Error::Closed),
            Err(err) => (Vec::new().into_iter(), err),
        };
        let outcome = |sound: Result<(), Status>| {
            sound?;
            let created = created.next().unwrap_or_else(|| Err(failure.clone()));
            created.map_err(|err| store_failed(CREATE_FAILED, &err))
        };
        sound.into_iter().map(outcome).collect()
    }

    fn new_entry(&self, wire: &types::Entry) -> Result<RegistrationEntry, Status> {
        let mut entry = convert::entry::from_proto(wire, &self.trust_domain)
            .map_err(|err| invalid(if err.is_of_store() { CREATE_FAILED } else { CONVERT_FAILED }, err))?;
        sort(&mut entry);
        Ok(entry)
    }

    async fn update(&self, wire: &types::Entry, mask: EntryMask) -> Result<(RegistrationEntry, Revision), Status> {
        let entry = convert::entry::masked_from_proto(wire, &self.trust_domain, &mask)
            .map_err(|err| invalid(if err.is_of_store() { UPDATE_FAILED } else { CONVERT_FAILED }, err))?;
        // One that is no ID is that of no entry.
        let id = EntryId::parse(&wire.id).map_err(|_| Status::not_found(UPDATE_FAILED))?;
        let mut entry = RegistrationEntry { id: Some(id), ..entry };
        sort(&mut entry);
        self.datastore.update_entry(entry, mask).await.map_err(|err| store_failed(UPDATE_FAILED, &err))
    }

    async fn delete(&self, id: &str) -> Result<Revision, Status> {
        if id.is_empty() {
            return Err(Status::invalid_argument("missing entry ID"));
        }
        let id = EntryId::parse(id).map_err(|_| Status::not_found(NOT_FOUND))?;
        match self.datastore.delete_entry(&id).await {
            Ok((_, revision)) => Ok(revision),
            Err(err) if err.kind() == ErrorKind::NotFound => Err(Status::not_found(NOT_FOUND)),
            Err(err) => Err(store_failed("failed to delete entry", &err)),
        }
    }
}

#[tonic::async_trait]
impl Entry for EntryService {
    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        let filter = convert::entry::count_filter_from_proto(request.get_ref().filter.as_ref(), &self.trust_domain)
            .map_err(|err| Status::invalid_argument(err.to_string()))?;
        let counted = self.datastore.count_entries(filter).await;
        let count = counted.map_err(|err| store_failed("failed to count entries", &err))?;
        Ok(Response::new(CountEntriesResponse { count: convert::count_to_proto(count) }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let ListEntriesRequest { filter, output_mask, page_size, page_token } = request.into_inner();
        let filter = convert::entry::filter_from_proto(filter.as_ref(), &self.trust_domain)
            .map_err(|err| Status::invalid_argument(err.to_string()))?;
        let listed = self.datastore.list_entries(filter, convert::page_from_proto(page_size, page_token)).await;
        let page = listed.map_err(|err| store_failed("failed to list entries", &err))?;
        let mask = convert::entry::mask_from_proto(output_mask.as_ref());
        let entries = page.items.iter().map(|entry| convert::entry::to_proto(entry, &mask)).collect();
        Ok(Response::new(ListEntriesResponse { entries, next_page_token: page.next_token }))
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        let GetEntryRequest { id, output_mask } = request.into_inner();
        if id.is_empty() {
            return Err(Status::invalid_argument("missing ID"));
        }
        let id = EntryId::parse(&id).map_err(|_| Status::not_found(NOT_FOUND))?;
        let fetched = self.datastore.fetch_entry(&id).await;
        let fetched = fetched.map_err(|err| store_failed("failed to fetch entry", &err))?;
        let entry = fetched.ok_or_else(|| Status::not_found(NOT_FOUND))?;
        let mask = convert::entry::mask_from_proto(output_mask.as_ref());
        Ok(Response::new(convert::entry::to_proto(&entry, &mask)))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let BatchCreateEntryRequest { entries, output_mask } = request.into_inner();
        let mask = convert::entry::mask_from_proto(output_mask.as_ref());
        let outcomes = self.create(&entries).await;
        let written = outcomes.iter().filter_map(|outcome| match outcome {
            Ok(Created::New(_, revision)) => Some(*revision),
            _ => None,
        });
        await_revision(&self.cache, written.max()).await;
        let results = outcomes.into_iter().map(|outcome| created_to_proto(&outcome, &mask)).collect();
        Ok(Response::new(BatchCreateEntryResponse { results }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        let BatchUpdateEntryRequest { entries, input_mask, output_mask } = request.into_inner();
        let changed = convert::entry::mask_from_proto(input_mask.as_ref());
        let mask = convert::entry::mask_from_proto(output_mask.as_ref());
        let outcomes = join_all(entries.iter().map(|wire| self.update(wire, changed))).await;
        let written = outcomes.iter().flatten().map(|(_, revision)| *revision);
        await_revision(&self.cache, written.max()).await;
        let results = outcomes.iter().map(|outcome| match outcome {
            Ok((entry, _)) => batch_update_entry_response::Result {
                status: Some(batch_ok()),
                entry: Some(convert::entry::to_proto(entry, &mask)),
            },
            Err(status) => batch_update_entry_response::Result { status: Some(batch_error(status)), entry: None },
        });
        Ok(Response::new(BatchUpdateEntryResponse { results: results.collect() }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let ids = request.into_inner().ids;
        let outcomes = join_all(ids.iter().map(|id| self.delete(id))).await;
        await_revision(&self.cache, outcomes.iter().flatten().copied().max()).await;
        let results = ids.into_iter().zip(&outcomes).map(|(id, outcome)| batch_delete_entry_response::Result {
            status: Some(outcome.as_ref().map_or_else(batch_error, |_| batch_ok())),
            id,
        });
        Ok(Response::new(BatchDeleteEntryResponse { results: results.collect() }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        self.authorized.get(&request)
    }

    type SyncAuthorizedEntriesStream = SyncStream;

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<SyncStream>, Status> {
        self.authorized.sync(request).await
    }
}

/// Selectors are a set, and SPIRE shows them in this order.
fn sort(entry: &mut RegistrationEntry) {
    entry.selectors.sort();
}

fn created_to_proto(outcome: &Result<Created, Status>, mask: &EntryMask) -> batch_create_entry_response::Result {
    let (status, entry) = match outcome {
        Ok(Created::New(entry, _)) => (batch_ok(), Some(entry)),
        Ok(Created::Similar(entry)) => {
            let code = code(ErrorKind::AlreadyExists) as i32;
            (types::Status { code, message: "similar entry already exists".into() }, Some(entry))
        }
        Err(status) => (batch_error(status), None),
    };
    let entry = entry.map(|entry| convert::entry::to_proto(entry, mask));
    batch_create_entry_response::Result { status: Some(status), entry }
}

impl Debug for EntryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryService").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

const CONVERT_FAILED: &str = "failed to convert entry";
const CREATE_FAILED: &str = "failed to create entry";
const UPDATE_FAILED: &str = "failed to update entry";
const NOT_FOUND: &str = "entry not found";

#[cfg(test)]
mod tests;
