//! A server in this process, and agents that speak its API over sockets: attestation, entries, SVIDs, renewal, ban.

use std::time::Duration;

use spiffe_core::jwt::JwtSvid;
use spiffe_core::x509::{Certificate, X509Svid, verify_svid};
use spiffe_core::{BundleSet, KeyType, PrivateKey, TrustDomain, Ttl};
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::{
    AgentX509svidParams, BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, ListAgentsRequest, PostStatusRequest,
    RenewAgentRequest,
};
use spire_api::proto::bundle::BatchSetFederatedBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{
    GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use spire_api::proto::logger::GetLoggerRequest;
use spire_api::proto::logger::logger_client::LoggerClient;
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::svid::{
    BatchNewX509svidRequest, MintX509svidRequest, NewDownstreamX509caRequest, NewJwtsvidRequest, NewX509svidParams,
};
use spire_api::proto::types::permission_denied_details::Reason;
use spire_api::status::permission_denied_reason;
use spire_runtime::{Clock as _, SystemClock};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::common::{Running, attest, connect, csr, entry, svid};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

/// What a fresh connection of `agent` is refused with, if it is.
async fn refusal(running: &Running, agent: &X509Svid) -> Option<Reason> {
    let channel = running.channel(Some(agent)).await;
    let outcome = EntryClient::new(channel).get_authorized_entries(GetAuthorizedEntriesRequest::default()).await;
    outcome.err().map(|status| permission_denied_reason(&status).expect("a reason"))
}

async fn renew(channel: Channel) -> X509Svid {
    let key = key();
    let params = Some(AgentX509svidParams { csr: csr(&key).into() });
    let renewed = AgentClient::new(channel).renew_agent(RenewAgentRequest { params }).await.unwrap();
    svid(&renewed.into_inner().svid.unwrap(), key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_joins_and_gets_svids_for_its_workloads_and_for_nobody_elses() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    assert!(agent.id().path().starts_with("/spire/agent/join_token/"));
    let mut own = entry(agent.id(), "/web", ("unix", "uid:1"));
    own.dns_names = vec!["web.example.org".to_owned()];
    own.x509_svid_ttl = 120;
    let stranger = running.trust_domain.join("/spire/agent/join_token/other").unwrap();
    let entries = running.create_entries(vec![own, entry(&stranger, "/db", ("unix", "uid:2"))]).await;

    let channel = running.channel(Some(&agent)).await;
    let mut client = EntryClient::new(channel.clone());
    let authorized = client.get_authorized_entries(GetAuthorizedEntriesRequest::default()).await.unwrap();
    assert_eq!(authorized.into_inner().entries, entries[..1]);

    let key = key();
    let params = |id: &str, csr: Vec<u8>| NewX509svidParams { entry_id: id.to_owned(), csr: csr.into() };
    let mut forged = csr(&key);
    *forged.last_mut().unwrap() ^= 1;
    let request = BatchNewX509svidRequest {
        params: vec![
            params(&entries[0].id, csr(&key)),
            params(&entries[1].id, csr(&key)),
            params("", csr(&key)),
            params(&entries[0].id, Vec::new()),
            params(&entries[0].id, b"no request".to_vec()),
            params(&entries[0].id, forged),
        ],
    };
    let mut client = SvidClient::new(channel);
    let results = client.batch_new_x509svid(request).await.unwrap().into_inner().results;
    let outcomes: Vec<_> = results.iter().map(|result| result.status.clone().unwrap()).collect();
    assert_eq!((outcomes[0].code, outcomes[0].message.as_str()), (0, "OK"));
    assert_eq!((outcomes[1].code, outcomes[1].message.as_str()), (5, "entry not found or not authorized"));
    assert_eq!((outcomes[2].code, outcomes[2].message.as_str()), (3, "missing entry ID"));
    assert_eq!((outcomes[3].code, outcomes[3].message.as_str()), (3, "missing CSR"));
    assert!(outcomes[4].code == 3 && outcomes[4].message.starts_with("malformed CSR: "), "{:?}", outcomes[4]);
    assert!(outcomes[5].code == 3, "{:?}", outcomes[5]);

    let bundles = BundleSet::from_iter([running.bundle().await]);
    let minted = results[0].svid.as_ref().unwrap();
    let chain: Vec<_> = minted.cert_chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let now = SystemClock.now();
    assert_eq!(verify_svid(&chain, &bundles, now).unwrap().as_str(), "spiffe://example.org/web");
    assert_eq!(chain[0].dns_sans(), ["web.example.org"]);
    assert_eq!(chain[0].public_key(), key.public_key());
    assert!(chain[0].not_after() <= now + Ttl::from_secs(121));

    let request = NewJwtsvidRequest { entry_id: entries[0].id.clone(), audience: vec!["db".to_owned()] };
    let token = client.new_jwtsvid(request).await.unwrap().into_inner().svid.unwrap().token;
    let verified = JwtSvid::verify(&token, "db", &bundles, SystemClock.now(), Ttl::from_secs(0)).unwrap();
    assert_eq!(verified.id().as_str(), "spiffe://example.org/web");
    let request = NewJwtsvidRequest { entry_id: entries[1].id.clone(), audience: vec!["db".to_owned()] };
    assert_eq!(client.new_jwtsvid(request).await.unwrap_err().code(), Code::NotFound);
    let request = NewJwtsvidRequest { entry_id: entries[0].id.clone(), audience: Vec::new() };
    assert_eq!(client.new_jwtsvid(request).await.unwrap_err().message(), "at least one audience is required");
    let denied = client.new_downstream_x509ca(NewDownstreamX509caRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    running.server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_svid_counts_once_it_is_used_and_the_old_one_until_then() {
    let running = Running::start("example.org").await;
    let first = running.join().await;
    let unused = renew(running.channel(Some(&first)).await).await;
    let second = renew(running.channel(Some(&first)).await).await;
    assert_eq!(refusal(&running, &first).await, None, "the old one goes on until the new one is used");
    assert_eq!(refusal(&running, &unused).await, Some(Reason::AgentNotActive), "another renewal came after it");
    assert_eq!(refusal(&running, &second).await, None);
    assert_eq!(refusal(&running, &first).await, Some(Reason::AgentNotActive));
    let status = PostStatusRequest { current_bundle_serial: 1, agent_version: "1.15.3".to_owned() };
    AgentClient::new(running.channel(Some(&second)).await).post_status(status).await.unwrap();
    let agents = AgentClient::new(running.admin()).list_agents(ListAgentsRequest::default()).await.unwrap();
    let agents = agents.into_inner().agents;
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].agent_version, "1.15.3");
    assert_eq!(agents[0].x509svid_serial_number, second.leaf().serial_decimal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_and_evictions_count_at_once_on_open_connections_and_say_what_they_are() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    let id = Some(spire_api::convert::id::to_proto(agent.id()));
    let mut open = EntryClient::new(running.channel(Some(&agent)).await);
    open.get_authorized_entries(GetAuthorizedEntriesRequest::default()).await.unwrap();

    let mut admin = AgentClient::new(running.admin());
    admin.ban_agent(BanAgentRequest { id: id.clone() }).await.unwrap();
    let denied = open.get_authorized_entries(GetAuthorizedEntriesRequest::default()).await.unwrap_err();
    assert_eq!(permission_denied_reason(&denied), Some(Reason::AgentBanned));
    assert_eq!(
        denied.message(),
        "authorization denied for method /spire.api.server.entry.v1.Entry/GetAuthorizedEntries"
    );
    admin.delete_agent(DeleteAgentRequest { id: id.clone() }).await.unwrap();
    let denied = open.get_authorized_entries(GetAuthorizedEntriesRequest::default()).await.unwrap_err();
    assert_eq!(permission_denied_reason(&denied), Some(Reason::AgentNotAttested));
    assert_eq!(admin.delete_agent(DeleteAgentRequest { id }).await.unwrap_err().message(), "agent not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_that_does_not_hold_is_refused_in_spires_words() {
    let running = Running::start("example.org").await;
    let token = running.join_token().await;
    let channel = running.channel(None).await;
    attest(channel.clone(), "join_token", token.as_bytes(), &key()).await.unwrap();
    for (attestor, payload, code, message) in [
        (
            "join_token",
            token.as_str(),
            Code::InvalidArgument,
            "failed to attest: join token does not exist or has already been used",
        ),
        ("join_token", "", Code::InvalidArgument, "malformed param: missing attestation data payload"),
        ("", "x", Code::InvalidArgument, "malformed param: missing attestation data type"),
        (
            "tpm",
            "x",
            Code::FailedPrecondition,
            "error getting node attestor: could not find node attestor type \"tpm\"",
        ),
    ] {
        let refused = attest(channel.clone(), attestor, payload.as_bytes(), &key()).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, message));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_agents_with_one_token_at_once_one_is_attested() {
    let running = Running::start("example.org").await;
    let token = running.join_token().await;
    let mut attestations = Vec::new();
    for _ in 0..32 {
        let (channel, token) = (running.channel(None).await, token.clone());
        attestations.push(tokio::spawn(async move { attest(channel, "join_token", token.as_bytes(), &key()).await }));
    }
    let mut refusals = Vec::new();
    for attestation in attestations {
        refusals.extend(attestation.await.unwrap().err());
    }
    assert_eq!(refusals.len(), 31);
    let used = "failed to attest: join token does not exist or has already been used";
    assert!(refusals.iter().all(|refused| refused.message() == used), "{refusals:?}");
    let agents = AgentClient::new(running.admin()).list_agents(ListAgentsRequest::default()).await.unwrap();
    assert_eq!(agents.into_inner().agents.len(), 1);
}

async fn all(mut responses: tonic::Streaming<SyncAuthorizedEntriesResponse>) -> Vec<SyncAuthorizedEntriesResponse> {
    let mut all = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        all.push(response);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_entries_are_synced_in_full_and_many_by_their_revisions() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    let channel = running.channel(Some(&agent)).await;
    let first = SyncAuthorizedEntriesRequest::default();
    let entries = |range: std::ops::Range<usize>| {
        range.map(|number| entry(agent.id(), &format!("/w/{number}"), ("unix", "uid:1"))).collect::<Vec<_>>()
    };
    running.create_entries(entries(0..500)).await;
    let few = EntryClient::new(channel.clone()).sync_authorized_entries(tokio_stream::iter([first.clone()])).await;
    let few = all(few.unwrap().into_inner()).await;
    assert_eq!(few.len(), 1, "and the server has ended the stream");
    assert_eq!((few[0].entries.len(), few[0].entry_revisions.len(), few[0].more), (500, 0, false));

    let more = running.create_entries(entries(500..1100)).await;
    let (requests, sent) = tokio::sync::mpsc::channel(4);
    requests.send(first).await.unwrap();
    let mut client = EntryClient::new(channel.clone());
    let mut responses = client.sync_authorized_entries(ReceiverStream::new(sent)).await.unwrap().into_inner();
    let mut revisions = Vec::new();
    loop {
        let response = responses.next().await.unwrap().unwrap();
        assert!(response.entry_revisions.len() <= 500 && response.entries.is_empty());
        revisions.extend(response.entry_revisions);
        if !response.more {
            break;
        }
    }
    assert_eq!(revisions.len(), 1100);
    // Unknown ones are passed over.
    let ids: Vec<_> = more[..600].iter().map(|entry| entry.id.clone()).chain(["none".to_owned()]).collect();
    for _ in 0..2 {
        requests.send(SyncAuthorizedEntriesRequest { ids: ids.clone(), ..Default::default() }).await.unwrap();
        let pages = [responses.next().await.unwrap().unwrap(), responses.next().await.unwrap().unwrap()];
        assert_eq!(
            pages.iter().map(|page| (page.entries.len(), page.more)).collect::<Vec<_>>(),
            [(500, true), (100, false)]
        );
    }
    drop(requests);
    assert!(responses.next().await.is_none());

    let mask = Some(spire_api::proto::types::EntryMask::default());
    let masked = SyncAuthorizedEntriesRequest { output_mask: mask, ids: Vec::new() };
    let refused = EntryClient::new(channel).sync_authorized_entries(tokio_stream::iter([masked])).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "revision number cannot be masked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_caller_gets_what_the_table_says() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    for svid in [None, Some(&agent)] {
        let channel = running.channel(svid).await;
        let denied = AgentClient::new(channel.clone()).count_agents(CountAgentsRequest::default()).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        let unknown = LoggerClient::new(channel).get_logger(GetLoggerRequest {}).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented, "only administrators on the machine know the service");
    }
    let local = EntryClient::new(running.admin());
    let denied = local.clone().get_authorized_entries(GetAuthorizedEntriesRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "administrators are no agents");

    // A workload with an admin entry administers, one with a downstream entry gets a CA.
    let mut entries =
        vec![entry(agent.id(), "/admin", ("unix", "uid:1")), entry(agent.id(), "/child", ("unix", "uid:2"))];
    (entries[0].admin, entries[1].downstream) = (true, true);
    let entries = running.create_entries(entries).await;
    let mut workloads = Vec::new();
    for entry in entries {
        let key = key();
        let params = vec![NewX509svidParams { entry_id: entry.id, csr: csr(&key).into() }];
        let mut client = SvidClient::new(running.channel(Some(&agent)).await);
        let results = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap().into_inner().results;
        workloads.push(svid(results[0].svid.as_ref().unwrap(), key));
    }
    let admin = running.channel(Some(&workloads[0])).await;
    let count = AgentClient::new(admin).count_agents(CountAgentsRequest::default()).await.unwrap();
    assert_eq!(count.into_inner().count, 1);
    let downstream = running.channel(Some(&workloads[1])).await;
    let request = NewDownstreamX509caRequest { csr: csr(&key()).into(), preferred_ttl: 60 };
    let answer = SvidClient::new(downstream).new_downstream_x509ca(request).await.unwrap().into_inner();
    let ca = Certificate::from_der(&answer.ca_cert_chain[0]).unwrap();
    assert!(ca.is_ca());
    assert_eq!(answer.x509_authorities.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_mint_by_hand_and_requests_are_checked() {
    let running = Running::start("example.org").await;
    let mut client = SvidClient::new(running.admin());
    let key = key();
    let mint = |uris: &[&str], dns: &[&str]| {
        let template = spiffe_core::x509::CsrTemplate {
            uri_sans: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            dns_sans: dns.iter().map(|dns| (*dns).to_owned()).collect(),
            ..Default::default()
        };
        MintX509svidRequest { csr: template.sign(&key).unwrap().into(), ttl: 60 }
    };
    let minted = client.mint_x509svid(mint(&["spiffe://example.org/a"], &["a.test"])).await.unwrap();
    let minted = minted.into_inner().svid.unwrap();
    let leaf = Certificate::from_der(&minted.cert_chain[0]).unwrap();
    assert_eq!(leaf.subject_common_name(), Some("a.test"));
    for (request, message) in [
        (MintX509svidRequest::default(), "missing CSR"),
        (mint(&[], &[]), "CSR URI SAN is required"),
        (mint(&["spiffe://example.org/a", "spiffe://example.org/b"], &[]), "only one URI SAN is expected"),
        (mint(&["spiffe://other.org/a"], &[]), "CSR URI SAN is invalid: "),
        (mint(&["spiffe://example.org/spire/agent/x"], &[]), "CSR URI SAN is invalid: "),
        (
            mint(&["spiffe://example.org/a"], &["*.a.test", "b.a.test"]),
            "CSR DNS name contains a wildcard that covers another non-wildcard name",
        ),
    ] {
        let refused = client.mint_x509svid(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(message), "{}", refused.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_svid_of_another_trust_domain_ends_the_handshake() {
    let running = Running::start("example.org").await;
    let stranger = spiffe_core::testing::TestAuthority::new("other.org");
    let svid = stranger.svid("/admin");
    let own = TrustDomain::parse("example.org").unwrap();
    let bundles = BundleSet::from_iter([running.bundle().await]);
    let address = running.server.tcp_address();
    let channel = connect(address, own.join("/spire/server").unwrap(), Some(&svid), bundles);
    let refused = AgentClient::new(channel).count_agents(CountAgentsRequest::default()).await.unwrap_err();
    assert_ne!(refused.code(), Code::PermissionDenied, "it never gets as far: {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_of_another_trust_domain_is_let_in_once_its_bundle_is_here() {
    let other = spiffe_core::testing::TestAuthority::new("other.org");
    let (admin, colleague) = (other.svid("/admin"), other.svid("/colleague"));
    let running = Running::start_with("example.org", |config| config.admin_ids.push(admin.id().clone())).await;
    let count = async |svid: &X509Svid| {
        let channel = running.channel(Some(svid)).await;
        AgentClient::new(channel).count_agents(CountAgentsRequest::default()).await
    };
    count(&admin).await.unwrap_err();
    let bundle = vec![spire_api::convert::bundle::to_proto(&other.bundle(), None)];
    let request = BatchSetFederatedBundleRequest { bundle, output_mask: None };
    BundleClient::new(running.admin()).batch_set_federated_bundle(request).await.unwrap();
    // The endpoint follows the store on its own.
    let mut tries = 0;
    while let Err(refused) = count(&admin).await {
        tries += 1;
        assert!(tries < 50, "{refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(count(&colleague).await.unwrap_err().code(), Code::PermissionDenied, "its handshake has failed");
}
