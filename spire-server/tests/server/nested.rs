//! Servers below servers: each is a workload of an agent of the one above.

use std::pin::pin;
use std::time::Duration;

use spiffe_core::x509::{X509Svid, verify_svid};
use spiffe_core::{BundleSet, KeyType, PrivateKey};
use spire_api::proto::bundle::PublishJwtAuthorityRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::localauthority::local_authority_client::LocalAuthorityClient;
use spire_api::proto::localauthority::{
    ActivateX509AuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest, GetX509AuthorityStateRequest,
    PrepareX509AuthorityRequest, RevokeX509AuthorityRequest, TaintX509AuthorityRequest,
    TaintX509UpstreamAuthorityRequest,
};
use spire_api::proto::svid::svid_client::SvidClient;
use spire_api::proto::svid::{BatchNewX509svidRequest, NewX509svidParams};
use spire_api::proto::types;
use spire_runtime::{Clock as _, SystemClock};
use spire_server::config::{SpireUpstreamConfig, UpstreamAuthority};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tonic::Code;
use workload_api::server::IdentityError;
use workload_api::testing::FakeEndpoint;
use workload_api::{Identity, X509Context};

use super::common::{Running, csr, entry, svid};

/// A place below a server: what the agent beside a downstream server knows.
struct Place {
    agent: X509Svid,
    entry_id: String,
    endpoint: FakeEndpoint,
    _directory: TempDir,
    config: SpireUpstreamConfig,
}

impl Place {
    async fn below(upstream: &Running, path: &str, downstream: bool) -> Self {
        let agent = upstream.join().await;
        let entry = types::Entry { downstream, ..entry(agent.id(), path, ("unix", "uid:0")) };
        let entry_id = upstream.create_entries(vec![entry]).await.remove(0).id;
        let (endpoint, directory) = (FakeEndpoint::new("example.org"), tempfile::tempdir().unwrap());
        let socket = directory.path().join("agent.sock");
        endpoint.listen(&socket).unwrap();
        let address = upstream.server.tcp_address();
        let config = SpireUpstreamConfig {
            server_address: address.ip().to_string(),
            server_port: address.port(),
            workload_api_socket: socket,
        };
        let place = Self { agent, entry_id, endpoint, _directory: directory, config };
        place.sync(upstream).await;
        place
    }

    /// What an agent does whenever bundle or SVID change.
    async fn sync(&self, upstream: &Running) {
        let svid = self.svid(upstream).await;
        let bundles = BundleSet::from_iter([upstream.bundle().await]).into();
        self.endpoint.set(Ok(X509Context { identities: vec![Identity::new(svid.into())], bundles }));
    }

    async fn svid(&self, upstream: &Running) -> X509Svid {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let params = vec![NewX509svidParams { entry_id: self.entry_id.clone(), csr: csr(&key).into() }];
        let mut client = SvidClient::new(upstream.channel(Some(&self.agent)).await);
        let results = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap().into_inner().results;
        svid(results.first().unwrap().svid.as_ref().unwrap(), key)
    }

    async fn server(&self) -> Running {
        let upstream = UpstreamAuthority::Spire(self.config.clone());
        Running::start_with("example.org", |config| config.plugins.upstream_authority = Some(upstream)).await
    }
}

async fn active_x509(server: &Running) -> AuthorityState {
    let mut client = LocalAuthorityClient::new(server.admin());
    let states = client.get_x509_authority_state(GetX509AuthorityStateRequest {}).await.unwrap().into_inner();
    states.active.unwrap()
}

