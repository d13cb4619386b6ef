//! The rows that are turns: what one call costs the server or the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use spiffe_core::x509::CsrTemplate;
use spiffe_core::{KeyType, PrivateKey};
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest};
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::svid::{
    BatchNewX509svidRequest, MintJwtsvidRequest, MintX509svidRequest, NewJwtsvidRequest, NewX509svidParams,
};
use spire_api::proto::types;
use tonic::transport::Channel;

use crate::deployment::{Deployment, RunningAgent};
use crate::measure::{Turn, jobs, turn};
use crate::node::{self, Dialer};
use crate::{Failure, TRUST_DOMAIN, registry};

/// Calls at a time.
const CALLERS: usize = 8;
/// Attestations in a turn, each with a token of its own.
const ATTESTATIONS: usize = 600;

fn workload_id() -> types::Spiffeid {
    types::Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: "/minted".to_owned() }
}

/// MintX509SVID on the administrators' socket.
pub(crate) fn mint_x509(deployment: &Deployment) -> Result<Turn<'_>, Failure> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let uri_sans = vec![format!("spiffe://{TRUST_DOMAIN}/minted")];
    let csr = CsrTemplate { uri_sans, ..CsrTemplate::default() }.sign(&key)?;
    let request = MintX509svidRequest { csr: csr.into(), ttl: 3600 };
    let clients: Vec<_> = (0..CALLERS).map(|_| SvidClient::new(deployment.admin())).collect();
    Ok(Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let (client, request) = (client.clone(), request.clone());
                move || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move { Ok(client.mint_x509svid(request).await.map(drop)?) }
                }
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    }))
}

/// MintJWTSVID on the administrators' socket.
pub(crate) fn mint_jwt(deployment: &Deployment) -> Turn<'_> {
    let request = MintJwtsvidRequest { id: Some(workload_id()), audience: vec!["bench".to_owned()], ttl: 300 };
    let clients: Vec<_> = (0..CALLERS).map(|_| SvidClient::new(deployment.admin())).collect();
    Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let (client, request) = (client.clone(), request.clone());
                move || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move { Ok(client.mint_jwtsvid(request).await.map(drop)?) }
                }
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    })
}

/// AttestAgent by join token, each over a new TLS connection.
pub(crate) fn attest(deployment: &Deployment) -> Turn<'_> {
    Box::new(move |_| {
        async move {
            let anonymous = Dialer::new(deployment.address, None, deployment.bundle().await?)?;
            let (_, csr) = node::request()?;
            let mut tokens = Vec::with_capacity(ATTESTATIONS);
            for _ in 0..ATTESTATIONS {
                tokens.push(deployment.token(None).await?);
            }
            jobs(&deployment.server, CALLERS, tokens, move |token| {
                let (anonymous, csr) = (anonymous.clone(), csr.clone());
                async move { node::attest(&anonymous, token, csr).await.map(drop) }
            })
            .await
        }
        .boxed()
    })
}

/// BatchNewX509SVID of so many entries a call.
pub(crate) async fn batch_x509<'a>(
    deployment: &'a Deployment,
    node: &Dialer,
    entries: &[String],
) -> Result<Turn<'a>, Failure> {
    let (_, csr) = node::request()?;
    let params = entries.iter().map(|id| NewX509svidParams { entry_id: id.clone(), csr: csr.clone().into() }).collect();
    let request = BatchNewX509svidRequest { params };
    let mut clients: Vec<_> = (0..CALLERS).map(|_| SvidClient::new(node.channel())).collect();
    for client in &mut clients {
        let results = client.batch_new_x509svid(request.clone()).await?.into_inner().results;
        if results.iter().any(|result| result.svid.is_none()) || results.len() != entries.len() {
            return Err(format!("not every SVID is signed: {:?}", results.first()).into());
        }
    }
    let worth = u64::try_from(entries.len())?;
    Ok(Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let (client, request) = (client.clone(), request.clone());
                move || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move { Ok(client.batch_new_x509svid(request).await.map(drop)?) }
                }
            })
            .collect();
        turn(&deployment.server, length, worth, callers).boxed()
    }))
}

/// NewJWTSVID of an agent.
pub(crate) fn new_jwt<'a>(deployment: &'a Deployment, node: &Dialer, entry: &str) -> Turn<'a> {
    let request = NewJwtsvidRequest { entry_id: entry.to_owned(), audience: vec!["bench".to_owned()] };
    let clients: Vec<_> = (0..CALLERS).map(|_| SvidClient::new(node.channel())).collect();
    Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let (client, request) = (client.clone(), request.clone());
                move || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move { Ok(client.new_jwtsvid(request).await.map(drop)?) }
                }
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    })
}

fn entry_clients(node: &Dialer) -> Vec<EntryClient<Channel>> {
    (0..CALLERS)
        .map(|_| EntryClient::new(node.channel()).max_decoding_message_size(spire_api::channel::MAX_RESPONSE_LENGTH))
        .collect()
}

