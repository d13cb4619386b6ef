use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use super::*;
use crate::bundle::BundleSet;
use crate::id::{IdMatcher, SpiffeId};
use crate::testing::TestAuthority;
use crate::time::Timestamp;
use crate::x509::X509Error;

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

fn settings() -> Settings {
    Settings::new(Arc::new(rustls::crypto::ring::default_provider()), Arc::new(At(1_800_000_000))).with_alpn(&[ALPN_H2])
}

fn tls12(settings: Settings) -> Settings {
    let mut provider = (*settings.provider).clone();
    provider.cipher_suites.retain(|suite| suite.version().version == rustls::ProtocolVersion::TLSv1_2);
    Settings { provider: Arc::new(provider), ..settings }
}

fn member(authority: &TestAuthority, path: &str, bundles: &[&TestAuthority]) -> Live {
    let bundles: BundleSet = bundles.iter().map(|authority| authority.bundle()).collect();
    Live::new(Some(TlsIdentity::from(&*authority.svid(path))), bundles)
}

type Handshake = Result<(ClientConnection, ServerConnection), Box<(Option<Error>, Option<Error>)>>;

fn handshake(
    client: &Live,
    expects: impl Authorizer + 'static,
    server: &Live,
    clients: ClientAuth<impl Authorizer + 'static>,
    settings: &Settings,
) -> Handshake {
    let client = client_config(client.clone(), expects, settings).unwrap();
    let server = server_config(server.clone(), clients, settings).unwrap();
    meet(&Arc::new(client), &Arc::new(server))
}

