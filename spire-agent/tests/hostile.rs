//! A server that lies, stalls and floods, before an agent that goes on.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "hostile/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{Bundle, SpiffeId, Timestamp, TrustDomain};
use spire_agent::config::{Bootstrap, BundleFormat, Config, JoinToken, KeyManager, NodeAttestor};
use spire_agent::{Agent, WorkloadUpdate};
use spire_api::proto::agent::attest_agent_request::Step as Asked;
use spire_api::proto::agent::attest_agent_response::{Result as Outcome, Step};
use spire_api::proto::agent::{AttestAgentRequest, AttestAgentResponse, PostStatusResponse};
use spire_api::proto::entry::{EntryRevision, SyncAuthorizedEntriesResponse};
use spire_api::proto::ext_registry::FollowResponse;
use spire_api::proto::svid::batch_new_x509svid_response::Result as Minted;
use spire_api::proto::svid::{BatchNewX509svidRequest, BatchNewX509svidResponse};
use spire_api::proto::types;
use spire_types::Selector;
use tonic::Status;

use server::{Answer, Hostile};

const ATTEST: &str = "/spire.api.server.agent.v1.Agent/AttestAgent";
const STATUS: &str = "/spire.api.server.agent.v1.Agent/PostStatus";
const FOLLOW: &str = "/spire.ext.registry.v1.Registry/Follow";
const SYNC: &str = "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries";
const BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle/GetBundle";
const MINT: &str = "/spire.api.server.svid.v1.SVID/BatchNewX509SVID";
const SOON: Duration = Duration::from_secs(60);

/// Beyond the year 2500, and before 1980.
const LATER: Timestamp = Timestamp::from_unix(20_000_000_000);
const LONG_AGO: Timestamp = Timestamp::from_unix(300_000_000);

type Script = Box<dyn Fn(&[u8]) -> Answer + Send + Sync>;

