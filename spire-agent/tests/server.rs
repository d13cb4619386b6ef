//! An agent and a server in one process, over real sockets.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::Timestamp;
use spiffe_core::x509::verify_svid;
use spire_agent::config::{Bootstrap, BundleFormat, Config, JoinToken, NodeAttestor};
use spire_agent::{Agent, Error};
use spire_api::proto::agent::CreateJoinTokenRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{BatchCreateEntryRequest, BatchDeleteEntryRequest};
use spire_api::proto::types;
use spire_runtime::{Clock as _, SystemClock};
use spire_server::Server;
use spire_types::Selector;
use tempfile::TempDir;
use tonic::transport::Channel;

use common::{serve, trust_domain};

struct World {
    directory: TempDir,
    server: Server,
    admin: Channel,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), 0).await;
        let admin = spire_api::channel::unix(server.socket_path().to_owned());
        Self { directory, server, admin }
    }

    async fn join_token(&self) -> String {
        let id = types::Spiffeid { trust_domain: "example.org".into(), path: "/node".into() };
        let request = CreateJoinTokenRequest { ttl: 600, agent_id: Some(id), ..Default::default() };
        AgentClient::new(self.admin.clone()).create_join_token(request).await.unwrap().into_inner().value
    }

    async fn config(&self, name: &str) -> Config {
        let bundle = BundleClient::new(self.admin.clone()).get_bundle(GetBundleRequest::default()).await.unwrap();
        let bundle = spire_api::convert::bundle::from_proto(bundle.get_ref()).unwrap();
        let path = self.directory.path().join("bundle.pem");
        std::fs::write(&path, bundle.x509_roots_pem()).unwrap();
        let data_dir = self.directory.path().join(name);
        let port = self.server.tcp_address().port();
        let bootstrap = Bootstrap::File { path, format: BundleFormat::Pem };
        let mut config = Config::new(trust_domain(), ("127.0.0.1", port), data_dir, bootstrap);
        config.workload_api.socket_path = self.directory.path().join(format!("{name}.sock"));
        config.sync_interval = Duration::from_secs(1);
        config.plugins.node_attestor = NodeAttestor::JoinToken { token: Some(JoinToken(self.join_token().await)) };
        config
    }

    async fn register(&self, path: &str, selector: &str) -> String {
        let (kind, value) = selector.split_once(':').unwrap();
        let entry = types::Entry {
            spiffe_id: Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() }),
            parent_id: Some(types::Spiffeid { trust_domain: "example.org".into(), path: "/node".into() }),
            selectors: vec![types::Selector { r#type: kind.into(), value: value.into() }],
            hint: "internal".into(),
            ..Default::default()
        };
        let request = BatchCreateEntryRequest { entries: vec![entry], ..Default::default() };
        let response = EntryClient::new(self.admin.clone()).batch_create_entry(request).await.unwrap().into_inner();
        response.results[0].entry.clone().unwrap_or_else(|| panic!("{response:?}")).id
    }

    async fn delete(&self, id: String) {
        let request = BatchDeleteEntryRequest { ids: vec![id] };
        EntryClient::new(self.admin.clone()).batch_delete_entry(request).await.unwrap();
    }
}

fn selectors(text: &str) -> BTreeSet<Selector> {
    BTreeSet::from([text.parse().unwrap()])
}

