//! What an agent may serve, told as it changes: beyond SPIRE, whose agents poll.
//!
//! A step is put together when the agent is ready for it, from the newest index: whoever reads slowly gets fewer and
//! larger steps, and nothing is kept for it meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use spiffe_core::{SpiffeId, Ttl};
use spire_api::convert::{bundle, entry};
use spire_api::proto::ext_registry::registry_server::Registry;
use spire_api::proto::ext_registry::{FollowRequest, FollowResponse};
use spire_runtime::Clock;
use spire_types::{EntryId, EntryMask, Revision};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{caller, role};
use crate::authz::Role;
use crate::caller::Caller;
use crate::entries::{Delta, EntryCache, View};

/// Entries in one response.
const PAGE_SIZE: usize = 500;

/// Tells agents what they may serve.
#[derive(Clone)]
pub(crate) struct FollowService {
    cache: Arc<EntryCache>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    /// Revisions that agents bring along are compared only with those of the same run of the same server.
    instance: Arc<str>,
}

impl FollowService {
    /// `instance` names this run of the server; no other has the name.
    pub(crate) fn new(
        cache: Arc<EntryCache>,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
        instance: String,
    ) -> Self {
        Self { cache, clock, shutdown, instance: instance.into() }
    }
}

impl fmt::Debug for FollowService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowService").field("instance", &self.instance).finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Registry for FollowService {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<FollowResponse, Status>> + Send>>;

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let Role::Agent(agent) = role(request.extensions())?.clone() else {
            return Err(Status::internal("caller is not an agent"));
        };
        let Caller::Identified { serial, .. } = caller(request.extensions())? else {
            return Err(Status::internal("caller has no SVID"));
        };
        let serial = serial.clone();
        let request = request.into_inner();
        let former = Some(Revision(request.revision))
            .filter(|_| *request.instance == *self.instance)
            .and_then(|revision| self.cache.at(revision));
        let now = self.clock.now();
        let view = match &former {
            Some(index) => View::at(agent.clone(), index, now),
            None => View::new(agent.clone()),
        };
        let revisions = self.cache.revisions();
        let follower = Follower {
            service: self.clone(),
            agent,
            serial,
            view,
            whole: former.is_none(),
            greeted: false,
            revisions,
            pages: VecDeque::new(),
        };
        Ok(Response::new(Box::pin(stream::unfold(follower, Follower::next))))
    }
}

/// One agent that follows.
struct Follower {
    service: FollowService,
    agent: SpiffeId,
    serial: Arc<str>,
    view: View,
    /// Whether the next step replaces all that the agent had.
    whole: bool,
    /// Whether the agent has been told where it stands: the first step may be empty.
    greeted: bool,
    revisions: watch::Receiver<Revision>,
    /// What is left of a step.
    pages: VecDeque<FollowResponse>,
}

