use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::TrustDomain;
use spire_ca::Composers;
use spire_datastore::SqliteStore;
use spire_keymanager::MemoryKeyManager;
use spire_runtime::{SystemClock, Tasks};

use super::*;
use crate::authority::{AuthorityConfig, AuthorityParts, start};

async fn service() -> (LocalAuthorityService, Tasks) {
    let parts = AuthorityParts {
        key_manager: Arc::new(MemoryKeyManager::new()),
        datastore: Arc::new(SqliteStore::in_memory().await.unwrap()),
        clock: Arc::new(SystemClock),
        rng: Box::new(ChaCha20Rng::seed_from_u64(1)),
        composers: Composers::default(),
        upstream: None,
        metrics: spire_runtime::telemetry::Metrics::disabled(),
    };
    let tasks = Tasks::new();
    let config = AuthorityConfig::new(TrustDomain::parse("example.org").unwrap());
    let handle = start(config, parts, &tasks).await.unwrap();
    (LocalAuthorityService::new(handle, true), tasks)
}

fn said<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn refusal(code: Code, message: &str) -> (Code, String) {
    (code, message.to_owned())
}

#[tokio::test]
async fn an_authority_goes_from_prepared_to_revoked_and_each_wrong_step_is_refused_in_spires_words() {
    let (service, _tasks) = service().await;
    for kind in [Kind::X509, Kind::Jwt] {
        let first = service.states(kind).await.unwrap().active.unwrap().id.as_str().to_owned();
        let no_id = refusal(Code::InvalidArgument, "no authority ID provided");
        assert_eq!(said(service.activate(kind, "").await), no_id);
        assert_eq!(said(service.taint(kind, "").await), no_id);
        let no_id = refusal(Code::InvalidArgument, "invalid authority ID: no authority ID provided");
        assert_eq!(said(service.revoke(kind, "").await), no_id);
        let unexpected = refusal(Code::InvalidArgument, "unexpected authority ID");
        assert_eq!(said(service.activate(kind, &first).await), unexpected);
        assert_eq!(said(service.taint(kind, "abcd").await), unexpected);
        let current = "unable to taint current local authority";
        assert_eq!(said(service.taint(kind, &first).await), refusal(Code::InvalidArgument, current));
        let current = "invalid authority ID: unable to use current authority";
        assert_eq!(said(service.revoke(kind, &first).await), refusal(Code::InvalidArgument, current));

        let prepared = service.prepare(kind).await.unwrap().unwrap();
        assert!(prepared.expires_at > 0);
        let second = prepared.authority_id.clone();
        let not_old = "only Old local authorities can be tainted: unsupported local authority status: PREPARED";
        assert_eq!(said(service.taint(kind, &second).await), refusal(Code::InvalidArgument, not_old));
        let not_old = match kind {
            Kind::X509 => "invalid authority ID: only Old local authority can be revoked",
            Kind::Jwt => "invalid authority ID: unable to use a prepared key",
        };
        assert_eq!(said(service.revoke(kind, &second).await), refusal(Code::InvalidArgument, not_old));

        assert_eq!(service.activate(kind, &second).await.unwrap(), Some(prepared));
        let old = "only Prepared authorities can be activated: unsupported local authority status: OLD";
        assert_eq!(said(service.activate(kind, &first).await), refusal(Code::Internal, old));
        let untainted = match kind {
            Kind::X509 => "failed to revoke X.509 authority: it is not possible to revoke an untainted root CA",
            Kind::Jwt => "failed to revoke JWT authority: it is not possible to revoke an untainted key",
        };
        assert_eq!(said(service.revoke(kind, &first).await), refusal(Code::Internal, untainted));
        assert_eq!(service.taint(kind, &first).await.unwrap().unwrap().authority_id, first);
        let twice = match kind {
            Kind::X509 => "failed to taint X.509 authority: root CA is already tainted",
            Kind::Jwt => "failed to taint JWT authority: key is already tainted",
        };
        assert_eq!(said(service.taint(kind, &first).await), refusal(Code::Internal, twice));
        assert_eq!(service.revoke(kind, &first).await.unwrap(), Some(named(&first)));
        let gone = match kind {
            Kind::X509 => "failed to revoke X.509 authority: no root CA found with provided subject key ID",
            Kind::Jwt => "failed to revoke JWT authority: no JWT Key found with provided key ID",
        };
        assert_eq!(said(service.revoke(kind, &first).await), refusal(Code::Internal, gone));
    }
    let unknown = "invalid authority ID: no JWT authority found with provided authority ID";
    assert_eq!(said(service.revoke(Kind::Jwt, "abcd").await), refusal(Code::InvalidArgument, unknown));
    let not_old = "invalid authority ID: only Old local authority can be revoked";
    assert_eq!(said(service.revoke(Kind::X509, "abcd").await), refusal(Code::InvalidArgument, not_old));
}

#[tokio::test]
async fn without_an_upstream_there_is_none_to_taint_and_without_jwt_svids_no_jwt_key() {
    let (service, _tasks) = service().await;
    let none = refusal(Code::FailedPrecondition, "upstream authority is not configured");
    let request = proto::TaintX509UpstreamAuthorityRequest { subject_key_id: String::new() };
    assert_eq!(said(service.taint_x509_upstream_authority(Request::new(request)).await), none);
    let request = proto::RevokeX509UpstreamAuthorityRequest { subject_key_id: "ab".into() };
    assert_eq!(said(service.revoke_x509_upstream_authority(Request::new(request)).await), none);
    let request = proto::GetWitAuthorityStateRequest {};
    let wit = refusal(Code::Unimplemented, "WIT-SVID functionality is not yet implemented");
    assert_eq!(said(service.get_wit_authority_state(Request::new(request)).await), wit);

    let service = LocalAuthorityService { jwt_svids: false, ..service };
    let disabled = refusal(Code::Unimplemented, "JWT functionality is disabled");
    assert_eq!(said(service.states(Kind::Jwt).await), disabled);
    assert_eq!(said(service.activate(Kind::Jwt, "").await), disabled);
    assert_eq!(said(service.revoke(Kind::Jwt, "").await), disabled);
}
