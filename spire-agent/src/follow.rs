//! What a server that pushes has told: beyond SPIRE, whose agents poll.
//!
//! [`Mirror`] is what has been told so far, as a value; [`Follow`] is the open stream. When it breaks, the mirror says
//! where to go on.

use std::collections::BTreeSet;

use spiffe_core::{BundleSet, TrustDomain};
use spire_api::channel::MAX_RESPONSE_LENGTH;
use spire_api::proto::ext_registry::registry_client::RegistryClient;
use spire_api::proto::ext_registry::{FollowRequest, FollowResponse};
use spire_types::{EntryId, RegistrationEntry};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::cache::Synced;
use crate::client::in_time;
use crate::remote::{self, Budget};

/// An open stream.
#[derive(Debug)]
pub(crate) struct Follow {
    responses: Streaming<FollowResponse>,
    /// What has come of a step that is not complete.
    parts: Vec<FollowResponse>,
    left: Budget,
}

impl Follow {
    /// Opens the stream where `mirror` stands, and takes the first step.
    ///
    /// # Errors
    /// `Unimplemented` of a server that does not push; whatever else the call fails with.
    pub(crate) async fn open(
        channel: &Channel,
        mirror: &mut Mirror,
        trust_domain: &TrustDomain,
    ) -> Result<(Self, Synced), Status> {
        let mut client = RegistryClient::new(channel.clone()).max_decoding_message_size(MAX_RESPONSE_LENGTH);
        let request = mirror.request();
        let responses = in_time(client.follow(request)).await?.into_inner();
        let mut follow = Self { responses, parts: Vec::new(), left: Budget::default() };
        let synced = in_time(follow.next(mirror, trust_domain)).await?;
        Ok((follow, synced))
    }

    /// Waits for the next step. May be dropped at any time and asked again: nothing is lost.
    ///
    /// # Errors
    /// The stream has ended.
    pub(crate) async fn next(&mut self, mirror: &mut Mirror, trust_domain: &TrustDomain) -> Result<Synced, Status> {
        loop {
            let part = self.responses.message().await?;
            let part = part.ok_or_else(|| Status::unavailable("server ended the stream of entries"))?;
            self.left.spend(&part)?;
            let complete = !part.more;
            self.parts.push(part);
            if complete {
                self.left = Budget::default();
                return Ok(mirror.take(std::mem::take(&mut self.parts), trust_domain));
            }
        }
    }
}

/// All that has been told.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    instance: String,
    revision: u64,
    present: BTreeSet<EntryId>,
    bundles: BundleSet,
}

impl Mirror {
    fn request(&self) -> FollowRequest {
        FollowRequest { instance: self.instance.clone(), revision: self.revision }
    }

    /// Takes a complete step in: what there is now, and which of it differs.
    fn take(&mut self, parts: Vec<FollowResponse>, trust_domain: &TrustDomain) -> Synced {
        let mut changed: Vec<RegistrationEntry> = Vec::new();
        if parts.first().is_some_and(|part| part.whole) {
            self.present.clear();
            self.bundles = BundleSet::default();
        }
        for part in parts {
            self.instance = part.instance;
            self.revision = part.revision;
            let gone = part.removed_entries.iter().chain(part.entries.iter().map(|entry| &entry.id));
            for id in gone.filter_map(|id| EntryId::parse(id).ok()) {
                self.present.remove(&id);
            }
            for entry in remote::usable(&part.entries, trust_domain) {
                self.present.extend(entry.id.clone());
                changed.push(entry);
            }
            for name in part.removed_bundles.iter().filter_map(|name| TrustDomain::parse(name).ok()) {
                self.bundles.remove(&name);
            }
            for bundle in &part.bundles {
                remote::keep_any(&mut self.bundles, bundle);
            }
        }
        Synced { present: self.present.clone(), entries: changed, bundles: self.bundles.clone() }
    }
}