impl Follower {
    /// The next response; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<FollowResponse, Status>, Self)> {
        loop {
            if let Some(page) = self.pages.pop_front() {
                return Some((Ok(page), self));
            }
            self.revisions.mark_unchanged();
            if !self.is_on_record() {
                return None;
            }
            if self.step() {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Whether the SVID with which the agent called is still that of its record. If not, the next call tells it why.
    fn is_on_record(&self) -> bool {
        let index = self.service.cache.current();
        index.node(&self.agent).is_some_and(|node| {
            node.serial.is_some()
                && [&node.serial, &node.new_serial].into_iter().flatten().any(|serial| **serial == *self.serial)
        })
    }

    /// Puts the next step together; `false` where there is nothing to tell.
    fn step(&mut self) -> bool {
        let (cache, now) = (&self.service.cache, self.service.clock.now());
        let ended = self.view.next_end().is_some_and(|end| end < now);
        let delta = match cache.since(self.view.revision()).filter(|_| !self.whole && !ended) {
            Some(steps) => self.view.follow(&steps, now),
            None => {
                let index = cache.current();
                if !self.whole && !ended && index.revision() == self.view.revision() {
                    Delta::default()
                } else {
                    self.view.compare_all(&index, now)
                }
            }
        };
        if self.greeted && delta.is_empty() {
            return false;
        }
        self.pages = pages(&delta, &self.service.instance, self.view.revision(), self.whole);
        (self.whole, self.greeted) = (false, true);
        true
    }

    /// Until there may be something to tell; `None` when the server ends.
    async fn wait(&mut self) -> Option<()> {
        let clock = Arc::clone(&self.service.clock);
        let next_end = self.view.next_end();
        let end = async {
            match next_end {
                Some(end) => clock.sleep_until(end + Ttl::from_secs(1)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.service.shutdown.cancelled() => None,
            changed = self.revisions.changed() => changed.ok(),
            () = end => Some(()),
        }
    }
}

/// The responses that make up one step; at least one.
fn pages(delta: &Delta, instance: &str, revision: Revision, whole: bool) -> VecDeque<FollowResponse> {
    let mask = EntryMask::ALL;
    let mut pages: VecDeque<FollowResponse> = delta
        .entries
        .chunks(PAGE_SIZE)
        .map(|entries| FollowResponse {
            entries: entries.iter().map(|it| entry::to_proto(it, &mask)).collect(),
            more: true,
            ..FollowResponse::default()
        })
        .collect();
    if pages.is_empty() {
        pages.push_back(FollowResponse::default());
    }
    for page in &mut pages {
        instance.clone_into(&mut page.instance);
        page.revision = revision.0;
        page.whole = whole;
    }
    if let Some(last) = pages.back_mut() {
        last.more = false;
        last.removed_entries = delta.removed_entries.iter().map(|id: &EntryId| id.as_str().to_owned()).collect();
        last.bundles = delta.bundles.iter().map(|it| bundle::to_proto(it, None)).collect();
        last.removed_bundles = delta.removed_bundles.iter().map(ToString::to_string).collect();
    }
    pages
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::{Timestamp, TrustDomain};
    use spire_datastore::{Created, DataStore, Entries as _, Nodes as _, SqliteStore};
    use spire_runtime::SimClock;
    use spire_types::{AttestedNode, RegistrationEntry};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    type Stream = <FollowService as Registry>::FollowStream;

    struct World {
        store: Arc<SqliteStore>,
        service: FollowService,
        leaf: spiffe_core::x509::Certificate,
        agent: SpiffeId,
    }

    impl World {
        async fn new() -> Self {
            let store = Arc::new(SqliteStore::in_memory().await.unwrap());
            let authority = TestAuthority::new("example.org");
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let agent = trust_domain.join("/spire/agent/one").unwrap();
            let leaf = authority.svid(agent.path()).leaf().clone();
            let node = AttestedNode {
                spiffe_id: agent.clone(),
                attestation_type: "join_token".into(),
                serial: Some(leaf.serial_decimal()),
                not_after: NOW + Ttl::from_hours(1),
                new_serial: None,
                new_not_after: None,
                can_reattest: false,
                selectors: Vec::new(),
                agent_version: String::new(),
            };
            store.attest_node(node).await.unwrap();
            let cache = EntryCache::load(Arc::clone(&store) as Arc<dyn DataStore>, trust_domain).await.unwrap();
            let clock = Arc::new(SimClock::starting_at(NOW));
            let service = FollowService::new(Arc::new(cache), clock, CancellationToken::new(), "run".into());
            Self { store, service, leaf, agent }
        }

        async fn follow(&self, revision: u64, instance: &str) -> Stream {
            let mut request = Request::new(FollowRequest { instance: instance.to_owned(), revision });
            request.extensions_mut().insert(Role::Agent(self.agent.clone()));
            let (id, leaf, serial) = (self.agent.clone(), self.leaf.clone(), self.leaf.serial_decimal().into());
            let caller = Caller::Identified { id, leaf, serial, address: None };
            request.extensions_mut().insert(caller);
            self.service.follow(request).await.unwrap().into_inner()
        }

        async fn create(&self, name: &str, expires_at: Option<Timestamp>) -> Revision {
            let id = self.agent.trust_domain().join(&format!("/{name}")).unwrap();
            let mut entry = RegistrationEntry::new(id, self.agent.clone(), vec!["unix:uid:1".parse().unwrap()]);
            entry.expires_at = expires_at;
            let id = EntryId::parse(name).unwrap();
            let Created::New(_, revision) = self.store.create_entry(entry, id, NOW).await.unwrap() else {
                panic!("similar")
            };
            self.service.cache.reach(revision).await.unwrap();
            revision
        }

        async fn delete(&self, name: &str) {
            let (_, revision) = self.store.delete_entry(&EntryId::parse(name).unwrap()).await.unwrap();
            self.service.cache.reach(revision).await.unwrap();
        }
    }

    async fn told(stream: &mut Stream) -> FollowResponse {
        stream.next().await.unwrap().unwrap()
    }

    fn names(response: &FollowResponse) -> BTreeSet<&str> {
        response.entries.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_told_everything_first_and_then_each_change() {
        let world = World::new().await;
        world.create("a", None).await;
        let mut stream = world.follow(0, "").await;
        let first = told(&mut stream).await;
        assert!(first.whole && !first.more && names(&first) == BTreeSet::from(["a"]));
        assert!(futures_util::poll!(stream.next()).is_pending(), "nothing has changed");
        let revision = world.create("b", None).await;
        let second = told(&mut stream).await;
        assert!(!second.whole && names(&second) == BTreeSet::from(["b"]) && second.revision == revision.0);
        world.delete("a").await;
        world.create("c", None).await;
        let third = told(&mut stream).await;
        assert!(names(&third) == BTreeSet::from(["c"]) && third.removed_entries == ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_comes_back_is_told_what_it_missed_and_everything_by_another_run() {
        let world = World::new().await;
        world.create("a", None).await;
        let first = told(&mut world.follow(0, "").await).await;
        world.create("b", None).await;
        let missed = told(&mut world.follow(first.revision, &first.instance).await).await;
        assert!(!missed.whole && names(&missed) == BTreeSet::from(["b"]));
        let mut current = world.follow(missed.revision, &missed.instance).await;
        let nothing = told(&mut current).await;
        assert!(!nothing.whole && nothing.entries.is_empty() && nothing.revision == missed.revision);
        assert!(futures_util::poll!(current.next()).is_pending(), "nothing was missed");
        for (revision, instance) in [(first.revision, "another run"), (first.revision + 999, "run")] {
            let all = told(&mut world.follow(revision, instance).await).await;
            assert!(all.whole && names(&all) == BTreeSet::from(["a", "b"]), "{instance}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_registry_is_told_too_and_large_ones_come_in_pages() {
        let world = World::new().await;
        let none = told(&mut world.follow(0, "").await).await;
        assert!(none.whole && none.entries.is_empty() && !none.more);
        for number in 0..PAGE_SIZE + 1 {
            world.create(&format!("e{number}"), None).await;
        }
        let mut stream = world.follow(0, "").await;
        let pages = [told(&mut stream).await, told(&mut stream).await];
        assert_eq!(
            pages.each_ref().map(|page| (page.entries.len(), page.whole, page.more)),
            [(PAGE_SIZE, true, true), (1, true, false)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_ends_is_taken_away_without_a_change_in_the_store() {
        let world = World::new().await;
        world.create("short", Some(NOW + Ttl::from_secs(60))).await;
        let mut stream = world.follow(0, "").await;
        told(&mut stream).await;
        let gone = told(&mut stream).await;
        assert_eq!(gone.removed_entries, ["short"]);
        assert_eq!(world.service.clock.now(), NOW + Ttl::from_secs(61));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_ends_for_an_agent_that_is_banned_and_when_the_server_ends() {
        let world = World::new().await;
        let mut banned = world.follow(0, "").await;
        told(&mut banned).await;
        let mut other = world.follow(0, "").await;
        told(&mut other).await;
        world.service.shutdown.cancel();
        assert!(other.next().await.is_none());
        let revision = world.store.ban_node(&world.agent).await.unwrap();
        world.service.cache.reach(revision).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(1), banned.next()).await.unwrap();
        assert!(ended.is_none());
    }
}
