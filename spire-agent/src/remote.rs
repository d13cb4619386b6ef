//! What the agent asks of the server again and again: entries, bundles, SVIDs. SPIRE's own RPCs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use spiffe_core::x509::{Certificate, CsrTemplate, X509Svid};
use spiffe_core::{BundleSet, KeyType, PrivateKey, SpiffeId, Timestamp, TrustDomain};
use spire_api::channel::MAX_RESPONSE_LENGTH;
use spire_api::convert::{bundle, entry};
use spire_api::proto::agent::PostStatusRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::bundle::{GetBundleRequest, GetFederatedBundleRequest};
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{
    GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::svid::{BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams};
use spire_api::proto::types;
use spire_types::{EntryId, RegistrationEntry};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::cache::{JwtSvid, MintRequest, Minted, Revision};
use crate::client::in_time;

/// How many bundles are asked for at once.
const CONCURRENT_BUNDLES: usize = 10;

/// Which entries there are, and those of them that differ from what is known.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) present: BTreeSet<EntryId>,
    pub(crate) entries: Vec<RegistrationEntry>,
}

/// Tells the server which version this is.
pub(crate) async fn post_status(channel: &Channel) -> Result<(), Status> {
    let status = PostStatusRequest { agent_version: env!("CARGO_PKG_VERSION").to_owned(), ..Default::default() };
    in_time(AgentClient::new(channel.clone()).post_status(status)).await.map(drop)
}

/// The agent's entries. A server that knows no revisions is asked for all of them.
pub(crate) async fn entries(
    channel: &Channel,
    trust_domain: &TrustDomain,
    known: &BTreeMap<EntryId, Revision>,
) -> Result<Listing, Status> {
    match in_time(by_revision(channel, trust_domain, known)).await {
        Err(status) if status.code() == Code::Unimplemented => in_time(all(channel, trust_domain)).await,
        outcome => outcome,
    }
}

async fn all(channel: &Channel, trust_domain: &TrustDomain) -> Result<Listing, Status> {
    let request = GetAuthorizedEntriesRequest { output_mask: Some(mask()) };
    let response = client(channel).get_authorized_entries(request).await?.into_inner();
    Ok(complete(&response.entries, trust_domain))
}

async fn by_revision(
    channel: &Channel,
    trust_domain: &TrustDomain,
    known: &BTreeMap<EntryId, Revision>,
) -> Result<Listing, Status> {
    let (requests, outgoing) = mpsc::channel(1);
    send(&requests, SyncAuthorizedEntriesRequest { output_mask: Some(mask()), ids: Vec::new() }).await?;
    let mut responses = client(channel).sync_authorized_entries(ReceiverStream::new(outgoing)).await?.into_inner();
    let mut left = Budget::default();
    let mut response = next(&mut responses, &mut left).await?;
    if response.entry_revisions.is_empty() {
        return Ok(complete(&response.entries, trust_domain));
    }
    let page_size = response.entry_revisions.len();
    let mut listing = Listing::default();
    let mut stale = BTreeSet::new();
    loop {
        if !response.entries.is_empty() {
            return Err(Status::internal("server sent entries where revisions were expected"));
        }
        for revision in &response.entry_revisions {
            let Ok(id) = EntryId::parse(&revision.id) else {
                tracing::warn!(entry_id = %revision.id, "received malformed entry revision");
                continue;
            };
            let created_at = Timestamp::from_unix(revision.created_at);
            let same = known.get(&id).is_some_and(|known| {
                known.number == revision.revision_number && (revision.created_at == 0 || known.created_at == created_at)
            });
            if !same {
                stale.insert(revision.id.clone());
            }
            listing.present.insert(id);
        }
        if !response.more {
            break;
        }
        response = next(&mut responses, &mut left).await?;
    }
    let stale: Vec<String> = stale.into_iter().collect();
    for ids in stale.chunks(page_size) {
        send(&requests, SyncAuthorizedEntriesRequest { output_mask: None, ids: ids.to_vec() }).await?;
        loop {
            let response = next(&mut responses, &mut left).await?;
            if !response.entry_revisions.is_empty() {
                return Err(Status::internal("server sent revisions where entries were expected"));
            }
            listing.entries.extend(usable(&response.entries, trust_domain));
            if !response.more {
                break;
            }
        }
    }
    Ok(listing)
}

