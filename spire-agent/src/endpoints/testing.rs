//! An agent without server: its identities are told by hand, and so are the selectors of whoever calls.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::Certificate;
use spiffe_core::{BundleSet, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_attestation::workload::{Workload, WorkloadAttestor};
use spire_runtime::{Clock, LogFormat, LogLevel, Logging};
use spire_types::{EntryId, RegistrationEntry, Selector};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use workload_api::{Address, Client};

use super::{Endpoints, Source};
use crate::cache::{Counts, JwtSvid, WorkloadIdentity, WorkloadUpdate};
use crate::config::WorkloadApiConfig;
use crate::error::Error;
use crate::workload::Attestors;

pub(super) const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

pub(super) struct Agent {
    pub(super) source: Arc<Fake>,
    caller: Arc<Caller>,
    directory: tempfile::TempDir,
    _closing: DropGuard,
}

impl Agent {
    /// With both sockets open; the caller has the selector `test:web`.
    pub(super) fn start(configure: impl FnOnce(&mut WorkloadApiConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Arc::new(Fake::new());
        let caller = Arc::new(Caller(Mutex::new(Some("test:web".to_owned()))));
        let mut config = WorkloadApiConfig::new(source.trust_domain());
        config.socket_path = directory.path().join("public/api.sock");
        configure(&mut config);
        let clock = Arc::new(Stopped);
        let endpoints = Endpoints {
            source: Arc::clone(&source),
            attestors: Attestors::new(vec![Arc::clone(&caller) as Arc<dyn WorkloadAttestor>]),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            started: NOW - Ttl::from_secs(60),
            metrics: spire_runtime::telemetry::Metrics::disabled(),
            logging: Some(Logging::open(LogLevel::Info, LogFormat::Text, None, clock).unwrap()),
        };
        let closing = CancellationToken::new();
        if let Some(public) = endpoints.public(&config, closing.clone()).unwrap() {
            tokio::spawn(public);
        }
        let delegates = [source.id("/delegate")];
        let admin = directory.path().join("private/admin.sock");
        tokio::spawn(endpoints.admin(&admin, &delegates, closing.clone()).unwrap());
        Self { source, caller, directory, _closing: closing.drop_guard() }
    }

    /// Who calls from now on; `None` cannot be attested.
    pub(super) fn caller_is(&self, selector: Option<&str>) {
        *self.caller.0.lock().unwrap() = selector.map(str::to_owned);
    }

    pub(super) fn client(&self) -> Client {
        Client::new(Address::unix(self.directory.path().join("public/api.sock")))
    }

    pub(super) fn channel(&self) -> Channel {
        spire_api::channel::unix(self.directory.path().join("public/api.sock"))
    }

    pub(super) fn admin(&self) -> Channel {
        spire_api::channel::unix(self.directory.path().join("private/admin.sock"))
    }

    pub(super) fn sockets(&self) -> [std::path::PathBuf; 2] {
        ["public/api.sock", "private/admin.sock"].map(|socket| self.directory.path().join(socket))
    }
}

/// An entry in short: its path is its ID too.
pub(super) fn entry(path: &str, selector: &str) -> RegistrationEntry {
    let id = |path: &str| TrustDomain::parse("example.org").unwrap().join(path).unwrap();
    RegistrationEntry {
        id: Some(EntryId::parse(&path[1..]).unwrap()),
        ..RegistrationEntry::new(id(path), id("/parent"), vec![selector.parse().unwrap()])
    }
}

type Updates = watch::Sender<Arc<WorkloadUpdate>>;

pub(super) struct Fake {
    pub(super) own: TestAuthority,
    pub(super) other: TestAuthority,
    state: Mutex<State>,
    bundles: watch::Sender<Arc<BundleSet>>,
}

#[derive(Default)]
struct State {
    identities: Vec<WorkloadIdentity>,
    pending: usize,
    unreachable: bool,
    subscribers: Vec<(BTreeSet<Selector>, Updates)>,
}

impl Fake {
    fn new() -> Self {
        let (own, other) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
        let bundles = watch::Sender::new(Arc::new([own.bundle(), other.bundle()].into_iter().collect()));
        Self { own, other, state: Mutex::default(), bundles }
    }

    pub(super) fn id(&self, path: &str) -> SpiffeId {
        self.own.trust_domain().join(path).unwrap()
    }

    /// These are the entries from now on, each with a new SVID; all others are gone.
    pub(super) fn set(&self, entries: &[RegistrationEntry]) {
        let identity = |entry: &RegistrationEntry| WorkloadIdentity {
            entry: Arc::new(entry.clone()),
            svid: self.own.svid(entry.spiffe_id.path()),
        };
        self.change(|state| state.identities = entries.iter().map(identity).collect());
    }

    /// So many SVIDs are missing for everybody.
    pub(super) fn set_pending(&self, pending: usize) {
        self.change(|state| state.pending = pending);
    }

    /// The server answers no more.
    pub(super) fn lose_server(&self) {
        self.change(|state| state.unreachable = true);
    }

    pub(super) fn set_bundles(&self, bundles: BundleSet) {
        self.bundles.send_replace(Arc::new(bundles));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        for (selectors, updates) in &state.subscribers {
            updates.send_replace(Arc::new(self.update(&state, selectors)));
        }
    }

    fn update(&self, state: &State, selectors: &BTreeSet<Selector>) -> WorkloadUpdate {
        let has_all = |entry: &RegistrationEntry| entry.selectors.iter().all(|selector| selectors.contains(selector));
        let identities: Vec<_> = state.identities.iter().filter(|identity| has_all(&identity.entry)).cloned().collect();
        let federated = identities.iter().any(|identity| !identity.entry.federates_with.is_empty());
        let bundles = [Some(self.own.bundle()), federated.then(|| self.other.bundle())];
        WorkloadUpdate {
            identities,
            bundles: Arc::new(bundles.into_iter().flatten().collect()),
            pending: state.pending,
        }
    }
}

#[async_trait]
impl Source for Fake {
    fn trust_domain(&self) -> &TrustDomain {
        self.own.trust_domain()
    }

    fn agent_chain(&self) -> Arc<Vec<Certificate>> {
        Arc::new(self.own.svid("/spire/agent/test").chain().to_vec())
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.bundles.subscribe()
    }

    fn subscribe(&self, selectors: BTreeSet<Selector>) -> watch::Receiver<Arc<WorkloadUpdate>> {
        let mut state = self.state.lock().unwrap();
        let (sender, receiver) = watch::channel(Arc::new(self.update(&state, &selectors)));
        state.subscribers.push((selectors, sender));
        receiver
    }

    fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>> {
        let update = self.update(&self.state.lock().unwrap(), selectors);
        update.identities.into_iter().map(|identity| identity.entry).collect()
    }

    fn last_sync(&self) -> Option<Timestamp> {
        Some(NOW - Ttl::from_secs(3))
    }

    fn counts(&self) -> Counts {
        Counts { x509_svids: 2, jwt_svids: 1, store_svids: 0 }
    }

    async fn complete(&self, updates: &mut watch::Receiver<Arc<WorkloadUpdate>>) -> Result<Arc<WorkloadUpdate>, Error> {
        if self.state.lock().unwrap().unreachable {
            return Err(Error::ServerUnreachable { since: NOW, reason: "connection refused".into() });
        }
        Ok(Arc::clone(&*updates.wait_for(|update| update.is_complete()).await.unwrap()))
    }

    async fn fetch_jwt_svid(&self, entry: &RegistrationEntry, audience: &[String]) -> Result<JwtSvid, Error> {
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        let expires_at = NOW + Ttl::from_minutes(5);
        let token = self.own.jwt_svid(entry.spiffe_id.path(), &audience, expires_at);
        Ok(JwtSvid { id: entry.spiffe_id.clone(), token, issued_at: NOW, expires_at })
    }
}

/// Says that every process has this one selector.
#[derive(Debug)]
struct Caller(Mutex<Option<String>>);

#[async_trait]
impl WorkloadAttestor for Caller {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, _: &Workload) -> Result<Vec<Selector>, spire_attestation::Error> {
        match &*self.0.lock().unwrap() {
            Some(selector) => Ok(vec![selector.parse().unwrap()]),
            None => Err(spire_attestation::Error::Bug("told to fail")),
        }
    }
}

#[derive(Debug)]
struct Stopped;

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}
