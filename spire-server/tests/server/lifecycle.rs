//! Starting a server, several at once, what is in the way, and the end.

use std::time::Duration;

use rand_core::TryRngCore as _;
use spiffe_core::{KeyType, PrivateKey};
use spire_api::channel;
use spire_api::proto::agent::AttestAgentRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_attestation::node::NodeAttestorAgent as _;
use spire_attestation::node::x509pop::{X509PopAgent, X509PopFiles};
use spire_server::config::{NodeAttestor, X509PopConfig, X509PopMode};
use spire_server::{Error, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::common::{Running, attest_answering, config, svid};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_run_in_one_process_and_each_ends_alone() {
    let (first, second) = (Running::start("one.test").await, Running::start("two.test").await);
    let agent = second.join().await;
    assert_eq!(agent.id().trust_domain_name(), "two.test");
    let (address, socket) = (first.server.tcp_address(), first.server.socket_path().to_owned());
    first.server.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(!socket.exists());
    tokio::net::TcpListener::bind(address).await.expect("the port is free again");
    let health = HealthClient::new(second.admin()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_finds_its_keys_and_agents_again() {
    let running = Running::start("example.org").await;
    let (agent, bundle) = (running.join().await, running.bundle().await);
    let Running { server, directory, trust_domain } = running;
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    let server = Server::builder(config("example.org", &directory)).start().await.unwrap();
    let again = Running { server, directory, trust_domain };
    assert_eq!(again.bundle().await, bundle);
    let channel = again.channel(Some(&agent)).await;
    AgentClient::new(channel).post_status(spire_api::proto::agent::PostStatusRequest::default()).await.unwrap();
}

/// Health of the whole server, asked as gRPC's C core does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_names_the_host_by_the_path_of_the_socket_is_served() {
    let running = Running::start("example.org").await;
    let mut stream = UnixStream::connect(running.server.socket_path()).await.unwrap();
    let headers: &[u8] = b"@\x05:path\x1c/grpc.health.v1.Health/Check@\n:authority\x10run%2Fspire.sock\x83\x86\
        @\x0ccontent-type\x10application/grpc@\x02te\x08trailers";
    let length = u8::try_from(headers.len()).unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let message = [0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    stream.write_all(&[&preface[..], &[0, 0, length, 1, 4, 0, 0, 0, 1], headers, &message].concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            0 => break assert_eq!(payload, [0, 0, 0, 0, 2, 8, 1], "it serves"),
            3 => panic!("the stream was reset"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_of_a_start_is_named() {
    let running = Running::start("example.org").await;
    let mut taken = config("example.org", &running.directory);
    let refused = Server::builder(taken.clone()).start().await.unwrap_err();
    assert!(matches!(refused, Error::SocketInUse { .. }), "{refused}");
    taken.bind_port = running.server.tcp_address().port();
    let refused = Server::builder(taken).start().await.unwrap_err().to_string();
    assert!(refused.contains(&running.server.tcp_address().to_string()), "{refused}");

    let elsewhere = tempfile::tempdir().unwrap();
    let mut config = config("example.org", &elsewhere);
    std::fs::write(elsewhere.path().join("file"), "").unwrap();
    config.data_dir = elsewhere.path().join("file/data");
    let refused = Server::builder(config.clone()).start().await.unwrap_err();
    assert!(matches!(refused, Error::DataDir { .. }), "{refused}");
    assert!(!config.socket_path.exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_end_does_not_hold_up_the_end() {
    let running = Running::start("example.org").await;
    let (sender, requests) = tokio::sync::mpsc::channel::<AttestAgentRequest>(1);
    let channel = running.channel(None).await;
    let hanging =
        tokio::spawn(
            async move { AgentClient::new(channel).attest_agent(ReceiverStream::new(requests)).await.map(|_| ()) },
        );
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.server.shutdown(Duration::from_millis(500)).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), hanging).await.unwrap().unwrap().is_err());
    drop(sender);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_server_ends() {
    let running = Running::start("example.org").await;
    let (address, socket) = (running.server.tcp_address(), running.server.socket_path().to_owned());
    let channel = channel::unix(socket.clone());
    drop(running.server);
    for _ in 0..100 {
        if !socket.exists() && tokio::net::TcpListener::bind(address).await.is_ok() {
            assert!(HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_err());
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("it goes on listening");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_certificate_is_challenged_and_attests_again_instead_of_renewing() {
    let pki = spiffe_core::testing::TestAuthority::new("pki.test");
    let node = pki.svid("/node");
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("ca.pem"), pki.root().to_pem()).unwrap();
    std::fs::write(path("cert.pem"), node.leaf().to_pem()).unwrap();
    std::fs::write(path("key.pem"), node.private_key().to_pkcs8_pem().as_bytes()).unwrap();
    let running = Running::start_with("example.org", |config| {
        let mode = X509PopMode::ExternalPki { ca_bundle_paths: vec![path("ca.pem")] };
        config.plugins.node_attestors.push(NodeAttestor::X509Pop(X509PopConfig::new(mode)));
    })
    .await;
    let attestor = X509PopAgent::new(X509PopFiles {
        private_key_path: path("key.pem"),
        certificate_path: path("cert.pem"),
        intermediates_path: None,
    });
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let mut evidence = attestor.begin().await.unwrap();
    let payload = evidence.payload().to_vec();
    let answer = |challenge: &[u8]| {
        let mut rng = rand_core::OsRng.unwrap_err();
        let answered = evidence.answer(challenge, &mut rng);
        futures_util::FutureExt::now_or_never(answered).unwrap().unwrap()
    };
    let channel = running.channel(None).await;
    let outcome = attest_answering(channel.clone(), "x509pop", &payload, &key, answer).await.unwrap();
    assert!(outcome.reattestable);
    let agent = svid(&outcome.svid.unwrap(), key.clone());
    assert!(agent.id().path().starts_with("/spire/agent/x509pop/"), "{:?}", agent.id());

    let params = Some(spire_api::proto::agent::AgentX509svidParams { csr: super::common::csr(&key).into() });
    let renewal = spire_api::proto::agent::RenewAgentRequest { params };
    let refused = AgentClient::new(running.channel(Some(&agent)).await).renew_agent(renewal).await.unwrap_err();
    let reason = spire_api::status::permission_denied_reason(&refused).unwrap();
    assert_eq!(reason, spire_api::proto::types::permission_denied_details::Reason::AgentMustReattest);

    let wrong = |challenge: &[u8]| challenge.to_vec();
    let refused = attest_answering(channel, "x509pop", &payload, &key, wrong).await.unwrap_err();
    assert!(refused.message().starts_with("failed to attest: nodeattestor(x509pop): "), "{}", refused.message());
}