fn client(channel: &Channel) -> EntryClient<Channel> {
    EntryClient::new(channel.clone()).max_decoding_message_size(MAX_RESPONSE_LENGTH)
}

async fn send(
    requests: &mpsc::Sender<SyncAuthorizedEntriesRequest>,
    request: SyncAuthorizedEntriesRequest,
) -> Result<(), Status> {
    requests.send(request).await.map_err(|_| Status::unavailable("server ended the sync"))
}

async fn next(
    responses: &mut Streaming<SyncAuthorizedEntriesResponse>,
    left: &mut Budget,
) -> Result<SyncAuthorizedEntriesResponse, Status> {
    let response = responses.message().await?.ok_or_else(|| Status::unavailable("server ended the sync"))?;
    left.spend(&response)?;
    Ok(response)
}

/// What a server may still send for one answer in parts.
#[derive(Debug)]
pub(crate) struct Budget(usize);

/// As much as entries take that no agent of ours could hold, a million or so.
const LONGEST_ANSWER: usize = 256 << 20;
/// What each part takes besides its content, in memory.
const PART: usize = 256;

impl Default for Budget {
    fn default() -> Self {
        Self(LONGEST_ANSWER)
    }
}

impl Budget {
    /// Counts a part.
    ///
    /// # Errors
    /// `ResourceExhausted`: the answer is too long, or without end.
    pub(crate) fn spend(&mut self, part: &impl prost::Message) -> Result<(), Status> {
        let left = self.0.checked_sub(part.encoded_len() + PART);
        self.0 = left.ok_or_else(|| {
            Status::resource_exhausted(format!("server sent an answer larger than {LONGEST_ANSWER} bytes"))
        })?;
        Ok(())
    }
}

fn complete(wire: &[types::Entry], trust_domain: &TrustDomain) -> Listing {
    let entries: Vec<RegistrationEntry> = usable(wire, trust_domain).collect();
    Listing { present: entries.iter().filter_map(|entry| entry.id.clone()).collect(), entries }
}

/// Those entries that can be used; the others are told in the log.
pub(crate) fn usable<'a>(
    wire: &'a [types::Entry],
    trust_domain: &'a TrustDomain,
) -> impl Iterator<Item = RegistrationEntry> + use<'a> {
    wire.iter().filter_map(|wire| {
        let entry = entry::from_server(wire, trust_domain);
        let entry = entry.map_err(|err| err.to_string()).and_then(|entry| match entry.selectors.is_empty() {
            true => Err("missing selectors".to_owned()),
            false => Ok(entry),
        });
        entry.inspect_err(|err| tracing::warn!(entry_id = %wire.id, %err, "received malformed entry")).ok()
    })
}

/// What agents need to know of entries: not their TTLs, DNS names and parents.
fn mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        selectors: true,
        federates_with: true,
        admin: true,
        downstream: true,
        revision_number: true,
        store_svid: true,
        hint: true,
        created_at: true,
        additional_attributes: true,
        ..Default::default()
    }
}

/// The bundle of the agent's trust domain, and those of `federated`; of the latter those that the server has.
pub(crate) async fn bundles(
    channel: &Channel,
    trust_domain: &TrustDomain,
    federated: BTreeSet<TrustDomain>,
) -> Result<BundleSet, Status> {
    let client = BundleClient::new(channel.clone()).max_decoding_message_size(MAX_RESPONSE_LENGTH);
    let mut own = client.clone();
    let own = in_time(own.get_bundle(GetBundleRequest::default())).await?.into_inner();
    let mut bundles = BundleSet::default();
    keep(&mut bundles, &own, trust_domain);
    let fetched = federated.into_iter().filter(|other| other != trust_domain).map(|other| {
        let mut client = client.clone();
        async move {
            let request = GetFederatedBundleRequest { trust_domain: other.to_string(), ..Default::default() };
            let response = in_time(client.get_federated_bundle(request)).await;
            (other, response)
        }
    });
    let mut fetched = futures_util::stream::iter(fetched).buffer_unordered(CONCURRENT_BUNDLES);
    while let Some((other, response)) = fetched.next().await {
        match response {
            Ok(response) => keep(&mut bundles, response.get_ref(), &other),
            Err(status) if status.code() == Code::NotFound => {
                tracing::warn!(trust_domain = %other, "Federated bundle not found");
            }
            Err(status) => return Err(status),
        }
    }
    Ok(bundles)
}

