//! What operators watch: metrics under SPIRE's names, and the lines that scripts around SPIRE look for in logs.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "the environment says which socket a child is to use")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::TrustDomain;
use spire_agent::Agent;
use spire_agent::config::{Bootstrap, Config, JoinToken, NodeAttestor, WorkloadAttestor};
use spire_api::convert::id::to_proto;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::{BanAgentRequest, CreateJoinTokenRequest, DeleteAgentRequest};
use spire_api::proto::entry::BatchCreateEntryRequest;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::localauthority::local_authority_client::LocalAuthorityClient;
use spire_api::proto::localauthority::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, GetX509AuthorityStateRequest,
    PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest, RevokeX509AuthorityRequest, TaintX509AuthorityRequest,
};
use spire_api::proto::svid::MintJwtsvidRequest;
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::types;
use spire_runtime::telemetry::{PrometheusConfig, TelemetryConfig};
use spire_runtime::{LogFormat, LogLevel, Logging, SystemClock};
use spire_server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

/// Names that SPIRE 1.15.3 shows after the same steps; those of its Go runtime are left out.
const SERVER: &str = "
    ca_manager_jwt_key_prepare ca_manager_x509_ca_activate ca_manager_x509_ca_prepare datastore_bundle_append
    datastore_bundle_fetch datastore_bundle_x509_revoke datastore_bundle_x509_taint datastore_ca_journal_set
    datastore_join_token_create datastore_join_token_delete datastore_join_token_fetch datastore_node_create
    datastore_node_update datastore_registration_entry_create datastore_registration_entry_list entry_cache_reload
    manager_jwt_key_activate manager_x509_ca_rotate_expiration manager_x509_ca_rotate_ttl
    rateLimit_agent_v1_agent_attest_agent rateLimit_agent_v1_agent_post_status
    rateLimit_svid_v1_svid_batch_new_x509svid rateLimit_svid_v1_svid_new_jwtsvid
    rpc_agent_v1_agent_attest_agent rpc_agent_v1_agent_create_join_token rpc_agent_v1_agent_post_status
    rpc_bundle_v1_bundle_get_bundle rpc_entry_v1_entry_batch_create_entry
    rpc_localauthority_v1_local_authority_activate_x509_authority
    rpc_localauthority_v1_local_authority_taint_x509_authority rpc_svid_v1_svid_batch_new_x509svid
    rpc_svid_v1_svid_mint_jwtsvid rpc_svid_v1_svid_new_jwtsvid server_ca_sign_jwt_svid server_ca_sign_x509_svid
    server_key_manager_generate_key started svid_rotate uptime_in_ms";

/// The same of its agent.
const AGENT: &str = "
    agent_key_manager_generate_key bootstrap_attempts bootstrap_seconds bootstrapped cache_manager_expiring_svids
    jwt_svid_cache_size lru_cache_entry_add lru_cache_entry_remove lru_cache_entry_update lru_cache_record_map_size
    lru_cache_svid_map_size manager_sync_fetch_entries_updates manager_sync_fetch_svids_updates node_attestor_new_svid
    rpc_workload_api_fetch_jwtsvid rpc_workload_api_fetch_x509svid started sync_bundles_total sync_entries_dropped
    sync_entries_missing sync_entries_stale sync_entries_total uptime_in_ms workload_api_connection
    workload_api_connections workload_api_discovered_selectors workload_api_workload_attestation
    workload_api_workload_attestor";

