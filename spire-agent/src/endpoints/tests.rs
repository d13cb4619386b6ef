use std::os::unix::fs::PermissionsExt as _;

use futures_util::StreamExt as _;
use spire_api::proto::agent_debug::GetInfoRequest;
use spire_api::proto::agent_debug::debug_client::DebugClient;
use spire_api::proto::agent_logger::logger_client::LoggerClient;
use spire_api::proto::agent_logger::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use spire_api::proto::delegated_identity as delegated;
use spire_api::proto::delegated_identity::delegated_identity_client::DelegatedIdentityClient;
use spire_api::proto::envoy::discovery::DiscoveryRequest;
use spire_api::proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use spire_api::proto::types;
use spire_types::RegistrationEntry;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use workload_api::client::{JwtBundles, X509, X509Bundles};
use workload_api::{Error, X509Context};

use super::testing::{Agent, NOW, entry};

fn paths(context: &X509Context) -> Vec<&str> {
    context.identities.iter().map(|identity| identity.svid.id().path()).collect()
}

fn federated(path: &str) -> RegistrationEntry {
    RegistrationEntry { federates_with: vec!["other.example".parse().unwrap()], ..entry(path, "test:web") }
}

fn hinted(path: &str, hint: &str, created_at: i64) -> RegistrationEntry {
    let created_at = spiffe_core::Timestamp::from_unix(created_at);
    RegistrationEntry { hint: hint.into(), created_at, ..entry(path, "test:web") }
}

fn is_denied(err: &Error) -> bool {
    matches!(err, Error::NoIdentity { message } if message == "no identity issued")
}

fn refused<T>(result: Result<T, Status>, code: Code, message: &str) {
    let status = result.err().unwrap();
    assert_eq!((status.code(), status.message()), (code, message));
}

#[tokio::test]
async fn all_five_calls_serve_what_the_callers_entries_say() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[federated("/a"), entry("/b", "test:web"), entry("/c", "test:other")]);
    let client = agent.client();
    let context = client.fetch_x509_context().await.unwrap();
    assert_eq!(paths(&context), ["/a", "/b"]);
    assert_eq!(context.bundles.len(), 2);
    assert_eq!(client.fetch_x509_bundles().await.unwrap().len(), 2);
    assert_eq!(client.fetch_jwt_bundles().await.unwrap().len(), 2);
    let tokens = client.fetch_jwt_svids(&["us"], None).await.unwrap();
    assert_eq!(tokens.iter().map(|token| token.id.path()).collect::<Vec<_>>(), ["/a", "/b"]);
    let b = agent.source.id("/b");
    let [token] = &client.fetch_jwt_svids(&["us"], Some(&b)).await.unwrap()[..] else { panic!("one token") };
    assert_eq!(client.validate_jwt_svid("us", &token.token).await.unwrap().id, b);
    let c = agent.source.id("/c");
    assert!(is_denied(&client.fetch_jwt_svids(&["us"], Some(&c)).await.unwrap_err()));
}

#[tokio::test]
async fn streams_follow_rotation_and_end_with_the_last_entry() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[entry("/a", "test:web")]);
    let client = agent.client();
    let mut svids = client.stream::<X509>().await.unwrap();
    let mut bundles = client.stream::<X509Bundles>().await.unwrap();
    let mut jwt_bundles = client.stream::<JwtBundles>().await.unwrap();
    let first = svids.next().await.unwrap().unwrap();
    assert_eq!(bundles.next().await.unwrap().unwrap().len(), 1);
    assert_eq!(jwt_bundles.next().await.unwrap().unwrap().len(), 1);

    agent.source.set(&[entry("/a", "test:web")]);
    let second = svids.next().await.unwrap().unwrap();
    assert_ne!(first.default_svid().unwrap().leaf(), second.default_svid().unwrap().leaf());
    // What is not complete is passed over.
    agent.source.set_pending(1);
    agent.source.set(&[federated("/a"), entry("/b", "test:web")]);
    agent.source.set_pending(0);
    assert_eq!(paths(&svids.next().await.unwrap().unwrap()), ["/a", "/b"]);
    assert_eq!(bundles.next().await.unwrap().unwrap().len(), 2);
    assert_eq!(jwt_bundles.next().await.unwrap().unwrap().len(), 2);

    agent.source.set(&[entry("/c", "test:other")]);
    assert!(is_denied(&svids.next().await.unwrap().unwrap_err()));
    assert!(is_denied(&bundles.next().await.unwrap().unwrap_err()));
    assert!(is_denied(&jwt_bundles.next().await.unwrap().unwrap_err()));
    assert!(svids.next().await.is_none());
}

