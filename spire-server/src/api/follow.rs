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
        let Caller::Identified { leaf, .. } = caller(request.extensions())? else {
            return Err(Status::internal("caller has no SVID"));
        };
        let serial = leaf.serial_decimal();
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
            begun: former.is_some(),
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
    serial: String,
    view: View,
    /// Whether the agent has something that can be built upon.
    begun: bool,
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
            node.serial.is_some() && [&node.serial, &node.new_serial].into_iter().flatten().any(|s| *s == self.serial)
        })
    }

    /// Puts the next step together; `false` where there is nothing to tell.
    fn step(&mut self) -> bool {
        let (cache, now) = (&self.service.cache, self.service.clock.now());
        let ended = self.view.next_end().is_some_and(|end| end < now);
        let delta = match cache.since(self.view.revision()).filter(|_| self.begun && !ended) {
            Some(steps) => self.view.follow(&steps, now),
            None => {
                let index = cache.current();
                if self.begun && !ended && index.revision() == self.view.revision() {
                    return false;
                }
                self.view.compare_all(&index, now)
            }
        };
        if self.begun && delta.is_empty() {
            return false;
        }
        self.pages = pages(&delta, &self.service.instance, self.view.revision(), !self.begun);
        self.begun = true;
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
