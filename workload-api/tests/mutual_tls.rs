//! Mutual TLS between the sources of two trust domains.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::sync::Arc;

use spiffe_core::SpiffeId;
use spiffe_core::tls::server_config as core_server_config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use workload_api::X509Source;
use workload_api::server::IdentityError;
use workload_api::testing::FakeEndpoint;
use workload_api::tls::{
    Authorizer, ClientAuth, Settings, SourceTls, authorize_any, authorize_id, authorize_member_of, client_config,
    peer_id, server_config, server_name,
};

fn settings() -> Settings {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Settings::new(provider, Arc::new(rustls::time_provider::DefaultTimeProvider))
}

/// Both ends of a connection, each telling who the other is.
async fn meet(
    client: &X509Source,
    expects: impl Authorizer + 'static,
    server: &X509Source,
    accepts: impl Authorizer + 'static,
) -> (io::Result<SpiffeId>, io::Result<SpiffeId>) {
    let connector = TlsConnector::from(Arc::new(client_config(client, expects, &settings()).unwrap()));
    let acceptor = TlsAcceptor::from(Arc::new(server_config(server, accepts, &settings()).unwrap()));
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = async {
        let mut stream = connector.connect(server_name(), near).await?;
        let server = peer_id(stream.get_ref().1.peer_certificates().unwrap_or_default()).map_err(io::Error::other)?;
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut [0; 5]).await?;
        Ok(server)
    };
    let server = async {
        let mut stream = acceptor.accept(far).await?;
        let client = peer_id(stream.get_ref().1.peer_certificates().unwrap_or_default()).map_err(io::Error::other)?;
        stream.read_exact(&mut [0; 5]).await?;
        stream.write_all(b"world").await?;
        Ok(client)
    };
    tokio::join!(client, server)
}

struct Two {
    broker: FakeEndpoint,
    stocks: FakeEndpoint,
    webapp: X509Source,
    quotes: X509Source,
}

async fn federated() -> Two {
    let (broker, stocks) = (FakeEndpoint::new("broker.example"), FakeEndpoint::new("stocks.example"));
    broker.set_identities(&["/webapp"]);
    stocks.set_identities(&["/quotes"]);
    broker.federate(stocks.authority());
    stocks.federate(broker.authority());
    let (webapp, quotes) = (broker.source().await, stocks.source().await);
    Two { broker, stocks, webapp, quotes }
}

fn id(uri: &str) -> SpiffeId {
    uri.parse().unwrap()
}

#[tokio::test]
async fn two_trust_domains_that_are_federated_talk() {
    let two = federated().await;
    let (server, client) = meet(
        &two.webapp,
        authorize_id(id("spiffe://stocks.example/quotes")),
        &two.quotes,
        authorize_member_of(two.broker.authority().trust_domain().clone()),
    )
    .await;
    assert_eq!(server.unwrap(), id("spiffe://stocks.example/quotes"));
    assert_eq!(client.unwrap(), id("spiffe://broker.example/webapp"));
}

#[tokio::test]
async fn another_id_than_the_expected_one_is_refused() {
    let two = federated().await;
    let wrong = authorize_id(id("spiffe://stocks.example/other"));
    let (server, client) = meet(&two.webapp, wrong, &two.quotes, authorize_any()).await;
    assert!(server.unwrap_err().to_string().contains("peer spiffe://stocks.example/quotes is not authorized"));
    assert!(client.is_err());
    let nobody = |_: &SpiffeId| false;
    let (server, client) = meet(&two.webapp, authorize_any(), &two.quotes, nobody).await;
    assert!(server.is_err());
    assert!(client.unwrap_err().to_string().contains("peer spiffe://broker.example/webapp is not authorized"));
}

#[tokio::test]
async fn without_federation_there_is_no_trust() {
    let (broker, stocks) = (FakeEndpoint::new("broker.example"), FakeEndpoint::new("stocks.example"));
    broker.set_identities(&["/webapp"]);
    stocks.set_identities(&["/quotes"]);
    broker.federate(stocks.authority());
    let (webapp, quotes) = (broker.source().await, stocks.source().await);
    let (_, client) = meet(&webapp, authorize_any(), &quotes, authorize_any()).await;
    assert!(client.unwrap_err().to_string().contains("no bundle for trust domain"));
}

#[tokio::test]
async fn a_foreign_bundle_says_nothing_about_others() {
    // stocks.example signs what claims to be of broker.example, and broker.example is known by its real bundle.
    let two = federated().await;
    let impostor = FakeEndpoint::new("broker.example");
    impostor.set_identities(&["/webapp"]);
    impostor.federate(two.stocks.authority());
    let (_, client) = meet(&impostor.source().await, authorize_any(), &two.quotes, authorize_any()).await;
    assert!(client.unwrap_err().to_string().contains("chain does not verify"));
}

#[tokio::test]
async fn open_sources_follow_rotation_and_withdrawal() {
    let mut two = federated().await;
    let settings = settings();
    let acceptor = Arc::new(
        core_server_config(SourceTls::new(two.quotes.clone()), ClientAuth::Required(authorize_any()), &settings)
            .unwrap(),
    );
    let connector = Arc::new(client_config(&two.webapp, authorize_any(), &settings).unwrap());
    let leaf = || async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (client, server) = tokio::join!(
            TlsConnector::from(Arc::clone(&connector)).connect(server_name(), near),
            TlsAcceptor::from(Arc::clone(&acceptor)).accept(far)
        );
        server?;
        let client = client?;
        Ok::<_, io::Error>(client.get_ref().1.peer_certificates().unwrap().first().unwrap().to_vec())
    };
    assert_eq!(leaf().await.unwrap(), two.quotes.svid().unwrap().leaf().der());
    let before = leaf().await.unwrap();
    two.stocks.set_identities(&["/quotes"]);
    two.quotes.changed().await;
    let after = leaf().await.unwrap();
    assert_ne!(before, after);
    assert_eq!(after, two.quotes.svid().unwrap().leaf().der());

    two.stocks.set(Err(IdentityError::NoIdentity));
    two.quotes.changed().await;
    assert!(leaf().await.is_err());
}
