//! Random histories of a registry, told over a wire that breaks at any byte, by a server that restarts, to an agent that
//! is away for longer than the server remembers: in the end the agent has what the registry has, and on the way it never
//! goes back.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use spire_agent::config::{Bootstrap, BundleFormat, Config, JoinToken, NodeAttestor};
use spire_agent::{Agent, Manager};
use spire_api::proto::agent::CreateJoinTokenRequest;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::entry::{BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest};
use spire_api::proto::types;
use spire_server::Server;
use spire_types::Selector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

use common::{serve, trust_domain};

/// How long an agent that can reach its server again may hold what has been deleted, or lack what has been made: until
/// its next attempt, which comes [`INTERVAL`] after the first that failed, later after more of them; then one step. See
/// `docs/adr/0001-one-ordered-log.md`.
const BOUND: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_secs(1);
/// Users whose workloads get entries.
const USERS: u32 = 3;
/// Changes while the agent is away: more steps than the server remembers.
const AWAY: usize = 300;

/// The wire between the agent and its server.
#[derive(Debug)]
struct Wire {
    server: SocketAddr,
    is_open: AtomicBool,
    /// Bytes until every connection is cut.
    left: AtomicUsize,
    cuts: AtomicUsize,
    cut: tokio::sync::Notify,
}

impl Wire {
    async fn lay(server: SocketAddr) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(Self {
            server,
            is_open: AtomicBool::new(true),
            left: AtomicUsize::new(usize::MAX),
            cuts: AtomicUsize::new(0),
            cut: tokio::sync::Notify::new(),
        });
        let laid = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                if wire.is_open.load(Ordering::SeqCst) {
                    tokio::spawn(Arc::clone(&wire).carry(agent));
                }
            }
        });
        (laid, port)
    }

    async fn carry(self: Arc<Self>, agent: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server).await else { return };
        let ((from_agent, to_agent), (from_server, to_server)) = (agent.into_split(), server.into_split());
        tokio::select! {
            () = self.cut.notified() => {}
            () = self.pass(from_agent, to_server) => {}
            () = self.pass(from_server, to_agent) => {}
        }
    }

    /// Passes bytes on until there are none left, to the byte.
    async fn pass(&self, mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let spend = |left: usize| Some(if left == usize::MAX { left } else { left.saturating_sub(length) });
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).unwrap();
            let passed = buffer.get(..length.min(left)).unwrap_or_default();
            if to.write_all(passed).await.is_err() {
                return;
            }
            if left <= length {
                self.left.store(usize::MAX, Ordering::SeqCst);
                self.cuts.fetch_add(1, Ordering::SeqCst);
                self.cut.notify_waiters();
                return;
            }
        }
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

/// What the registry holds: by entry ID the user, the path and the revision number.
type Registry = BTreeMap<String, (u32, String, i64)>;

