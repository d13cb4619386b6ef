//! Agents that lie, stall and ask for what costs much, before a server that goes on serving others.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ALPN_H2, Live, Settings, TlsIdentity, authorize_any, client_config, server_name};
use spiffe_core::{BundleSet, KeyType, PrivateKey};
use spire_api::channel;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::attest_agent_request::{Params, Step};
use spire_api::proto::agent::{AgentX509svidParams, AttestAgentRequest, CountAgentsRequest};
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::svid::{BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams};
use spire_api::proto::types::{self, AttestationData};
use spire_runtime::{SystemClock, rustls_time};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::common::{Running, csr, entry, svid};

/// What nobody may take, however slow the machine.
const BRIEF: Duration = Duration::from_secs(5);

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

/// A request for an RSA key of that many bits, whose signature nobody would be able to make.
fn rsa_csr(bits: usize) -> Vec<u8> {
    let element = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let header: &[u8] = match length {
            [0, short @ ..=127] => &[tag, short],
            [0, middle] => &[tag, 0x81, middle],
            [high, low] => &[tag, 0x82, high, low],
        };
        [header, &content].concat()
    };
    let encryption: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let with_sha256: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0];
    let key = element(0x30, &[&element(2, &[&[0], &vec![0xc3; bits / 8]]), &[2, 3, 1, 0, 1]]);
    let spki = element(0x30, &[encryption, &element(3, &[&[0], &key])]);
    let to_be_signed = element(0x30, &[&[2, 1, 0], &[0x30, 0], &spki, &[0xa0, 0]]);
    element(0x30, &[&to_be_signed, with_sha256, &element(3, &[&[0], &vec![0x55; bits / 8]])])
}

/// A request whose key claims to be on another curve: the last number of P-256's name is replaced.
fn csr_of_curve(number: u8) -> Vec<u8> {
    let mut csr = csr(&key());
    let name = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let at = csr.windows(name.len()).position(|bytes| bytes == name).unwrap();
    *csr.get_mut(at + name.len() - 1).unwrap() = number;
    csr
}