#[tokio::test]
async fn of_entries_with_one_hint_the_oldest_stays() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[hinted("/a", "x", 7), hinted("/b", "x", 5), hinted("/c", "x", 5), hinted("/d", "", 1)]);
    let client = agent.client();
    let context = client.fetch_x509_context().await.unwrap();
    assert_eq!(paths(&context), ["/b", "/d"]);
    assert_eq!(context.identities[0].hint, "x");
    let tokens = client.fetch_jwt_svids(&["us"], None).await.unwrap();
    assert_eq!(tokens.iter().map(|token| token.id.path()).collect::<Vec<_>>(), ["/b", "/d"]);
    // Asked for by its ID, an identity is given whatever hint another has.
    let a = agent.source.id("/a");
    assert_eq!(client.fetch_jwt_svids(&["us"], Some(&a)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_identity_there_is_nothing_but_validation() {
    let agent = Agent::start(|_| {});
    let client = agent.client();
    assert!(is_denied(&client.fetch_x509_context().await.unwrap_err()));
    assert!(is_denied(&client.fetch_x509_bundles().await.unwrap_err()));
    assert!(is_denied(&client.fetch_jwt_bundles().await.unwrap_err()));
    assert!(is_denied(&client.fetch_jwt_svids(&["us"], None).await.unwrap_err()));
    let later = NOW + spiffe_core::Ttl::from_minutes(5);
    let own = agent.source.own.jwt_svid("/a", &["us"], later);
    let other = agent.source.other.jwt_svid("/a", &["us"], later);
    client.validate_jwt_svid("us", &own).await.unwrap();
    let unknown = client.validate_jwt_svid("us", &other).await.unwrap_err();
    assert!(unknown.to_string().contains("no keys found for trust domain"), "{unknown}");
    agent.source.set(&[federated("/a")]);
    assert_eq!(client.validate_jwt_svid("us", &other).await.unwrap().claims.len(), 3);
}

#[tokio::test]
async fn verifiers_without_identity_may_be_given_the_own_bundle() {
    let agent = Agent::start(|config| config.allow_unauthenticated_verifiers = true);
    let client = agent.client();
    assert_eq!(client.fetch_x509_bundles().await.unwrap().len(), 1);
    assert_eq!(client.fetch_jwt_bundles().await.unwrap().len(), 1);
    assert!(is_denied(&client.fetch_x509_context().await.unwrap_err()));
}

#[tokio::test]
async fn who_cannot_be_attested_may_try_again_and_so_may_who_waits_for_the_server() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[entry("/a", "test:web")]);
    agent.caller_is(None);
    let err = agent.client().fetch_x509_context().await.unwrap_err();
    let unavailable = |err: &Error, text: &str| matches!(err, Error::Rpc { code: Code::Unavailable, message } if message.contains(text));
    assert!(unavailable(&err, "workload attestation failed"), "{err}");
    agent.caller_is(Some("test:web"));
    agent.source.lose_server();
    let err = agent.client().fetch_x509_context().await.unwrap_err();
    assert!(unavailable(&err, "SPIRE Server is unreachable since"), "{err}");
}

#[tokio::test]
async fn envoy_is_served_on_the_same_socket_and_knows_no_hints() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[hinted("/a", "x", 2), hinted("/b", "x", 1)]);
    let mut envoy = SecretDiscoveryServiceClient::new(agent.channel());
    let mut ask = async |names: &[&str]| {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        envoy.fetch_secrets(DiscoveryRequest { resource_names, ..DiscoveryRequest::default() }).await
    };
    assert_eq!(ask(&[]).await.unwrap().into_inner().resources.len(), 3);
    let names = ["default", "ROOTCA", "spiffe://example.org/b"];
    assert_eq!(ask(&names).await.unwrap().into_inner().resources.len(), 3);
    agent.source.set(&[]);
    assert_eq!(ask(&[]).await.unwrap().into_inner().resources.len(), 1);
    let message = r#"workload is not authorized for the requested identities ["default"]"#;
    refused(ask(&["default"]).await, Code::InvalidArgument, message);
}

#[tokio::test]
async fn health_goes_by_the_workload_api_and_reflection_lists_what_is_there() {
    let agent = Agent::start(|_| {});
    let mut health = HealthClient::new(agent.channel());
    let mut check = async |service: &str| {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await;
        answer.map(tonic::Response::into_inner)
    };
    let serving = HealthCheckResponse { status: 1 };
    assert_eq!(check("").await.unwrap(), serving);
    agent.caller_is(None);
    assert_eq!(check("").await.unwrap(), HealthCheckResponse { status: 2 });
    refused(check("x").await, Code::InvalidArgument, "per-service health is not supported");

    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let requests = futures_util::stream::iter([request]);
    let mut reflection = ServerReflectionClient::new(agent.channel());
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(Ok(ServerReflectionResponse { message_response: Some(answer), .. })) = answers.next().await else {
        panic!("no answer")
    };
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("no list: {answer:?}") };
    let mut services: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    services.sort();
    let expected = [
        "SpiffeWorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(services, expected);
}

