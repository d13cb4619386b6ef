//! The entries an agent may get: whole, or what has changed since it last asked.
//!
//! Answers come from the index in memory, and one that still holds is given again as it was encoded. A sync stream shows
//! one state of the index from beginning to end: first the revisions of all entries, page by page, then those in full
//! that the agent asks for. Few entries are sent in full at once.

mod answers;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use spiffe_core::{SpiffeId, Timestamp};
use spire_api::convert::entry as convert;
use spire_api::proto::entry::{
    EntryRevision, GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, SyncAuthorizedEntriesRequest,
    SyncAuthorizedEntriesResponse,
};
use spire_runtime::Clock;
use spire_types::{EntryId, EntryMask, RegistrationEntry};
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use self::answers::{Answer, Answers, Question};
use super::role;
use crate::authz::Role;
use crate::entries::{EntryCache, EntryIndex};

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
    answers: Arc<Answers>,
}

impl AuthorizedEntries {
    pub(crate) fn new(cache: Arc<EntryCache>, clock: Arc<dyn Clock>) -> Self {
        Self { cache, clock, answers: Arc::default() }
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
        let state = self.state_for(request.extensions())?;
        let answer = self.answer(&state, Question::All(mask));
        let encoded = answer.messages.first().cloned().unwrap_or_default();
        Ok(Response::new(GetAuthorizedEntriesResponse { entries: Vec::new(), encoded }))
    }

    /// What has changed, as far as the agent asks for it.
    ///
    /// # Errors
    /// `InvalidArgument` for a first request that breaks the protocol.
    pub(crate) async fn sync(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<SyncStream>, Status> {
        let state = self.state_for(request.extensions())?;
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else { return Ok(Response::new(Box::pin(stream::empty()))) };
        if first.output_mask.as_ref().is_some_and(|mask| !mask.revision_number) {
            return Err(Status::invalid_argument("revision number cannot be masked"));
        }
        if !first.ids.is_empty() {
            return Err(Status::invalid_argument("specifying IDs on initial request is not supported"));
        }
        let mask = convert::mask_from_proto(first.output_mask.as_ref());
        let answer = self.answer(&state, Question::Sync(mask));
        let waiting = answer.messages.iter().cloned().map(Page::Encoded).collect();
        let sync = Sync { requests, mask, state, entries: None, waiting, is_whole: answer.is_whole };
        Ok(Response::new(Box::pin(stream::try_unfold(sync, Sync::next))))
    }

    fn state_for(&self, extensions: &Extensions) -> Result<State, Status> {
        match role(extensions)? {
            Role::Agent(agent) => {
                Ok(State { agent: agent.clone(), index: self.cache.current(), now: self.clock.now() })
            }
            _ => Err(Status::internal("caller is not an agent")),
        }
    }

    fn answer(&self, state: &State, question: Question) -> Arc<Answer> {
        let State { agent, index, now } = state;
        self.answers.get(agent, question, index.revision(), *now).unwrap_or_else(|| {
            let answer = Arc::new(state.answer(question));
            self.answers.put(agent, question, Arc::clone(&answer));
            answer
        })
    }
}

/// Who asks, and what it is answered from.
struct State {
    agent: SpiffeId,
    index: Arc<EntryIndex>,
    now: Timestamp,
}

impl State {
    fn answer(&self, question: Question) -> Answer {
        let (mut entries, until) = self.index.authorized_until(&self.agent, self.now);
        let is_whole = matches!(question, Question::All(_)) || entries.len() <= PAGE_SIZE;
        let messages = match question {
            Question::All(mask) => {
                let entries = entries.iter().map(|entry| convert::to_proto(entry, &mask)).collect();
                let whole = GetAuthorizedEntriesResponse { entries, ..GetAuthorizedEntriesResponse::default() };
                vec![whole.encode_to_vec().into()]
            }
            Question::Sync(mask) if is_whole => vec![full(&entries, &mask, false).encode_to_vec().into()],
            Question::Sync(_) => {
                sort(&mut entries);
                let last = entries.len().div_ceil(PAGE_SIZE);
                let pages = entries.chunks(PAGE_SIZE).zip(1..);
                pages.map(|(page, number)| revisions(page, number < last).encode_to_vec().into()).collect()
            }
        };
        Answer { revision: self.index.revision(), since: self.now, until, messages, is_whole }
    }