/// GetBundle of an agent: next to nothing is done for it, so that it shows what a call costs as such.
pub(crate) fn bundle<'a>(deployment: &'a Deployment, node: &Dialer) -> Turn<'a> {
    let clients: Vec<_> = (0..CALLERS).map(|_| BundleClient::new(node.channel())).collect();
    Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let client = client.clone();
                move || {
                    let mut client = client.clone();
                    async move { Ok(client.get_bundle(GetBundleRequest::default()).await.map(drop)?) }
                }
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    })
}

/// What SPIRE's agents ask for.
fn agent_mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        selectors: true,
        federates_with: true,
        admin: true,
        downstream: true,
        dns_names: true,
        revision_number: true,
        store_svid: true,
        hint: true,
        created_at: true,
        x509_svid_ttl: true,
        jwt_svid_ttl: true,
        ..types::EntryMask::default()
    }
}

/// SyncAuthorizedEntries as an agent does it that has everything already.
pub(crate) fn sync<'a>(deployment: &'a Deployment, node: &Dialer) -> Turn<'a> {
    let channels: Vec<_> = (0..CALLERS).map(|_| node.channel()).collect();
    Box::new(move |length| {
        let callers: Vec<_> = channels
            .iter()
            .map(|channel| {
                let channel = channel.clone();
                move || sync_once(channel.clone())
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    })
}

/// One sync of an agent that has everything already.
pub(crate) async fn sync_once(channel: Channel) -> Result<(), Failure> {
    let mut client = EntryClient::new(channel).max_decoding_message_size(spire_api::channel::MAX_RESPONSE_LENGTH);
    let first = SyncAuthorizedEntriesRequest { output_mask: Some(agent_mask()), ids: Vec::new() };
    // The stream of requests stays open, as an agent's does, until everything has come; then it ends.
    let (_end_when_dropped, end) = tokio::sync::oneshot::channel::<()>();
    let end = futures_util::stream::once(end).filter_map(|_| std::future::ready(None));
    let requests = futures_util::stream::iter([first]).chain(end);
    let mut answers = client.sync_authorized_entries(requests).await?.into_inner();
    while answers.message().await?.is_some_and(|answer| answer.more) {}
    Ok(())
}

/// GetAuthorizedEntries.
pub(crate) fn authorized<'a>(deployment: &'a Deployment, node: &Dialer) -> Turn<'a> {
    let clients = entry_clients(node);
    Box::new(move |length| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let client = client.clone();
                move || {
                    let mut client = client.clone();
                    async move {
                        let request = GetAuthorizedEntriesRequest { output_mask: Some(agent_mask()) };
                        Ok(client.get_authorized_entries(request).await.map(drop)?)
                    }
                }
            })
            .collect();
        turn(&deployment.server, length, 1, callers).boxed()
    })
}

/// BatchCreateEntry, fifty a call. `next` numbers the entries.
pub(crate) fn create<'a>(deployment: &'a Deployment, next: &Arc<AtomicUsize>) -> Turn<'a> {
    let channels: Vec<_> = (0..CALLERS).map(|_| deployment.admin()).collect();
    let next = Arc::clone(next);
    Box::new(move |length| {
        let callers: Vec<_> = channels
            .iter()
            .map(|channel| {
                let (channel, next) = (channel.clone(), Arc::clone(&next));
                move || {
                    let channel = channel.clone();
                    let first = next.fetch_add(registry::BATCH, Ordering::Relaxed);
                    let entries = (first..first + registry::BATCH).map(registry::filler).collect();
                    async move { registry::create(channel, entries).await.map(drop) }
                }
            })
            .collect();
        turn(&deployment.server, length, registry::BATCH as u64, callers).boxed()
    })
}

/// The Workload API: a new connection and its first X.509-SVID.
pub(crate) fn fetch_x509(agent: &RunningAgent) -> Turn<'_> {
    Box::new(move |length| {
        let socket = agent.socket.clone();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let socket = socket.clone();
                move || {
                    let socket = socket.clone();
                    async move {
                        let address = workload_api::Address::unix(socket);
                        Ok(workload_api::Client::new(address).fetch_x509_context().await.map(drop)?)
                    }
                }
            })
            .collect();
        turn(&agent.process, length, 1, callers).boxed()
    })
}

/// The Workload API: a JWT-SVID that the agent has already, over a held connection.
pub(crate) fn fetch_jwt(agent: &RunningAgent) -> Result<Turn<'_>, Failure> {
    let clients = (0..CALLERS).map(|_| agent.client()).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |length: Duration| {
        let callers: Vec<_> = clients
            .iter()
            .map(|client| {
                let client = client.clone();
                move || {
                    let client = client.clone();
                    async move { Ok(client.fetch_jwt_svids(&["bench"], None).await.map(drop)?) }
                }
            })
            .collect();
        turn(&agent.process, length, 1, callers).boxed()
    }))
}