#[tokio::test]
async fn what_is_disabled_is_not_served() {
    let agent = Agent::start(|config| config.enabled = false);
    let err = agent.client().fetch_x509_context().await.unwrap_err();
    assert!(matches!(err, Error::Rpc { code: Code::Unimplemented, .. }), "{err}");
    let mut health = HealthClient::new(agent.channel());
    assert_eq!(health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status, 1);
    let agent = Agent::start(|config| (config.enabled, config.sds) = (false, None));
    assert!(!agent.sockets()[0].exists());
}

#[tokio::test]
async fn workloads_may_use_the_public_socket_and_administrators_theirs() {
    let agent = Agent::start(|_| {});
    let modes = agent.sockets().map(|socket| std::fs::metadata(socket).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o777, 0o770]);
}

#[tokio::test]
async fn administrators_see_how_the_agent_is_doing_and_set_the_log_level() {
    let agent = Agent::start(|_| {});
    let info = DebugClient::new(agent.admin()).get_info(GetInfoRequest {}).await.unwrap().into_inner();
    let ids: Vec<_> = info.svid_chain.iter().map(|cert| cert.id.clone().unwrap_or_default().path).collect();
    assert_eq!(ids, ["/spire/agent/test", ""]);
    assert_eq!((info.uptime, info.last_sync_success), (60, NOW.as_unix() - 3));
    assert_eq!((info.cached_x509_svids_count, info.svids_count, info.cached_jwt_svids_count), (2, 2, 1));

    let mut logger = LoggerClient::new(agent.admin());
    let (info, debug) = (types::LogLevel::Info.into(), types::LogLevel::Debug.into());
    let set = logger.set_log_level(SetLogLevelRequest { new_level: debug }).await.unwrap().into_inner();
    assert_eq!((set.current_level, set.launch_level), (debug, info));
    assert_eq!(logger.get_logger(GetLoggerRequest {}).await.unwrap().into_inner().current_level, debug);
    assert_eq!(logger.reset_log_level(ResetLogLevelRequest {}).await.unwrap().into_inner().current_level, info);
    for (level, message) in [(0, "newLevel value cannot be LogLevel_UNSPECIFIED"), (99, "unsupported log level")] {
        let set = logger.set_log_level(SetLogLevelRequest { new_level: level }).await;
        refused(set, Code::InvalidArgument, message);
    }
}

