//! The entries an agent may get: whole, or what has changed since it last asked.
//!
//! Answers come from the index in memory. A sync stream shows one state of it from beginning to end: first the
//! revisions of all entries, page by page, then those in full that the agent asks for. Few entries are sent in full at
//! once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use spire_api::convert::entry as convert;
use spire_api::proto::entry::{
    EntryRevision, GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, SyncAuthorizedEntriesRequest,
    SyncAuthorizedEntriesResponse,
};
use spire_runtime::Clock;
use spire_types::{EntryId, EntryMask, RegistrationEntry};
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use super::role;
use crate::authz::Role;
use crate::entries::EntryCache;

/// Entries or revisions in one response.
const PAGE_SIZE: usize = 500;

/// The responses of one sync.
pub(crate) type SyncStream =
    Pin<Box<dyn Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + Send + 'static>>;

/// Hands agents their entries.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizedEntries {
    cache: Arc<EntryCache>,
    clock: Arc<dyn Clock>,
}

impl AuthorizedEntries {
    pub(crate) fn new(cache: Arc<EntryCache>, clock: Arc<dyn Clock>) -> Self {
        Self { cache, clock }
    }

    /// All in full.
    ///
    /// # Errors
    /// `Internal` for a caller that is no agent, which the table of callers rules out.
    pub(crate) fn get(
        &self,
        request: &Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let mask = convert::mask_from_proto(request.get_ref().output_mask.as_ref());
        let entries = self.of_caller(request.extensions())?;
        let entries = entries.iter().map(|entry| convert::to_proto(entry, &mask)).collect();
        Ok(Response::new(GetAuthorizedEntriesResponse { entries }))
    }