fn authority() -> Arc<TestAuthority> {
    Arc::new(TestAuthority::new("example.org"))
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn certify(authority: &TestAuthority, spiffe_id: &str, csr: &[u8]) -> types::X509svid {
    let leaf = authority.certify(&id(spiffe_id), Csr::from_der(csr).unwrap().public_key(), LONG_AGO, LATER);
    svid(&leaf)
}

fn svid(leaf: &Certificate) -> types::X509svid {
    types::X509svid { cert_chain: vec![leaf.der().to_vec().into()], ..Default::default() }
}

fn entry(name: &str) -> types::Entry {
    let spiffe_id = |path: &str| types::Spiffeid { trust_domain: "example.org".into(), path: path.into() };
    types::Entry {
        id: name.to_owned(),
        spiffe_id: Some(spiffe_id(&format!("/{name}"))),
        parent_id: Some(spiffe_id("/node")),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:1".into() }],
        ..Default::default()
    }
}

fn wire(bundle: &Bundle) -> types::Bundle {
    spire_api::convert::bundle::to_proto(bundle, None)
}

fn step(authority: &TestAuthority, entries: Vec<types::Entry>) -> FollowResponse {
    let bundles = vec![wire(&authority.bundle())];
    FollowResponse { instance: "1".into(), revision: 1, whole: true, entries, bundles, ..Default::default() }
}

/// A server that does what it should, with these entries.
fn honest(authority: &Arc<TestAuthority>, entries: Vec<types::Entry>) -> Hostile {
    let (attesting, minting) = (Arc::clone(authority), Arc::clone(authority));
    let (step, bundle) = (step(authority, entries), Answer::one(&wire(&authority.bundle())));
    Hostile::new(authority)
        .on(BUNDLE, move |_| bundle.clone())
        .on(ATTEST, move |request| attested(certify(&attesting, "spiffe://example.org/spire/agent/x", &csr(request))))
        .on(STATUS, |_| Answer::one(&PostStatusResponse::default()))
        .on(FOLLOW, move |_| Answer::Open(vec![step.encode_to_vec()]))
        .on(MINT, move |request| {
            minted(request, |name, csr| certify(&minting, &format!("spiffe://example.org/{name}"), csr))
        })
}

fn csr(request: &[u8]) -> Vec<u8> {
    match AttestAgentRequest::decode(request).unwrap().step.unwrap() {
        Asked::Params(params) => params.params.unwrap().csr.to_vec(),
        Asked::ChallengeResponse(_) => panic!("nothing was asked"),
    }
}

fn attested(svid: types::X509svid) -> Answer {
    let outcome = Outcome { svid: Some(svid), reattestable: false };
    Answer::one(&AttestAgentResponse { step: Some(Step::Result(outcome)) })
}

fn minted(request: &[u8], mint: impl Fn(&str, &[u8]) -> types::X509svid) -> Answer {
    let request = BatchNewX509svidRequest::decode(request).unwrap();
    let results = request.params.iter().map(|params| Minted {
        status: Some(types::Status::default()),
        svid: Some(mint(&params.entry_id, &params.csr)),
    });
    Answer::one(&BatchNewX509svidResponse { results: results.collect() })
}

fn config(directory: &tempfile::TempDir, authority: &TestAuthority) -> Config {
    let path = directory.path().join("bundle.pem");
    std::fs::write(&path, authority.root().to_pem()).unwrap();
    let bootstrap = Bootstrap::File { path, format: BundleFormat::Pem };
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let mut config = Config::new(trust_domain, ("127.0.0.1", 1), directory.path().join("data"), bootstrap);
    config.workload_api.socket_path = directory.path().join("agent.sock");
    config.sync_interval = Duration::from_secs(1);
    config.plugins.key_manager = KeyManager::Memory;
    config.plugins.node_attestor = NodeAttestor::JoinToken { token: Some(JoinToken("token".into())) };
    config
}

async fn start(directory: &tempfile::TempDir, authority: &TestAuthority, server: Hostile) -> Result<Agent, String> {
    let agent = Agent::builder(config(directory, authority))
        .dial(Arc::new(server))
        .clock(Arc::new(server::Impatient::default()));
    let started = tokio::time::timeout(SOON, agent.start()).await.expect("the start takes too long");
    started.map_err(|err| err.to_string())
}

/// What a workload is given, by its names.
fn names(update: &WorkloadUpdate) -> Vec<&str> {
    update.identities.iter().map(|identity| identity.svid.id().path()).collect()
}

fn selectors() -> BTreeSet<Selector> {
    BTreeSet::from(["unix:uid:1".parse().unwrap()])
}

/// MiB that the process has in memory.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_takes_no_svid_of_its_own_that_is_not_one() {
    let (authority, other) = (authority(), TestAuthority::new("other.test"));
    let good = "spiffe://example.org/spire/agent/x";
    let cases: Vec<(&str, Script)> = vec![
        (
            "no agent of example.org",
            Box::new({
                let authority = Arc::clone(&authority);
                move |request| attested(certify(&authority, "spiffe://example.org/workload", &csr(request)))
            }),
        ),
        (
            "no agent of example.org",
            Box::new(move |request| attested(certify(&other, "spiffe://other.test/spire/agent/x", &csr(request)))),
        ),
        (
            "another key",
            Box::new({
                let svid = svid(authority.svid("/spire/agent/x").leaf());
                move |_| attested(svid.clone())
            }),
        ),
        ("chain is empty", Box::new(|_| attested(types::X509svid::default()))),
        (
            "no usable agent SVID",
            Box::new(|_| {
                attested(types::X509svid { cert_chain: vec![vec![0x30; 1 << 20].into()], ..Default::default() })
            }),
        ),
        ("without a result", Box::new(|_| Answer::Messages(Vec::new()))),
        ("message", Box::new(|_| Answer::Raw(vec![0, 0x40, 0, 0, 0]))),
        ("", Box::new(|_| Answer::Raw(vec![7; 4000]))),
        ("go away", Box::new(|_| Answer::Status(Status::internal("go away")))),
    ];
    for (number, (reason, answer)) in cases.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let server = honest(&authority, Vec::new()).on(ATTEST, answer);
        let err = start(&directory, &authority, server).await.expect_err("it started");
        assert!(err.contains(reason), "case {number}: {err}");
    }
    let directory = tempfile::tempdir().unwrap();
    let agent = start(&directory, &authority, honest(&authority, Vec::new())).await.unwrap();
    assert_eq!(agent.agent_id(), id(good));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_to_the_evidence_is_left() {
    let (authority, directory) = (authority(), tempfile::tempdir().unwrap());
    let server = honest(&authority, Vec::new()).on(ATTEST, |_| Answer::Open(Vec::new()));
    let outcome = start(&directory, &authority, server).await;
    assert!(outcome.is_err_and(|err| err.contains("no answer within")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_left_out_and_the_rest_is_served() {
    let (authority, other) = (authority(), Arc::new(TestAuthority::new("other.test")));
    let of_another_domain = types::Spiffeid { trust_domain: "other.test".into(), path: "/web".into() };
    let no_path = types::Spiffeid { trust_domain: "example.org".into(), path: "../..".into() };
    let entries = vec![
        entry("good"),
        types::Entry { spiffe_id: Some(of_another_domain), ..entry("foreign") },
        types::Entry { spiffe_id: Some(no_path), ..entry("crooked") },
        types::Entry { spiffe_id: None, ..entry("nameless") },
        types::Entry { selectors: Vec::new(), ..entry("everybodys") },
        types::Entry { id: String::new(), ..entry("unnumbered") },
        types::Entry { id: "a".repeat(1 << 20), ..entry("long") },
        types::Entry { federates_with: vec!["\0".into()], ..entry("federated") },
        entry("wrong-id"),
        entry("wrong-domain"),
        entry("wrong-key"),
        entry("empty"),
        entry("garbage"),
    ];
    let mut told = step(&authority, entries);
    let impostor = wire(&other.as_trust_domain("example.org").bundle());
    told.bundles.push(types::Bundle { trust_domain: "third.test".into(), ..impostor });
    told.bundles.push(types::Bundle { trust_domain: "no trust domain".into(), ..Default::default() });
    told.bundles.push(types::Bundle {
        trust_domain: "example.org".into(),
        x509_authorities: vec![types::X509Certificate { asn1: vec![1, 2, 3].into(), tainted: false }],
        ..Default::default()
    });
    told.removed_bundles = vec!["%".into()];
    told.removed_entries = vec!["\u{0}".into(), "x".repeat(5000)];
    let (mints, others) = (Arc::clone(&authority), Arc::clone(&other));
    let server = honest(&authority, Vec::new()).on(FOLLOW, move |_| Answer::Open(vec![told.encode_to_vec()])).on(
        MINT,
        move |request| {
            minted(request, |name, csr| match name {
                "wrong-id" => certify(&mints, "spiffe://example.org/good", csr),
                "wrong-domain" => certify(&others, "spiffe://other.test/wrong-domain", csr),
                "wrong-key" => svid(mints.svid("/wrong-key").leaf()),
                "empty" => types::X509svid::default(),
                "garbage" => types::X509svid { cert_chain: vec![vec![0x30; 99].into()], ..Default::default() },
                name => certify(&mints, &format!("spiffe://example.org/{name}"), csr),
            })
        },
    );
    let directory = tempfile::tempdir().unwrap();
    let agent = start(&directory, &authority, server).await.unwrap();
    let mut updates = agent.manager().subscribe(selectors());
    let complete = updates.wait_for(|update| update.is_complete() && !update.identities.is_empty());
    let update = tokio::time::timeout(SOON, complete).await.unwrap().unwrap().clone();
    let served = names(&update);
    assert!(served.contains(&"/good"), "{served:?}");
    for name in
        ["/foreign", "/crooked", "/everybodys", "/wrong-id", "/wrong-domain", "/wrong-key", "/empty", "/garbage"]
    {
        assert!(!served.contains(&name), "{served:?}");
    }
    assert_eq!(served.iter().filter(|name| **name == "/good").count(), 1);
    let own = update.bundles.get(&TrustDomain::parse("example.org").unwrap()).unwrap();
    assert_eq!(own.x509_roots().collect::<Vec<_>>(), [authority.root()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_an_error_and_does_not_fill_the_memory() {
    let authority = authority();
    let before = memory();
    let endless = FollowResponse {
        instance: "1".into(),
        revision: 1,
        more: true,
        removed_entries: vec!["x".repeat(1 << 20)],
        ..Default::default()
    };
    let server = honest(&authority, vec![entry("good")]).on(FOLLOW, move |_| Answer::Endless(endless.encode_to_vec()));
    let directory = tempfile::tempdir().unwrap();
    let err = start(&directory, &authority, server).await.expect_err("it has no entries");
    assert!(err.contains("larger than") || err.contains("no answer within"), "{err}");
    assert!(memory() - before < 800, "{before} MiB before, {} MiB after", memory());

    // As SPIRE's servers tell.
    let revisions = SyncAuthorizedEntriesResponse {
        entry_revisions: (0..10_000)
            .map(|n| EntryRevision { id: format!("{n}-{}", "a".repeat(200)), revision_number: n, ..Default::default() })
            .collect(),
        more: true,
        ..Default::default()
    };
    let server = honest(&authority, Vec::new())
        .on(FOLLOW, |_| Answer::Status(Status::unimplemented("no")))
        .on(SYNC, move |_| Answer::Endless(revisions.encode_to_vec()));
    let err = start(&tempfile::tempdir().unwrap(), &authority, server).await.expect_err("it has no entries");
    assert!(err.contains("larger than") || err.contains("no answer within"), "{err}");
    assert!(memory() - before < 800, "{before} MiB before, {} MiB after", memory());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_gigabyte_and_one_that_never_comes_are_errors() {
    let authority = authority();
    for (answer, reason) in [
        (Answer::Raw(vec![0, 0x40, 0, 0, 0]), "decoded message length too large"),
        (Answer::Raw(vec![0, 0, 0, 0, 9, 1, 2]), ""),
        (Answer::one(&types::Bundle { trust_domain: "other.test".into(), ..Default::default() }), ""),
        (Answer::Raw(vec![0, 0, 0, 0, 3, 0xff, 0xff, 0xff]), "decode"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = honest(&authority, Vec::new()).on(FOLLOW, move |_| answer.clone());
        match start(&directory, &authority, server).await {
            Ok(agent) => assert!(agent.manager().matching(&selectors()).is_empty()),
            Err(err) => assert!(err.contains(reason), "{err}"),
        }
    }
    for answer in [
        Answer::one(&wire(&TestAuthority::new("other.test").bundle())),
        Answer::one(&types::Bundle::default()),
        Answer::Raw(vec![0, 0x40, 0, 0, 0]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = honest(&authority, Vec::new())
            .on(FOLLOW, |_| Answer::Status(Status::unimplemented("no")))
            .on(SYNC, |_| Answer::Messages(vec![Vec::new()]))
            .on(BUNDLE, move |_| answer.clone());
        if let Ok(agent) = start(&directory, &authority, server).await {
            let bundles = agent.manager().bundles().borrow().clone();
            assert!(bundles.get(&TrustDomain::parse("other.test").unwrap()).is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_svids_have_expired_already_is_not_asked_without_pause() {
    let authority = authority();
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, minting) = (Arc::clone(&asked), Arc::clone(&authority));
    let server = honest(&authority, vec![entry("good")]).on(MINT, move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        minted(request, |name, csr| {
            let public_key = Csr::from_der(csr).unwrap().public_key().clone();
            let name = id(&format!("spiffe://example.org/{name}"));
            svid(&minting.certify(&name, &public_key, LONG_AGO, Timestamp::from_unix(400_000_000)))
        })
    });
    let directory = tempfile::tempdir().unwrap();
    let builder = Agent::builder(config(&directory, &authority)).dial(Arc::new(server));
    let agent = tokio::time::timeout(SOON, builder.start()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(asked.load(Ordering::SeqCst) <= 10, "asked {} times in four seconds", asked.load(Ordering::SeqCst));
    if let Ok(agent) = agent {
        let updates = agent.manager().subscribe(selectors());
        assert!(names(&updates.borrow()).is_empty(), "an SVID that has expired is served");
    }
}