/// What SPIRE's own suites and tutorials look for: how often at least, and all that one line has to hold.
const LINES: &[(usize, &[&str])] = &[
    (1, &["msg=\"Starting Server APIs\"", "network=tcp"]),
    (1, &["msg=\"Starting Server APIs\"", "network=unix"]),
    (2, &["msg=\"X509 CA prepared\"", " local_authority_id=", " upstream_authority_id=", " expiration="]),
    (2, &["msg=\"X509 CA activated\"", " local_authority_id=", " slot="]),
    (2, &["msg=\"Successfully rotated X.509 CA\""]),
    (2, &["msg=\"JWT key prepared\"", " local_authority_id="]),
    (2, &["msg=\"JWT key activated\"", " local_authority_id="]),
    (1, &["msg=\"X.509 authority tainted successfully\"", " local_authority_id="]),
    (1, &["msg=\"X.509 authority revoked successfully\"", " local_authority_id="]),
    (1, &["msg=\"Agent banned\"", " spiffe_id=\"spiffe://"]),
    (1, &["msg=\"Agent deleted\"", " spiffe_id=\"spiffe://"]),
    (1, &["msg=\"Agent is not attested\"", " caller_id=\"spiffe://example.org/spire/agent/join_token/"]),
    (2, &["msg=\"Starting agent APIs\"", " network=unix"]),
    (2, &["msg=\"SVID is not found. Starting node attestation\""]),
    (2, &["msg=\"Node attestation was successful\"", " spiffe_id=", " reattestable=false"]),
    (1, &["msg=\"Agent is banned: removing SVID and shutting down\""]),
    (1, &["msg=\"Entry created\"", "spiffe://example.org/web"]),
    (1, &["msg=\"Fetched X.509 SVID\"", " method=FetchX509SVID", "spiffe://example.org/web"]),
    (1, &["msg=\"Fetched JWT SVID\"", " method=FetchJWTSVID", "spiffe://example.org/web"]),
    (1, &["msg=\"API accessed\"", " type=audit", " status=success", " method=BatchCreateEntry", "example.org/web"]),
    (1, &["msg=\"API accessed\"", " status=error", " status_code=InvalidArgument", " method=BatchCreateEntry", "/x y"]),
    (1, &["msg=\"API accessed\"", " method=AttestAgent", " node_attestor_type=join_token", " agent_id=\"spiffe://"]),
    (
        1,
        &[
            "msg=\"API accessed\"",
            " method=TaintX509Authority",
            " caller_uid=",
            " caller_path=",
            " local_authority_id=",
        ],
    ),
    (1, &["msg=\"API accessed\"", " method=BatchNewX509SVID", " csr=", " entry_id=", "spiffe://example.org/web"]),
    (1, &["msg=\"API accessed\"", " method=MintJWTSVID", " audience=\"a,b\"", " authorized_via=transport"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn operators_find_spires_metrics_and_lines() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let logging = Logging::open(LogLevel::Debug, LogFormat::Text, Some(&log), Arc::new(SystemClock)).unwrap();
    logging.install().unwrap();

    let (server_port, agent_port) = (free_port(), free_port());
    let server = serve(directory.path(), server_port).await;
    let admin = spire_api::channel::unix(server.socket_path().to_owned());
    register(&admin).await;
    let agent = join(&server, &admin, directory.path(), "one", Some(agent_port)).await;
    let other = join(&server, &admin, directory.path(), "two", None).await;
    workload(agent.socket_path());
    let mint = MintJwtsvidRequest { id: id("/m"), audience: vec!["a".into(), "b".into()], ttl: 0 };
    SvidClient::new(admin.clone()).mint_jwtsvid(mint).await.unwrap();
    rotate(&admin).await;

    found(SERVER, "spire_server_", &scrape(server_port).await);
    let metrics = scrape(agent_port).await;
    found(AGENT, "spire_agent_", &metrics);
    for line in [
        "spire_agent_rpc_workload_api_fetch_x509svid{host=\"",
        "spire_agent_workload_api_workload_attestor{attestor=\"unix\",host=\"",
        "spire_agent_bootstrapped{host=\"",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    let mut agents = AgentClient::new(admin.clone());
    agents.ban_agent(BanAgentRequest { id: Some(to_proto(&agent.agent_id())) }).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), agent.ended()).await.unwrap();
    agents.delete_agent(DeleteAgentRequest { id: Some(to_proto(&other.agent_id())) }).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), other.ended()).await.unwrap();
    drop((agent, other));
    server.shutdown(Duration::from_secs(5)).await.unwrap();

    let log = std::fs::read_to_string(log).unwrap();
    for (least, parts) in LINES {
        let count = log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
        assert!(count >= *least, "{count} lines with {parts:?} in\n{log}");
    }
}

fn found(names: &str, prefix: &str, metrics: &str) {
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter_map(|name| name.strip_prefix(prefix))
        .map(|name| name.strip_suffix("_count").unwrap_or(name))
        .collect();
    let missing: Vec<&str> = names.split_whitespace().filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among\n{metrics}");
}