fn now() -> Timestamp {
    SystemClock.now()
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_attests_syncs_and_follows_what_is_registered() {
    let world = World::start().await;
    let id = world.register("/web", "unix:uid:12345").await;
    let agent = Agent::builder(world.config("agent").await).start().await.unwrap();
    assert!(agent.agent_id().path().starts_with("/spire/agent/join_token/"));
    let manager = agent.manager();
    let mut updates = manager.subscribe(selectors("unix:uid:12345"));
    let update = tokio::time::timeout(SOON, manager.complete(&mut updates)).await.unwrap().unwrap();
    let identity = &update.identities[0];
    assert_eq!(identity.svid.id().as_str(), "spiffe://example.org/web");
    assert_eq!(identity.entry.hint, "internal");
    assert_eq!(verify_svid(identity.svid.chain(), &update.bundles, now()).unwrap(), *identity.svid.id());
    assert_eq!(manager.matching(&selectors("unix:uid:12345")).len(), 1);
    assert!(manager.matching(&selectors("unix:uid:1")).is_empty());

    let audience = ["a".to_owned()];
    let token = manager.fetch_jwt_svid(&identity.entry, &audience).await.unwrap();
    let again = manager.fetch_jwt_svid(&identity.entry, &audience).await.unwrap();
    assert_eq!(token, again);
    let leeway = spiffe_core::Ttl::from_secs(5);
    spiffe_core::jwt::JwtSvid::verify(&token.token, "a", &update.bundles, now(), leeway).unwrap();
    // The other one is of the entry that the token made for the node.
    assert_eq!((manager.counts().x509_svids, manager.counts().jwt_svids), (2, 1));

    world.register("/other", "unix:uid:12345").await;
    manager.sync_now();
    let two = updates.wait_for(|update| update.identities.len() == 2);
    tokio::time::timeout(SOON, two).await.unwrap().unwrap();
    world.delete(id).await;
    let one = updates.wait_for(|update| update.identities.len() == 1 && update.is_complete());
    let left = tokio::time::timeout(SOON, one).await.unwrap().unwrap().identities[0].svid.id().clone();
    assert_eq!(left.path(), "/other");
    let err = manager.fetch_jwt_svid(&identity.entry, &audience).await.unwrap_err();
    assert!(matches!(err, Error::UnknownEntry { .. }), "{err}");
    agent.shutdown(Duration::from_secs(5)).await.unwrap();
    world.server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_goes_on_with_its_svid_and_needs_no_new_token() {
    let world = World::start().await;
    let mut config = world.config("agent").await;
    let first = Agent::builder(config.clone()).start().await.unwrap();
    let id = first.agent_id();
    first.shutdown(Duration::from_secs(5)).await.unwrap();
    config.plugins.node_attestor = NodeAttestor::JoinToken { token: None };
    // The bundle that is kept counts, not the file.
    config.bootstrap = Bootstrap::File { path: "/nowhere".into(), format: BundleFormat::Pem };
    let second = Agent::builder(config).start().await.unwrap();
    assert_eq!(second.agent_id(), id);
    second.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_bootstrap_keeps_the_bundle_that_it_was_given() {
    let world = World::start().await;
    let mut config = world.config("agent").await;
    config.bootstrap = Bootstrap::Insecure;
    let agent = Agent::builder(config.clone()).start().await.unwrap();
    agent.shutdown(Duration::from_secs(5)).await.unwrap();
    let storage = spire_agent::storage::Storage::open(&config.data_dir).await.unwrap();
    assert_eq!(storage.data().bundle.unwrap().len(), 1);
    assert_eq!(storage.data().bootstrap_use, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_and_a_foreign_server_are_told_apart() {
    let world = World::start().await;
    let config = world.config("agent").await;
    let agent = Agent::builder(config.clone()).start().await.unwrap();
    agent.shutdown(Duration::from_secs(5)).await.unwrap();

    let mut again = config.clone();
    again.data_dir = world.directory.path().join("again");
    again.plugins.key_manager = spire_agent::config::KeyManager::Memory;
    let err = start_once(again).await;
    assert!(err.contains("join token does not exist or has already been used"), "{err}");

    let mut foreign = world.config("foreign").await;
    foreign.bootstrap = Bootstrap::File { path: world.directory.path().join("other.pem"), format: BundleFormat::Pem };
    let other = spiffe_core::testing::TestAuthority::new("example.org");
    std::fs::write(world.directory.path().join("other.pem"), other.bundle().x509_roots_pem()).unwrap();
    let err = start_once(foreign).await;
    assert!(err.contains("certificate"), "{err}");
}

/// The failure of one start whose retries do not wait.
async fn start_once(config: Config) -> String {
    let clock = Arc::new(Impatient(std::sync::atomic::AtomicI64::new(0)));
    Agent::builder(config).clock(clock).start().await.unwrap_err().to_string()
}

/// Time passes by sleeping, and sleeping takes none.
#[derive(Debug)]
struct Impatient(std::sync::atomic::AtomicI64);

#[async_trait::async_trait]
impl spire_runtime::Clock for Impatient {
    fn now(&self) -> Timestamp {
        now() + spiffe_core::Ttl::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst).unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        let seconds = i64::try_from(duration.as_secs()).unwrap();
        self.0.fetch_add(seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_served_while_the_server_is_away_and_newcomers_are_told_since_when() {
    let world = World::start().await;
    world.register("/web", "unix:uid:1").await;
    let agent = Agent::builder(world.config("agent").await).start().await.unwrap();
    let manager = agent.manager();
    let mut updates = manager.subscribe(selectors("unix:uid:1"));
    tokio::time::timeout(SOON, manager.complete(&mut updates)).await.unwrap().unwrap();

    let port = world.server.tcp_address().port();
    world.server.shutdown(Duration::from_secs(5)).await.unwrap();
    let synced = manager.last_sync();
    manager.sync_now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(manager.last_sync(), synced);
    let mut late = manager.subscribe(selectors("unix:uid:1"));
    let update = tokio::time::timeout(SOON, manager.complete(&mut late)).await.unwrap().unwrap();
    assert_eq!(update.identities.len(), 1);

    let server = serve(world.directory.path(), port).await;
    let back = async {
        while manager.last_sync() == synced {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, back).await.unwrap();
    agent.shutdown(Duration::from_secs(5)).await.unwrap();
    server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_agent_removes_its_svid_and_ends() {
    let world = World::start().await;
    let config = world.config("agent").await;
    let agent = Agent::builder(config.clone()).start().await.unwrap();
    let id = agent.agent_id();
    let banned = spire_api::proto::agent::BanAgentRequest { id: Some(spire_api::convert::id::to_proto(&id)) };
    AgentClient::new(world.admin.clone()).ban_agent(banned).await.unwrap();
    tokio::time::timeout(SOON, agent.ended()).await.unwrap();
    let err = agent.shutdown(Duration::from_secs(5)).await.unwrap_err();
    assert!(err.to_string().contains("agent is banned"), "{err}");
    let storage = spire_agent::storage::Storage::open(&config.data_dir).await.unwrap();
    assert!(storage.data().svid.is_none() && storage.data().bundle.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_pushed_long_before_the_next_poll() {
    let world = World::start().await;
    let mut config = world.config("agent").await;
    config.sync_interval = Duration::from_secs(3600);
    let agent = Agent::builder(config).start().await.unwrap();
    let mut updates = agent.manager().subscribe(selectors("unix:uid:12345"));
    for round in 0..3 {
        let id = world.register(&format!("/web-{round}"), "unix:uid:12345").await;
        let there = updates.wait_for(|update| update.identities.len() == 1);
        tokio::time::timeout(SOON, there).await.expect("the entry is not told").unwrap();
        world.delete(id).await;
        let gone = updates.wait_for(|update| update.identities.is_empty());
        tokio::time::timeout(SOON, gone).await.expect("the deletion is not told").unwrap();
    }
    agent.shutdown(Duration::from_secs(5)).await.unwrap();
    world.server.shutdown(Duration::from_secs(5)).await.unwrap();
}