async fn mint(
    running: &Running,
    agent: &spiffe_core::x509::X509Svid,
    params: Vec<NewX509svidParams>,
) -> Result<Vec<i32>, Status> {
    let mut client = SvidClient::new(running.channel(Some(agent)).await);
    let response = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await?;
    Ok(response.into_inner().results.into_iter().map(|result| result.status.unwrap().code).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cost_much_are_refused_before_they_do() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    let own = running.create_entries(vec![entry(agent.id(), "/web", ("unix", "uid:1"))]).await.remove(0).id;
    let foreign = running.trust_domain.join("/elsewhere").unwrap();
    let foreign = running.create_entries(vec![entry(&foreign, "/web", ("unix", "uid:1"))]).await.remove(0).id;
    let params = |id: &str, csr: Vec<u8>| NewX509svidParams { entry_id: id.to_owned(), csr: csr.into() };
    let invalid = Code::InvalidArgument as i32;
    let began = Instant::now();
    let answered = mint(
        &running,
        &agent,
        vec![
            params(&own, rsa_csr(16_384)),
            params(&own, rsa_csr(512)),
            params(&own, csr_of_curve(1)),
            params(&own, vec![0x30; 100_000]),
            params(&own, [csr(&key()), vec![0]].concat()),
            params(&foreign, csr(&key())),
            params(&"x".repeat(100_000), csr(&key())),
            params(&own, csr(&key())),
        ],
    )
    .await
    .unwrap();
    let none = Code::NotFound as i32;
    assert_eq!(answered, [invalid, invalid, invalid, invalid, invalid, none, none, 0]);

    // More in one request than a second may have, and more bytes than a message.
    let batch = vec![params("x", vec![0]); 100_000];
    let refused = mint(&running, &agent, batch).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let refused = mint(&running, &agent, vec![params(&own, vec![0x30; 10 << 20])]).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
    let mut client = SvidClient::new(running.channel(Some(&agent)).await);
    let request = NewJwtsvidRequest { entry_id: foreign, audience: vec!["a".to_owned()] };
    assert_eq!(client.new_jwtsvid(request).await.unwrap_err().code(), Code::NotFound);
    assert!(began.elapsed() < BRIEF, "{:?}", began.elapsed());
}

/// SPIRE's #2489. A certificate does not say which entry it was made for, so an ID administers wherever it runs, for as long
/// as an entry says so; and an ID that is like it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_administers_by_an_entry_of_its_own_that_has_not_ended() {
    let running = Running::start("example.org").await;
    let agent = running.join().await;
    let admin = |path: &str, expires_at: i64| {
        let elsewhere = running.trust_domain.join("/elsewhere").unwrap();
        types::Entry { admin: true, expires_at, ..entry(&elsewhere, path, ("unix", "uid:2")) }
    };
    let long_ago = 1_000_000_000;
    let plain = ["/ops", "/op", "/ops/x", "/OPS", "/other", "/ended"];
    running.create_entries(vec![admin("/ops", 0), admin("/ended", long_ago)]).await;
    let entries = plain.iter().map(|path| entry(agent.id(), path, ("unix", "uid:1"))).collect();
    for (entry, path) in running.create_entries(entries).await.into_iter().zip(plain) {
        let key = key();
        let params = vec![NewX509svidParams { entry_id: entry.id, csr: csr(&key).into() }];
        let mut client = SvidClient::new(running.channel(Some(&agent)).await);
        let minted = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap().into_inner();
        let workload = svid(minted.results[0].svid.as_ref().unwrap(), key);
        let channel = running.channel(Some(&workload)).await;
        let counted = AgentClient::new(channel).count_agents(CountAgentsRequest::default()).await;
        assert_eq!(counted.is_ok(), path == "/ops", "{path}: {counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_any_kind_is_refused_and_the_next_agent_joins() {
    let running = Running::start("example.org").await;
    let data =
        |kind: &str, payload: &[u8]| AttestationData { r#type: kind.to_owned(), payload: payload.to_vec().into() };
    let asked = |data: Option<AttestationData>, csr: Vec<u8>| {
        Some(Step::Params(Params { data, params: Some(AgentX509svidParams { csr: csr.into() }) }))
    };
    let token = running.join_token().await;
    for (step, code) in [
        (None, Code::InvalidArgument),
        (Some(Step::ChallengeResponse(vec![0; 100].into())), Code::InvalidArgument),
        (asked(None, csr(&key())), Code::InvalidArgument),
        (asked(Some(data("join_token", b"../../spire/server")), csr(&key())), Code::InvalidArgument),
        (asked(Some(data("join_token", &[0xff; 100])), csr(&key())), Code::InvalidArgument),
        (asked(Some(data("join_token", &vec![b'a'; 3 << 20])), csr(&key())), Code::InvalidArgument),
        (asked(Some(data("join_token", &vec![b'a'; 10 << 20])), csr(&key())), Code::InvalidArgument),
        (asked(Some(data("../../../etc/passwd", b"x")), csr(&key())), Code::FailedPrecondition),
        (asked(Some(data(&"x".repeat(1 << 20), b"x")), csr(&key())), Code::FailedPrecondition),
        (asked(Some(data("\u{0}", b"x")), csr(&key())), Code::FailedPrecondition),
    ] {
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(AttestAgentRequest { step }).await.unwrap();
        let mut client = AgentClient::new(running.channel(None).await);
        let attested = tokio::time::timeout(BRIEF, client.attest_agent(ReceiverStream::new(requests))).await;
        let refused = attested.expect("it takes too long").expect_err("it is let in");
        assert_eq!(refused.code(), code, "{refused}");
    }
    // What fails for its request alone uses the token up, as with SPIRE.
    let params = asked(Some(data("join_token", token.as_bytes())), rsa_csr(16_384));
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(AttestAgentRequest { step: params }).await.unwrap();
    let mut client = AgentClient::new(running.channel(None).await);
    let refused = client.attest_agent(ReceiverStream::new(requests)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    running.join().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attestations_that_stall_keep_nobody_waiting() {
    let running = Running::start("example.org").await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let channel = running.channel(None).await;
        for _ in 0..100 {
            let (sender, requests) = tokio::sync::mpsc::channel::<AttestAgentRequest>(1);
            let channel = channel.clone();
            let call =
                async move { AgentClient::new(channel).attest_agent(ReceiverStream::new(requests)).await.is_ok() };
            stalled.push((sender, tokio::spawn(call)));
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let joined = tokio::time::timeout(BRIEF, running.join()).await.expect("others wait");
    assert_eq!(joined.id().trust_domain_name(), "example.org");
    assert!(stalled.iter().all(|(_, call)| !call.is_finished()), "they are given time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_a_hundred_authorities_of_one_name_ends_the_handshake_at_once() {
    let running = Running::start("example.org").await;
    let authority = TestAuthority::new("example.org");
    let svid = authority.svid("/spire/agent/x");
    let crowd: Vec<TestAuthority> = (0..100).map(|_| TestAuthority::new("example.org")).collect();
    let above = crowd.iter().map(TestAuthority::root).chain([authority.root()]);
    let chain: Vec<CertificateDer<'static>> =
        [svid.leaf()].into_iter().chain(above).map(|certificate| certificate.der().to_vec().into()).collect();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = Settings::new(Arc::clone(&provider), rustls_time(Arc::new(SystemClock))).with_alpn(&[ALPN_H2]);
    let mut bundles = BundleSet::default();
    bundles.insert(running.bundle().await);
    let live = Live::new(None::<TlsIdentity>, bundles);
    let mut tls = client_config(live, authorize_any(), &settings).unwrap();
    let private_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(svid.private_key().to_pkcs8_der().to_vec()));
    let private_key = provider.key_provider.load_private_key(private_key).unwrap();
    tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, private_key)));
    let (connector, address) = (TlsConnector::from(Arc::new(tls)), running.server.tcp_address());

    let began = Instant::now();
    for _ in 0..10 {
        let connector = connector.clone();
        let channel = channel::over(move || {
            let connector = connector.clone();
            async move { connector.connect(server_name(), TcpStream::connect(address).await?).await }
        });
        let status = AgentClient::new(channel).post_status(spire_api::proto::agent::PostStatusRequest::default()).await;
        assert!(status.is_err());
    }
    assert!(began.elapsed() < BRIEF, "{:?}", began.elapsed());
    running.join().await;
}