    /// What has changed, as far as the agent asks for it.
    ///
    /// # Errors
    /// `InvalidArgument` for a first request that breaks the protocol.
    pub(crate) async fn sync(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<SyncStream>, Status> {
        let mut entries = self.of_caller(request.extensions())?;
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else { return Ok(Response::new(Box::pin(stream::empty()))) };
        if first.output_mask.as_ref().is_some_and(|mask| !mask.revision_number) {
            return Err(Status::invalid_argument("revision number cannot be masked"));
        }
        if !first.ids.is_empty() {
            return Err(Status::invalid_argument("specifying IDs on initial request is not supported"));
        }
        let mask = convert::mask_from_proto(first.output_mask.as_ref());
        if entries.len() <= PAGE_SIZE {
            let response = full(&entries, &mask, false);
            return Ok(Response::new(Box::pin(stream::iter([Ok(response)]))));
        }
        entries.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        let waiting = revision_pages(&entries);
        let sync = Sync { requests, mask, entries, waiting };
        Ok(Response::new(Box::pin(stream::try_unfold(sync, Sync::next))))
    }

    fn of_caller(&self, extensions: &Extensions) -> Result<Vec<Arc<RegistrationEntry>>, Status> {
        match role(extensions)? {
            Role::Agent(id) => Ok(self.cache.current().authorized(id, self.clock.now())),
            _ => Err(Status::internal("caller is not an agent")),
        }
    }
}

/// A sync under way: what there is, sorted by ID, and what is about to be sent.
struct Sync {
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    mask: EntryMask,
    entries: Vec<Arc<RegistrationEntry>>,
    waiting: VecDeque<Page>,
}

/// A response that is not encoded yet; the flag says whether more follow.
#[derive(Debug, PartialEq)]
enum Page {
    Revisions(Vec<Arc<RegistrationEntry>>, bool),
    Full(Vec<Arc<RegistrationEntry>>, bool),
}

impl Sync {
    async fn next(mut self) -> Result<Option<(SyncAuthorizedEntriesResponse, Self)>, Status> {
        loop {
            if let Some(page) = self.waiting.pop_front() {
                let response = match page {
                    Page::Revisions(entries, more) => revisions(&entries, more),
                    Page::Full(entries, more) => full(&entries, &self.mask, more),
                };
                return Ok(Some((response, self)));
            }
            match self.requests.message().await {
                Ok(Some(request)) => self.waiting = full_pages(&self.entries, request.ids),
                Ok(None) => return Ok(None),
                Err(status) if status.code() == Code::Cancelled => return Ok(None),
                Err(status) => return Err(status),
            }
        }
    }
}

fn revision_pages(entries: &[Arc<RegistrationEntry>]) -> VecDeque<Page> {
    let last = entries.len().div_ceil(PAGE_SIZE);
    let pages = entries.chunks(PAGE_SIZE).zip(1..);
    pages.map(|(page, number)| Page::Revisions(page.to_vec(), number < last)).collect()
}

/// Pages with the entries of these IDs. A full page is never the last one.
fn full_pages(entries: &[Arc<RegistrationEntry>], mut ids: Vec<String>) -> VecDeque<Page> {
    ids.sort_unstable();
    let wanted = ids.iter().filter_map(|id| {
        let found = entries.binary_search_by(|entry| entry.id.as_ref().map(EntryId::as_str).cmp(&Some(id.as_str())));
        entries.get(found.ok()?).cloned()
    });
    let (mut pages, mut page) = (VecDeque::new(), Vec::new());
    for entry in wanted {
        page.push(entry);
        if page.len() == PAGE_SIZE {
            pages.push_back(Page::Full(std::mem::take(&mut page), true));
        }
    }
    pages.push_back(Page::Full(page, false));
    pages
}

fn revisions(entries: &[Arc<RegistrationEntry>], more: bool) -> SyncAuthorizedEntriesResponse {
    let revision = |entry: &Arc<RegistrationEntry>| EntryRevision {
        id: entry.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        revision_number: entry.revision_number,
        created_at: entry.created_at.as_unix(),
    };
    SyncAuthorizedEntriesResponse { entry_revisions: entries.iter().map(revision).collect(), entries: Vec::new(), more }
}

fn full(entries: &[Arc<RegistrationEntry>], mask: &EntryMask, more: bool) -> SyncAuthorizedEntriesResponse {
    let entries = entries.iter().map(|entry| convert::to_proto(entry, mask)).collect();
    SyncAuthorizedEntriesResponse { entry_revisions: Vec::new(), entries, more }
}

#[cfg(test)]
mod tests {
    use spiffe_core::TrustDomain;

    use super::*;

    fn entries(count: usize) -> Vec<Arc<RegistrationEntry>> {
        let own = TrustDomain::parse("example.org").unwrap();
        let entry = |number: usize| {
            let mut entry = RegistrationEntry::new(own.join("/a").unwrap(), own.join("/p").unwrap(), Vec::new());
            entry.id = Some(EntryId::parse(&format!("{number:05}")).unwrap());
            Arc::new(entry)
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn revisions_come_in_pages_of_which_the_last_says_so() {
        let pages = revision_pages(&entries(1000));
        let lengths: Vec<_> = pages
            .iter()
            .map(|page| match page {
                Page::Revisions(page, more) | Page::Full(page, more) => (page.len(), *more),
            })
            .collect();
        assert_eq!(lengths, [(500, true), (500, false)]);
    }

    #[test]
    fn entries_asked_for_come_sorted_and_the_last_page_is_never_full() {
        let entries = entries(1200);
        let ids = |numbers: Vec<usize>| numbers.into_iter().map(|number| format!("{number:05}")).collect::<Vec<_>>();
        let some = full_pages(&entries, ids(vec![7, 3, 99_999, 3]));
        let page = [3, 3, 7].map(|number| Arc::clone(&entries[number])).to_vec();
        assert_eq!(some, [Page::Full(page, false)]);
        let exact = full_pages(&entries, ids((0..500).rev().collect()));
        assert_eq!(exact, [Page::Full(entries[..500].to_vec(), true), Page::Full(Vec::new(), false)]);
    }
}