struct World {
    directory: tempfile::TempDir,
    server: Option<Server>,
    admin: Channel,
    registry: Registry,
    made: usize,
    rng: ChaCha8Rng,
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

fn selectors(user: u32) -> BTreeSet<Selector> {
    BTreeSet::from([format!("unix:uid:{user}").parse().unwrap()])
}

impl World {
    async fn start(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), 0).await;
        let admin = spire_api::channel::unix(server.socket_path().to_owned());
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { directory, server: Some(server), admin, registry: Registry::new(), made: 0, rng }
    }

    async fn agent(&self, port: u16) -> Agent {
        let request = CreateJoinTokenRequest { ttl: 600, agent_id: id("/node"), ..Default::default() };
        let token = AgentClient::new(self.admin.clone()).create_join_token(request).await.unwrap().into_inner().value;
        let bundle = BundleClient::new(self.admin.clone()).get_bundle(GetBundleRequest::default()).await.unwrap();
        let bundle = spire_api::convert::bundle::from_proto(bundle.get_ref()).unwrap();
        let path = self.directory.path().join("bundle.pem");
        std::fs::write(&path, bundle.x509_roots_pem()).unwrap();
        let bootstrap = Bootstrap::File { path, format: BundleFormat::Pem };
        let data_dir = self.directory.path().join("agent");
        let mut config = Config::new(trust_domain(), ("127.0.0.1", port), data_dir, bootstrap);
        config.workload_api.socket_path = self.directory.path().join("agent.sock");
        config.sync_interval = INTERVAL;
        config.plugins.node_attestor = NodeAttestor::JoinToken { token: Some(JoinToken(token)) };
        Agent::builder(config).start().await.unwrap()
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }

    async fn restart_server(&mut self) {
        let server = self.server.take().unwrap();
        let port = server.tcp_address().port();
        server.shutdown(Duration::from_secs(5)).await.unwrap();
        let server = serve(self.directory.path(), port).await;
        self.admin = spire_api::channel::unix(server.socket_path().to_owned());
        self.server = Some(server);
    }

    /// One entry is made, changed or deleted.
    async fn change(&mut self) {
        let mut client = EntryClient::new(self.admin.clone());
        let number = usize::try_from(self.below(100)).unwrap() % self.registry.len().max(1);
        let chosen = self.registry.keys().nth(number).cloned();
        match (chosen, self.below(3)) {
            (Some(chosen), 0) => {
                let request = BatchDeleteEntryRequest { ids: vec![chosen.clone()] };
                client.batch_delete_entry(request).await.unwrap();
                self.registry.remove(&chosen);
            }
            (Some(chosen), 1) => {
                self.made += 1;
                let entry =
                    types::Entry { id: chosen.clone(), hint: format!("hint-{}", self.made), ..Default::default() };
                let mask = types::EntryMask { hint: true, ..Default::default() };
                let request =
                    BatchUpdateEntryRequest { entries: vec![entry], input_mask: Some(mask), ..Default::default() };
                let response = client.batch_update_entry(request).await.unwrap().into_inner();
                let updated = response.results.first().and_then(|result| result.entry.clone()).unwrap();
                self.registry.get_mut(&chosen).unwrap().2 = updated.revision_number;
            }
            _ => {
                self.made += 1;
                let (user, path) = (self.below(USERS), format!("/workload/{}", self.made));
                let entry = types::Entry {
                    spiffe_id: id(&path),
                    parent_id: id("/node"),
                    selectors: vec![types::Selector { r#type: "unix".into(), value: format!("uid:{user}") }],
                    ..Default::default()
                };
                let request = BatchCreateEntryRequest { entries: vec![entry], ..Default::default() };
                let response = client.batch_create_entry(request).await.unwrap().into_inner();
                let created = response.results.first().and_then(|result| result.entry.clone()).unwrap();
                self.registry.insert(created.id, (user, path, created.revision_number));
            }
        }
    }

    /// Waits until the agent has what the registry has, and holds an SVID of each.
    async fn agreement(&self, manager: &Manager) {
        let agree = async {
            while held(manager) != self.registry {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(BOUND, agree).await.is_err() {
            assert_eq!(held(manager), self.registry, "what the agent has, and what the registry has");
        }
        for user in 0..USERS {
            let paths =
                |user| self.registry.values().filter(move |(of, _, _)| *of == user).map(|(_, path, _)| path.as_str());
            let expected: BTreeSet<&str> = paths(user).collect();
            let mut updates = manager.subscribe(selectors(user));
            let minted = updates.wait_for(|update| {
                update.identities.iter().map(|identity| identity.svid.id().path()).collect::<BTreeSet<_>>() == expected
            });
            tokio::time::timeout(BOUND, minted).await.unwrap().unwrap();
        }
    }
}

fn held(manager: &Manager) -> Registry {
    let of_user = |user| manager.matching(&selectors(user)).into_iter().map(move |entry| (user, entry));
    (0..USERS)
        .flat_map(of_user)
        .map(|(user, entry)| {
            let path = entry.spiffe_id.path().to_owned();
            (entry.id.as_ref().unwrap().to_string(), (user, path, entry.revision_number))
        })
        .collect()
}

/// Looks on all the time: no entry is ever seen with an older revision than before, and none whose end was agreed on is
/// seen again.
fn watch(manager: Manager, ended: Arc<Mutex<BTreeSet<String>>>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut newest = BTreeMap::new();
        loop {
            let ended = ended.lock().unwrap().clone();
            let seen = held(&manager);
            for (id, (_, path, revision)) in seen {
                assert!(!ended.contains(&id), "{path} has come back");
                let former = newest.insert(id, revision).unwrap_or(revision);
                assert!(former <= revision, "{path} has gone back from revision {former} to {revision}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

async fn history(seed: u64) -> usize {
    let mut world = World::start(seed).await;
    let (wire, port) = Wire::lay(world.server.as_ref().unwrap().tcp_address()).await;
    let agent = world.agent(port).await;
    let manager = agent.manager().clone();
    let ended = Arc::default();
    let watching = watch(manager.clone(), Arc::clone(&ended));
    for round in 0..12 {
        let before: BTreeSet<String> = world.registry.keys().cloned().collect();
        if world.below(2) == 0 {
            wire.left.store(usize::try_from(world.below(6000)).unwrap(), Ordering::SeqCst);
        }
        let changes = match round {
            5 => {
                wire.close();
                AWAY
            }
            8 => {
                world.restart_server().await;
                1
            }
            _ => 1 + usize::try_from(world.below(6)).unwrap(),
        };
        for _ in 0..changes {
            world.change().await;
        }
        wire.open();
        world.agreement(&manager).await;
        ended.lock().unwrap().extend(before.into_iter().filter(|id| !world.registry.contains_key(id)));
        assert!(!watching.is_finished(), "the agent has gone back");
    }
    watching.abort();
    agent.shutdown(Duration::from_secs(5)).await.unwrap();
    world.server.unwrap().shutdown(Duration::from_secs(5)).await.unwrap();
    wire.cuts.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_on_the_way_agent_and_registry_agree_in_the_end() {
    let mut cuts = 0;
    for seed in 0..4 {
        cuts += history(seed).await;
    }
    assert!(cuts > 4, "the wire has been cut {cuts} times only");
}