fn keep(bundles: &mut BundleSet, wire: &types::Bundle, trust_domain: &TrustDomain) {
    match bundle::from_proto(wire) {
        Ok(bundle) if bundle.trust_domain == *trust_domain => drop(bundles.insert(bundle)),
        Ok(bundle) => tracing::warn!(%trust_domain, "received the bundle of {} instead", bundle.trust_domain),
        Err(err) => {
            let hint = "are the SPIRE versions compatible?";
            tracing::warn!(%trust_domain, %err, "Received malformed bundle from SPIRE server; {hint}");
        }
    }
}

/// Keeps a bundle of whichever trust domain.
pub(crate) fn keep_any(bundles: &mut BundleSet, wire: &types::Bundle) {
    match TrustDomain::parse(&wire.trust_domain) {
        Ok(trust_domain) => keep(bundles, wire, &trust_domain),
        Err(err) => tracing::warn!(trust_domain = %wire.trust_domain, %err, "received the bundle of no trust domain"),
    }
}

/// Makes a key for each request and has the server mint, all at once.
pub(crate) async fn mint(
    channel: &Channel,
    requests: Vec<MintRequest>,
    key_type: KeyType,
) -> Result<Vec<Minted>, Status> {
    let prepared = tokio::task::spawn_blocking(move || prepare(requests, key_type)).await;
    let (prepared, params) = prepared.map_err(|err| Status::internal(err.to_string()))??;
    let mut client = SvidClient::new(channel.clone()).max_decoding_message_size(MAX_RESPONSE_LENGTH);
    let response = in_time(client.batch_new_x509svid(BatchNewX509svidRequest { params })).await?.into_inner();
    if response.results.len() != prepared.len() {
        return Err(Status::internal(format!("{} results for {} requests", response.results.len(), prepared.len())));
    }
    let outcomes = prepared.into_iter().zip(response.results).map(|((request, key), result)| {
        let status = result.status.unwrap_or_default();
        let outcome = match (status.code, result.svid) {
            (0, Some(svid)) => x509_svid(&svid, key),
            (0, None) => Err("server sent no SVID".to_owned()),
            _ => Err(status.message),
        };
        Minted { id: request.id, revision: request.revision, outcome }
    });
    Ok(outcomes.collect())
}

type Prepared = (Vec<(MintRequest, PrivateKey)>, Vec<NewX509svidParams>);

fn prepare(requests: Vec<MintRequest>, key_type: KeyType) -> Result<Prepared, Status> {
    let failed = |err: &dyn std::fmt::Display| Status::internal(format!("failed to make a request: {err}"));
    let (mut prepared, mut params) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
    for request in requests {
        let key = PrivateKey::generate(key_type).map_err(|err| failed(&err))?;
        let template = CsrTemplate { uri_sans: vec![request.spiffe_id.to_string()], ..Default::default() };
        let csr = template.sign(&key).map_err(|err| failed(&err))?;
        params.push(NewX509svidParams { entry_id: request.id.to_string(), csr: csr.into() });
        prepared.push((request, key));
    }
    Ok((prepared, params))
}

fn x509_svid(wire: &types::X509svid, key: PrivateKey) -> Result<X509Svid, String> {
    let chain: Result<Vec<_>, _> = wire.cert_chain.iter().map(|der| Certificate::from_der(der)).collect();
    chain.and_then(|chain| X509Svid::new(chain, key)).map_err(|err| err.to_string())
}

/// A token of an entry.
pub(crate) async fn jwt(
    channel: &Channel,
    id: &EntryId,
    spiffe_id: &SpiffeId,
    audience: &[String],
) -> Result<JwtSvid, Status> {
    let request = NewJwtsvidRequest { entry_id: id.to_string(), audience: audience.to_vec() };
    let response = in_time(SvidClient::new(channel.clone()).new_jwtsvid(request)).await?.into_inner();
    let wrong = |what: &str| Status::internal(format!("JWT-SVID response {what}"));
    let svid = response.svid.ok_or_else(|| wrong("has no SVID"))?;
    if svid.issued_at == 0 || svid.expires_at == 0 || svid.issued_at > svid.expires_at {
        return Err(wrong("has no valid lifetime"));
    }
    Ok(JwtSvid {
        id: spiffe_id.clone(),
        token: svid.token,
        issued_at: Timestamp::from_unix(svid.issued_at),
        expires_at: Timestamp::from_unix(svid.expires_at),
    })
}