    /// The entries, by ID.
    fn entries(&self) -> Vec<Arc<RegistrationEntry>> {
        let mut entries = self.index.authorized(&self.agent, self.now);
        sort(&mut entries);
        entries
    }
}

fn sort(entries: &mut [Arc<RegistrationEntry>]) {
    entries.sort_unstable_by(|left, right| left.id.cmp(&right.id));
}

/// A sync under way: what it is answered from, and what is about to be sent.
struct Sync {
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    mask: EntryMask,
    state: State,
    /// By ID; `None` until the agent asks for some.
    entries: Option<Vec<Arc<RegistrationEntry>>>,
    waiting: VecDeque<Page>,
    /// Whether nothing can be asked for: everything is sent at once.
    is_whole: bool,
}

/// A response that is to be sent.
#[derive(Debug, PartialEq)]
enum Page {
    Encoded(Bytes),
    /// Not encoded yet; the flag says whether more follow.
    Full(Vec<Arc<RegistrationEntry>>, bool),
}

impl Sync {
    async fn next(mut self) -> Result<Option<(SyncAuthorizedEntriesResponse, Self)>, Status> {
        loop {
            if let Some(page) = self.waiting.pop_front() {
                let response = match page {
                    Page::Encoded(encoded) => {
                        SyncAuthorizedEntriesResponse { encoded, ..SyncAuthorizedEntriesResponse::default() }
                    }
                    Page::Full(entries, more) => full(&entries, &self.mask, more),
                };
                return Ok(Some((response, self)));
            }
            if self.is_whole {
                return Ok(None);
            }
            match self.requests.message().await {
                Ok(Some(request)) => {
                    let entries = self.entries.get_or_insert_with(|| self.state.entries());
                    self.waiting = full_pages(entries, request.ids);
                }
                Ok(None) => return Ok(None),
                Err(status) if status.code() == Code::Cancelled => return Ok(None),
                Err(status) => return Err(status),
            }
        }
    }
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
    let entry_revisions = entries.iter().map(revision).collect();
    SyncAuthorizedEntriesResponse { entry_revisions, more, ..SyncAuthorizedEntriesResponse::default() }
}

fn full(entries: &[Arc<RegistrationEntry>], mask: &EntryMask, more: bool) -> SyncAuthorizedEntriesResponse {
    let entries = entries.iter().map(|entry| convert::to_proto(entry, mask)).collect();
    SyncAuthorizedEntriesResponse { entries, more, ..SyncAuthorizedEntriesResponse::default() }
}

#[cfg(test)]
mod tests {
    use spiffe_core::TrustDomain;
    use spire_datastore::Change;
    use spire_types::Revision;

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

    /// An agent `/p` with so many entries, of which the first ends.
    fn state(count: usize, now: i64) -> State {
        let agent = TrustDomain::parse("example.org").unwrap().join("/p").unwrap();
        let changes = entries(count).into_iter().enumerate().map(|(number, entry)| {
            let mut entry = entry.as_ref().clone();
            entry.expires_at = (number == 0).then(|| Timestamp::from_unix(1000));
            Change::Entry(entry.id.clone().unwrap(), Some(entry))
        });
        let index = EntryIndex::new(agent.trust_domain()).after(Revision(1), changes.collect());
        State { agent, index: Arc::new(index), now: Timestamp::from_unix(now) }
    }

    fn pages(answer: &Answer) -> Vec<SyncAuthorizedEntriesResponse> {
        answer.messages.iter().map(|page| SyncAuthorizedEntriesResponse::decode(&**page).unwrap()).collect()
    }

    #[test]
    fn few_entries_come_whole_and_the_revisions_of_many_in_pages_of_which_the_last_says_so() {
        let sync = Question::Sync(EntryMask::ALL);
        let few = state(500, 900).answer(sync);
        assert!(few.is_whole && pages(&few)[0].entries.len() == 500 && !pages(&few)[0].more);
        let many = state(1000, 900).answer(sync);
        let lengths: Vec<_> = pages(&many).iter().map(|page| (page.entry_revisions.len(), page.more)).collect();
        assert_eq!(lengths, [(500, true), (500, false)]);
        assert!(!many.is_whole);
        let ids = pages(&many).into_iter().flat_map(|page| page.entry_revisions).map(|revision| revision.id);
        assert!(ids.is_sorted());
    }

    #[test]
    fn an_answer_holds_until_the_first_of_its_entries_has_ended() {
        let all = Question::All(EntryMask::ALL);
        let count = |answer: &Answer| GetAuthorizedEntriesResponse::decode(&*answer.messages[0]).unwrap().entries.len();
        let before = state(3, 1000).answer(all);
        assert_eq!((count(&before), before.until), (3, Some(Timestamp::from_unix(1001))));
        let after = state(3, 1001).answer(all);
        assert_eq!((count(&after), after.until), (2, None));
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
