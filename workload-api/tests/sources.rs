//! Sources that follow an endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spiffe_core::Ttl;
use tonic::Code;
use workload_api::server::IdentityError;
use workload_api::testing::{FakeEndpoint, NOW, TestAuthority};
use workload_api::{
    Client, Error, Identity, JwtBundleSource, JwtSource, Source, X509BundleSource, X509Context, X509Source,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_source_begins_with_the_first_state_and_follows_each_change() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web", "/metrics"]);
    let mut source = endpoint.source().await;
    assert_eq!(source.svid().unwrap().id().as_str(), "spiffe://example.org/web");
    assert_eq!(source.context().unwrap().identities.len(), 2);

    let before = source.svid().unwrap();
    endpoint.set_identities(&["/web"]);
    source.changed().await;
    let after = source.svid().unwrap();
    assert_ne!(before.leaf(), after.leaf());
    assert_eq!(source.context().unwrap().identities.len(), 1);

    let other = TestAuthority::new("other.example");
    endpoint.federate(&other);
    source.changed().await;
    assert!(source.bundles().unwrap().get(other.trust_domain()).is_some());
}

#[tokio::test]
async fn changes_between_two_calls_are_not_missed() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/a"]);
    let (mut source, mut witness) = (endpoint.source().await, endpoint.source().await);
    endpoint.set_identities(&["/b"]);
    witness.changed().await;
    while source.svid().unwrap().id().path() != "/b" {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(LONG, source.changed()).await.unwrap();
}

#[tokio::test]
async fn workload_api_4_4_what_is_missing_in_the_next_state_is_gone() {
    let endpoint = FakeEndpoint::new("example.org");
    let other = TestAuthority::new("other.example");
    endpoint.set_identities(&["/web"]);
    endpoint.federate(&other);
    let mut source = endpoint.source().await;
    assert_eq!(source.bundles().unwrap().len(), 2);
    let mut context = (*source.context().unwrap()).clone();
    Arc::make_mut(&mut context.bundles).remove(other.trust_domain());
    endpoint.set(Ok(context));
    source.changed().await;
    assert_eq!(source.bundles().unwrap().len(), 1);
}

#[tokio::test]
async fn an_identity_that_is_taken_away_is_withdrawn_and_comes_back() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web"]);
    let mut source = endpoint.source().await;
    endpoint.set(Err(IdentityError::NoIdentity));
    source.changed().await;
    assert!(matches!(source.svid(), Err(Error::NoIdentity { message }) if message == "no identity issued"));
    endpoint.set_identities(&["/web"]);
    source.changed().await;
    source.svid().unwrap();
    assert_eq!(source.last_error(), None);
}

#[tokio::test]
async fn a_broken_connection_leaves_the_material_and_is_made_again() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web"]);
    let mut source = endpoint.source().await;
    let before = source.svid().unwrap();
    endpoint.set(Err(IdentityError::Unavailable { reason: "restarting".into() }));
    while source.last_error().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.svid().unwrap().leaf(), before.leaf());
    endpoint.set_identities(&["/web"]);
    source.changed().await;
    assert_ne!(source.svid().unwrap().leaf(), before.leaf());
}