fn about(selectors: &[&str], pid: i32) -> delegated::SubscribeToX509sviDsRequest {
    let selector = |text: &&str| {
        let (kind, value) = text.split_once(':').unwrap();
        types::Selector { r#type: kind.into(), value: value.into() }
    };
    delegated::SubscribeToX509sviDsRequest { selectors: selectors.iter().map(selector).collect(), pid }
}

#[tokio::test]
async fn only_delegates_are_given_the_identities_of_others() {
    let agent = Agent::start(|_| {});
    let mut client = DelegatedIdentityClient::new(agent.admin());
    let web = about(&["test:web"], 0);
    let message = "no identity issued";
    refused(client.subscribe_to_x509svi_ds(web.clone()).await, Code::PermissionDenied, message);
    agent.source.set(&[entry("/a", "test:web"), entry("/delegate", "test:delegate")]);
    let message = "caller not configured as an authorized delegate";
    refused(client.subscribe_to_x509svi_ds(web.clone()).await, Code::PermissionDenied, message);
    let all = client.subscribe_to_x509_bundles(delegated::SubscribeToX509BundlesRequest {}).await;
    refused(all, Code::PermissionDenied, message);

    agent.caller_is(Some("test:delegate"));
    client.subscribe_to_x509svi_ds(web).await.unwrap();
    let message = "must provide either selectors or non-zero PID, but not both";
    for bad in [about(&[], 0), about(&["test:web"], 1)] {
        refused(client.subscribe_to_x509svi_ds(bad).await, Code::InvalidArgument, message);
    }
    let bad = about(&["test:"], 0);
    let message = "could not parse provided selectors";
    refused(client.subscribe_to_x509svi_ds(bad).await, Code::InvalidArgument, message);
    let message = "workload attestation failed";
    refused(client.subscribe_to_x509svi_ds(about(&[], i32::MAX)).await, Code::Unavailable, message);
    let request = delegated::FetchJwtsviDsRequest::default();
    refused(client.fetch_jwtsvi_ds(request).await, Code::InvalidArgument, "audience must be specified");
}

/// SPIRE before 1.15.2 kept them from X.509-SVIDs alone.
#[tokio::test]
async fn delegates_are_given_ordinary_identities_of_either_kind_and_no_others() {
    let agent = Agent::start(|_| {});
    agent.caller_is(Some("test:delegate"));
    let mut client = DelegatedIdentityClient::new(agent.admin());
    let delegate = entry("/delegate", "test:delegate");
    for (admin, downstream) in [(false, false), (true, false), (false, true), (true, true)] {
        let given = !admin && !downstream;
        let one = RegistrationEntry { admin, downstream, ..entry("/one", "test:web") };
        agent.source.set(&[one, delegate.clone()]);
        let mut x509 = client.subscribe_to_x509svi_ds(about(&["test:web"], 0)).await.unwrap().into_inner();
        assert_eq!(x509.next().await.unwrap().unwrap().x509_svids.len(), usize::from(given), "{admin} {downstream}");
        let request = delegated::FetchJwtsviDsRequest {
            audience: vec!["us".into()],
            selectors: about(&["test:web"], 0).selectors,
            ..Default::default()
        };
        let tokens = client.fetch_jwtsvi_ds(request).await.map(|tokens| tokens.into_inner().svids.len());
        match tokens {
            Ok(tokens) => assert!(given && tokens == 1, "{admin} {downstream}"),
            Err(status) => assert!(!given && status.code() == Code::PermissionDenied, "{admin} {downstream}: {status}"),
        }
    }
}

#[tokio::test]
async fn a_delegate_follows_others_until_it_is_one_no_more() {
    let agent = Agent::start(|_| {});
    let admin = RegistrationEntry { admin: true, ..entry("/admin", "test:web") };
    let delegate = entry("/delegate", "test:delegate");
    agent.source.set(std::slice::from_ref(&delegate));
    agent.caller_is(Some("test:delegate"));
    let mut client = DelegatedIdentityClient::new(agent.admin());
    let mut svids = client.subscribe_to_x509svi_ds(about(&["test:web"], 0)).await.unwrap().into_inner();
    let mut x509 =
        client.subscribe_to_x509_bundles(delegated::SubscribeToX509BundlesRequest {}).await.unwrap().into_inner();
    let mut jwt =
        client.subscribe_to_jwt_bundles(delegated::SubscribeToJwtBundlesRequest {}).await.unwrap().into_inner();
    assert!(svids.next().await.unwrap().unwrap().x509_svids.is_empty());
    assert_eq!(x509.next().await.unwrap().unwrap().ca_certificates.len(), 2);
    assert_eq!(jwt.next().await.unwrap().unwrap().bundles.len(), 2);

    agent.source.set(&[hinted("/a", "x", 1), hinted("/b", "x", 1), federated("/c"), admin, delegate.clone()]);
    let told = svids.next().await.unwrap().unwrap();
    let ids: Vec<_> = told.x509_svids.iter().map(|svid| svid.x509_svid.clone().unwrap().id.unwrap().path).collect();
    assert_eq!(ids, ["/a", "/b", "/c"]);
    assert_eq!(told.federates_with, ["spiffe://other.example"]);
    let request = delegated::FetchJwtsviDsRequest { audience: vec!["us".into()], ..Default::default() };
    let selectors = about(&["test:web"], 0).selectors;
    let tokens = client.fetch_jwtsvi_ds(delegated::FetchJwtsviDsRequest { selectors, ..request.clone() }).await;
    assert_eq!(tokens.unwrap().into_inner().svids.len(), 3);
    // By process: this test, which has the delegate's selector.
    let pid = i32::try_from(std::process::id()).unwrap();
    let tokens = client.fetch_jwtsvi_ds(delegated::FetchJwtsviDsRequest { pid, ..request }).await.unwrap().into_inner();
    assert_eq!(tokens.svids[0].id.as_ref().unwrap().path, "/delegate");

    agent.source.set_bundles(agent.source.own.bundles());
    assert_eq!(x509.next().await.unwrap().unwrap().ca_certificates.len(), 1);
    assert_eq!(jwt.next().await.unwrap().unwrap().bundles.len(), 1);
    agent.source.set(&[entry("/a", "test:web")]);
    assert_eq!(svids.next().await.unwrap().unwrap_err().code(), Code::PermissionDenied);
    agent.source.set_bundles(agent.source.own.bundles());
    assert_eq!(x509.next().await.unwrap().unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn the_end_of_the_endpoint_is_no_good_end_of_its_streams() {
    let agent = Agent::start(|_| {});
    agent.source.set(&[entry("/a", "test:web")]);
    let mut svids = agent.client().stream::<X509>().await.unwrap();
    svids.next().await.unwrap().unwrap();
    drop(agent);
    let err = svids.next().await.unwrap().unwrap_err();
    assert!(matches!(err, Error::Rpc { code: Code::Unavailable, .. }), "{err}");
}