fn meet(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Handshake {
    let mut client = ClientConnection::new(Arc::clone(client), server_name()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            server.read_tls(&mut left).unwrap();
        }
        server_error = server_error.or(server.process_new_packets().err());
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
        }
        client_error = client_error.or(client.process_new_packets().err());
    }
    if client_error.is_some() || server_error.is_some() {
        return Err(Box::new((client_error, server_error)));
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn refusal(error: Option<Error>) -> PeerRefused {
    match error {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => {
            other.0.downcast_ref::<PeerRefused>().unwrap().clone()
        }
        other => panic!("not refused by the verifier: {other:?}"),
    }
}

fn peer(connection: &Connection) -> SpiffeId {
    peer_id(connection.peer_certificates().unwrap()).unwrap()
}

#[test]
fn members_of_two_trust_domains_meet_and_know_each_other() {
    let (ours, theirs) = (TestAuthority::new("broker.example"), TestAuthority::new("stocks.example"));
    let client = member(&ours, "/webapp", &[&ours, &theirs]);
    let server = member(&theirs, "/quotes", &[&ours, &theirs]);
    for settings in [settings(), tls12(settings())] {
        let (client, server) = handshake(
            &client,
            authorize_id(SpiffeId::parse("spiffe://stocks.example/quotes").unwrap()),
            &server,
            ClientAuth::Required(authorize_member_of(ours.trust_domain().clone())),
            &settings,
        )
        .unwrap();
        assert_eq!(client.alpn_protocol(), Some(ALPN_H2));
        assert_eq!(peer(&client.into()).as_str(), "spiffe://stocks.example/quotes");
        assert_eq!(peer(&server.into()).as_str(), "spiffe://broker.example/webapp");
    }
}

#[test]
fn a_server_with_another_id_is_refused() {
    let authority = TestAuthority::new("example.org");
    let both = member(&authority, "/b", &[&authority]);
    let refused =
        handshake(&both, |id: &SpiffeId| id.path() == "/a", &both, ClientAuth::Required(IdMatcher::Any), &settings())
            .unwrap_err();
    let id = SpiffeId::parse("spiffe://example.org/b").unwrap();
    assert_eq!(refusal(refused.0), PeerRefused::Unauthorized { id });
}

#[test]
fn a_client_with_another_id_is_refused() {
    let authority = TestAuthority::new("example.org");
    let both = member(&authority, "/b", &[&authority]);
    for clients in [ClientAuth::Required(authorize_one_of([])), ClientAuth::Optional(authorize_one_of([]))] {
        let refused = handshake(&both, authorize_any(), &both, clients, &settings()).unwrap_err();
        assert!(matches!(refusal(refused.1), PeerRefused::Unauthorized { .. }));
    }
}

#[test]
fn the_bundle_of_another_trust_domain_does_not_count() {
    let (ours, theirs) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
    let server = member(&theirs, "/b", &[&ours, &theirs]);
    // Their root under our name, and nothing under theirs.
    let mut renamed = theirs.bundle();
    renamed.trust_domain = ours.trust_domain().clone();
    let client = member(&ours, "/a", &[&ours]);
    client.set_bundles(std::iter::once(renamed).collect::<BundleSet>());
    let refused =
        handshake(&client, authorize_any(), &server, ClientAuth::Required(authorize_any()), &settings()).unwrap_err();
    let trust_domain = theirs.trust_domain().clone();
    assert_eq!(refusal(refused.0), PeerRefused::Svid(X509Error::NoBundle { trust_domain }));
}

#[test]
fn an_impostor_of_the_same_trust_domain_is_refused() {
    let (real, impostor) = (TestAuthority::new("example.org"), TestAuthority::new("example.org"));
    let client = member(&real, "/a", &[&real]);
    let server = member(&impostor, "/b", &[&real]);
    let refused =
        handshake(&client, authorize_any(), &server, ClientAuth::Required(authorize_any()), &settings()).unwrap_err();
    assert!(matches!(refusal(refused.0), PeerRefused::Svid(X509Error::Chain { .. })));
}

#[test]
fn an_expired_svid_is_judged_at_the_time_that_was_handed_in() {
    let authority = TestAuthority::new("example.org");
    let expired = authority.svid_valid("/b", Timestamp::from_unix(0), Timestamp::from_unix(1_799_999_999));
    let client = member(&authority, "/a", &[&authority]);
    let server = Live::new(Some(TlsIdentity::from(&*expired)), authority.bundles());
    let refused =
        handshake(&client, authorize_any(), &server, ClientAuth::Required(authorize_any()), &settings()).unwrap_err();
    assert!(matches!(refusal(refused.0), PeerRefused::Svid(X509Error::Expired { .. })));
}

#[test]
fn a_client_without_svid_is_let_in_only_where_it_may_be_anonymous() {
    let authority = TestAuthority::new("example.org");
    let anonymous = Live::new(None, authority.bundles());
    let server = member(&authority, "/b", &[&authority]);
    let (_, connection) =
        handshake(&anonymous, authorize_any(), &server, ClientAuth::Optional(authorize_any()), &settings()).unwrap();
    assert!(connection.peer_certificates().is_none());
    handshake(&anonymous, authorize_any(), &server, ClientAuth::<IdMatcher>::None, &settings()).unwrap();
    let refused = handshake(&anonymous, authorize_any(), &server, ClientAuth::Required(authorize_any()), &settings());
    assert_eq!(refused.unwrap_err().1, Some(Error::NoCertificatesPresented));
}

#[test]
fn a_server_without_svid_refuses() {
    let authority = TestAuthority::new("example.org");
    let client = member(&authority, "/a", &[&authority]);
    let server = Live::new(None, authority.bundles());
    assert!(handshake(&client, authorize_any(), &server, ClientAuth::Required(authorize_any()), &settings()).is_err());
}

#[test]
fn open_configurations_follow_rotation_and_withdrawal() {
    let authority = TestAuthority::new("example.org");
    let (client, server) = (member(&authority, "/a", &[&authority]), member(&authority, "/b", &[&authority]));
    let client_config = Arc::new(client_config(client.clone(), authorize_any(), &settings()).unwrap());
    let server_config =
        Arc::new(server_config(server.clone(), ClientAuth::Required(authorize_any()), &settings()).unwrap());
    let meet = || {
        meet(&client_config, &server_config).map(|(client, _)| {
            assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
            peer(&client.into())
        })
    };
    assert_eq!(meet().unwrap().path(), "/b");
    server.set_identity(Some(TlsIdentity::from(&*authority.svid("/c"))));
    assert_eq!(meet().unwrap().path(), "/c");
    client.set_bundles(BundleSet::default());
    assert!(meet().is_err());
}