#[tokio::test]
async fn a_workload_without_identity_waits_and_is_told_why() {
    let endpoint = FakeEndpoint::new("example.org");
    let err = X509Source::with_client(&endpoint.client(), SHORT).await.unwrap_err();
    let Error::Timeout { last: Some(last), .. } = err else { panic!("{err}") };
    assert!(matches!(*last, Error::NoIdentity { .. }), "{last}");

    let waiting = tokio::spawn({
        let client = endpoint.client();
        async move { X509Source::with_client(&client, LONG).await }
    });
    tokio::time::sleep(SHORT).await;
    endpoint.set_identities(&["/late"]);
    assert_eq!(waiting.await.unwrap().unwrap().svid().unwrap().id().path(), "/late");
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_names_it() {
    let client = Client::new("unix:///nonexistent/api.sock".parse().unwrap());
    let err = X509Source::with_client(&client, SHORT).await.unwrap_err();
    assert!(
        matches!(&err, Error::Timeout { last: Some(last), .. } if matches!(**last, Error::Rpc { code: Code::Unavailable, .. })),
        "{err}"
    );
}

#[tokio::test]
async fn the_last_handle_ends_the_task() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web"]);
    let source = endpoint.source().await;
    let clone = source.clone();
    drop(source);
    clone.svid().unwrap();
    let tasks = tokio::runtime::Handle::current().metrics();
    let alive = tasks.num_alive_tasks();
    drop(clone);
    let gone = async {
        while tasks.num_alive_tasks() >= alive {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn hints_choose_among_identities_and_the_first_of_equal_ones_counts() {
    let endpoint = FakeEndpoint::new("example.org");
    let authority = endpoint.authority();
    let identity = |path, hint: &str| Identity { svid: authority.svid(path), hint: hint.into() };
    endpoint.set(Ok(X509Context {
        identities: vec![
            identity("/a", ""),
            identity("/b", ""),
            identity("/c", "internal"),
            identity("/d", "internal"),
        ],
        bundles: Arc::new(authority.bundles()),
    }));
    let source = endpoint.source().await;
    let paths: Vec<_> =
        source.context().unwrap().identities.iter().map(|identity| identity.svid.id().path().to_owned()).collect();
    assert_eq!(paths, ["/a", "/b", "/c"]);
    assert_eq!(source.svid_with_hint("internal").unwrap().id().path(), "/c");
    assert!(source.svid_with_hint("external").is_err());
}

#[tokio::test]
async fn bundles_of_both_profiles_have_sources_of_their_own() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web"]);
    let domain = endpoint.authority().trust_domain().clone();
    let x509: X509BundleSource = Source::with_client(&endpoint.client(), LONG).await.unwrap();
    assert_eq!(x509.bundle(&domain).unwrap().x509_roots().count(), 1);
    assert!(x509.bundle(&domain).unwrap().jwt_authorities.is_empty());
    let jwt: JwtBundleSource = Source::with_client(&endpoint.client(), LONG).await.unwrap();
    assert_eq!(jwt.bundle(&domain).unwrap().jwt_authorities.len(), 1);
    assert!(jwt.bundle(&domain).unwrap().x509_authorities.is_empty());
}

#[tokio::test]
async fn tokens_are_fetched_and_validated_here_and_there() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web", "/metrics"]);
    let source = JwtSource::with_client(&endpoint.client(), LONG).await.unwrap();
    let token = source.fetch(&["quotes", "news"]).await.unwrap();
    assert_eq!(token.id.path(), "/web");
    assert!(!format!("{token:?}").contains(&token.token));
    let valid = source.validate(&token.token, "quotes", NOW).unwrap();
    assert_eq!((valid.id(), valid.audience()), (&token.id, &["quotes".to_owned(), "news".to_owned()][..]));
    assert!(matches!(source.validate(&token.token, "weather", NOW), Err(Error::Token(_))));
    assert!(matches!(source.validate(&token.token, "quotes", NOW + Ttl::from_minutes(6)), Err(Error::Token(_))));

    let metrics = endpoint.authority().trust_domain().join("/metrics").unwrap();
    assert_eq!(source.fetch_for(&metrics, &["quotes"]).await.unwrap().id, metrics);
    let stranger = endpoint.authority().trust_domain().join("/stranger").unwrap();
    assert!(matches!(source.fetch_for(&stranger, &["quotes"]).await, Err(Error::NoIdentity { .. })));

    let client = endpoint.client();
    let valid = client.validate_jwt_svid("quotes", &token.token).await.unwrap();
    assert_eq!(valid.id, token.id);
    assert_eq!(valid.claims["aud"], serde_json::json!(["quotes", "news"]));
    let refused = client.validate_jwt_svid("weather", &token.token).await.unwrap_err();
    assert!(matches!(&refused, Error::Rpc { code: Code::InvalidArgument, .. }), "{refused}");
    assert!(refused.is_permanent());
}

#[tokio::test]
async fn workload_endpoint_6_a_refusal_of_the_question_itself_is_final() {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set(Err(IdentityError::InvalidToken { reason: "no".into() }));
    let calls = Arc::new(AtomicUsize::new(0));
    let client = {
        let (endpoint, calls) = (Arc::new(endpoint), Arc::clone(&calls));
        Client::over(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            std::future::ready(endpoint.connect())
        })
    };
    let err = X509Source::with_client(&client, LONG).await.unwrap_err();
    assert!(err.is_permanent(), "{err}");
    tokio::time::sleep(SHORT).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