/// A port of this machine that nobody uses at the moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    answer
}

fn telemetry(service: &str, port: u16) -> TelemetryConfig {
    let prometheus = Some(PrometheusConfig { host: "127.0.0.1".into(), port });
    TelemetryConfig { prometheus, ..TelemetryConfig::new(service) }
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

async fn serve(directory: &Path, metrics_port: u16) -> Server {
    let mut config = spire_server::config::Config::new(trust_domain(), directory.join("server"));
    config.bind_address = "127.0.0.1".into();
    config.bind_port = 0;
    config.socket_path = directory.join("server.sock");
    config.audit_log = true;
    config.telemetry = telemetry("spire_server", metrics_port);
    Server::builder(config).start().await.unwrap()
}

/// An entry for whoever runs this, and one that is refused.
async fn register(admin: &Channel) {
    let entry = |path: &str| types::Entry {
        spiffe_id: id(path),
        parent_id: id("/node"),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: format!("uid:{}", rustix::process::getuid().as_raw()),
        }],
        dns_names: vec![if path == "/web" { "web".into() } else { "/x y".into() }],
        ..Default::default()
    };
    let request = BatchCreateEntryRequest { entries: vec![entry("/web"), entry("/refused")], ..Default::default() };
    EntryClient::new(admin.clone()).batch_create_entry(request).await.unwrap();
}

async fn join(server: &Server, admin: &Channel, directory: &Path, name: &str, metrics_port: Option<u16>) -> Agent {
    let request = CreateJoinTokenRequest { ttl: 600, agent_id: id("/node"), ..Default::default() };
    let token = AgentClient::new(admin.clone()).create_join_token(request).await.unwrap().into_inner().value;
    let address = ("127.0.0.1", server.tcp_address().port());
    let mut config = Config::new(trust_domain(), address, directory.join(name), Bootstrap::Insecure);
    config.workload_api.socket_path = directory.join(format!("{name}.sock"));
    config.sync_interval = Duration::from_secs(1);
    config.plugins.node_attestor = NodeAttestor::JoinToken { token: Some(JoinToken(token)) };
    config.plugins.workload_attestors = vec![WorkloadAttestor::Unix(Default::default())];
    if let Some(port) = metrics_port {
        config.telemetry = telemetry("spire_agent", port);
    }
    Agent::builder(config).start().await.unwrap()
}

/// Replaces both authorities; the old CA is tainted and revoked.
async fn rotate(admin: &Channel) {
    let mut client = LocalAuthorityClient::new(admin.clone());
    let prepared = client.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap().into_inner();
    let authority_id = prepared.prepared_authority.unwrap().authority_id;
    client.activate_x509_authority(ActivateX509AuthorityRequest { authority_id }).await.unwrap();
    let states = client.get_x509_authority_state(GetX509AuthorityStateRequest {}).await.unwrap().into_inner();
    let authority_id = states.old.unwrap().authority_id;
    let tainted = TaintX509AuthorityRequest { authority_id: authority_id.clone() };
    client.taint_x509_authority(tainted).await.unwrap();
    // Agents have their SVIDs replaced before what signed them goes.
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.revoke_x509_authority(RevokeX509AuthorityRequest { authority_id }).await.unwrap();
    let prepared = client.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await.unwrap().into_inner();
    let authority_id = prepared.prepared_authority.unwrap().authority_id;
    client.activate_jwt_authority(ActivateJwtAuthorityRequest { authority_id }).await.unwrap();
}

const SOCKET: &str = "OPERATIONS_TEST_SOCKET";

/// Runs [`a_workload`] in a process of its own: what the agent's own process asks is not counted.
fn workload(socket: &Path) {
    let test = std::env::current_exe().unwrap();
    let output = Command::new(test).args(["--exact", "a_workload"]).env(SOCKET, socket).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_workload() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let client = workload_api::Client::new(workload_api::Address::unix(socket));
    let svid = client.fetch_x509_context().await.unwrap();
    assert_eq!(svid.identities[0].svid.id().path(), "/web");
    client.fetch_jwt_svids(&["a"], None).await.unwrap();
}