async fn eventually<T, R: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> R) -> T {
    for _ in 0..300 {
        if let Some(seen) = look().await {
            return seen;
        }
        sleep(Duration::from_millis(100)).await;
    }
    unreachable!("{what} has not happened in half a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_servers_has_one_root_and_jwt_keys_reach_every_branch() {
    let root = Running::start("example.org").await;
    let (place_a, place_b) = (Place::below(&root, "/a", true).await, Place::below(&root, "/b", true).await);
    let (a, b) = (place_a.server().await, place_b.server().await);
    let place_c = Place::below(&a, "/c", true).await;
    let c = place_c.server().await;
    let roots = root.bundle().await.x509_authorities;
    for server in [&a, &b, &c] {
        assert_eq!(server.bundle().await.x509_authorities, roots);
    }
    let workload = Place::below(&c, "/workload", false).await.svid(&c).await;
    let id = verify_svid(workload.chain(), &BundleSet::from_iter([b.bundle().await]), SystemClock.now()).unwrap();
    assert_eq!(id.path(), "/workload");
    assert_eq!(workload.chain().len(), 3, "leaf, the CA of c, the CA of a");

    for server in [&root, &a] {
        let theirs = server.bundle().await;
        let keys = c.bundle().await.jwt_authorities;
        assert!(keys.iter().all(|key| theirs.jwt_authority(&key.key_id).is_some()), "published all the way up at once");
    }
    let signing = eventually("c signing tokens", || async {
        let mut client = LocalAuthorityClient::new(c.admin());
        client.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await.ok()?.into_inner().active
    })
    .await;
    let siblings = b.bundle().await;
    assert!(siblings.jwt_authority(&signing.authority_id).is_some(), "the sibling has known the key before it signs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_is_rotated_tainted_and_revoked_is_followed_down_the_chain() {
    let root = Running::start("example.org").await;
    let place_a = Place::below(&root, "/a", true).await;
    let a = place_a.server().await;
    let place_b = Place::below(&a, "/b", true).await;
    let b = place_b.server().await;

    let mut operator = LocalAuthorityClient::new(root.admin());
    let old = active_x509(&root).await.authority_id;
    let prepared = operator.prepare_x509_authority(PrepareX509AuthorityRequest {}).await.unwrap().into_inner();
    let new = prepared.prepared_authority.unwrap().authority_id;
    eventually("the new root reaching b", || async { (b.bundle().await.x509_authorities.len() == 2).then_some(()) })
        .await;
    operator.activate_x509_authority(ActivateX509AuthorityRequest { authority_id: new.clone() }).await.unwrap();
    place_a.sync(&root).await;
    operator.taint_x509_authority(TaintX509AuthorityRequest { authority_id: old.clone() }).await.unwrap();
    let below_new = |state: AuthorityState| (state.upstream_authority_subject_key_id == new).then_some(());
    eventually("a being signed anew", || async { below_new(active_x509(&a).await) }).await;
    place_b.sync(&a).await;
    let a_now = active_x509(&a).await.authority_id;
    eventually("b being signed anew", || async {
        (active_x509(&b).await.upstream_authority_subject_key_id == a_now).then_some(())
    })
    .await;
    eventually("b knowing the taint", || async {
        (b.bundle().await.x509_authorities.iter().filter(|one| one.tainted).count() == 1).then_some(())
    })
    .await;

    operator.revoke_x509_authority(RevokeX509AuthorityRequest { authority_id: old.clone() }).await.unwrap();
    eventually("b forgetting the old root", || async { (b.bundle().await.x509_authorities.len() == 1).then_some(()) })
        .await;
    let workload = Place::below(&b, "/workload", false).await.svid(&b).await;
    verify_svid(workload.chain(), &BundleSet::from_iter([root.bundle().await]), SystemClock.now()).unwrap();

    let request = TaintX509UpstreamAuthorityRequest { subject_key_id: new };
    let refused = LocalAuthorityClient::new(a.admin()).taint_x509_upstream_authority(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "it signs the active one: {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_the_agent_that_does_not_know_its_entry_yet() {
    let root = Running::start("example.org").await;
    let place = Place::below(&root, "/a", true).await;
    place.endpoint.set(Err(IdentityError::NoIdentity));
    let directory = tempfile::tempdir().unwrap();
    let mut config = super::common::config("example.org", &directory);
    config.plugins.upstream_authority = Some(UpstreamAuthority::Spire(place.config.clone()));
    let socket = config.socket_path.clone();
    let mut starting = pin!(spire_server::Server::builder(config).start());
    // Longer than any call is given once the server runs.
    let waited = timeout(Duration::from_secs(12), starting.as_mut()).await;
    assert!(waited.is_err(), "it has ended: {waited:?}");
    let (mut caller, mut byte) = (UnixStream::connect(&socket).await.unwrap(), [0]);
    tokio::select! {
        started = &mut starting => unreachable!("it has ended: {started:?}"),
        read = timeout(Duration::from_secs(5), caller.read(&mut byte)) => assert_eq!(read.unwrap().unwrap(), 0),
    }
    place.sync(&root).await;
    let server = timeout(Duration::from_secs(30), starting).await.unwrap().unwrap();
    let running = Running { server, directory, trust_domain: root.trust_domain.clone() };
    assert_eq!(running.bundle().await.x509_authorities, root.bundle().await.x509_authorities);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_entry_with_downstream_makes_a_server_of_a_workload() {
    let root = Running::start("example.org").await;
    let place = Place::below(&root, "/a", false).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = super::common::config("example.org", &directory);
    config.plugins.upstream_authority = Some(UpstreamAuthority::Spire(place.config.clone()));
    let refused = spire_server::Server::builder(config).start().await.unwrap_err().to_string();
    assert!(refused.contains("PermissionDenied"), "{refused}");
    let workload = place.svid(&root).await;
    let mut client = BundleClient::new(root.channel(Some(&workload)).await);
    let refused = client.publish_jwt_authority(PublishJwtAuthorityRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}
