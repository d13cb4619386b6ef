//! What callers of an endpoint see on the wire.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use spiffe_core::{Bundle, BundleSet, SpiffeId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint as Connector, Uri};
use tonic::{Code, Request, Status};
use tower::service_fn;
use workload_api::client::{Client, X509, X509Bundles};
use workload_api::proto;
use workload_api::proto::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use workload_api::server::{
    Caller, Endpoint, Identities, IdentityError, Limits, PUBLIC_SOCKET_MODE, Peer, UnixSocket, Updates, constant,
};
use workload_api::testing::{FakeEndpoint, TestAuthority};
use workload_api::{Address, Identity, JwtToken, ValidatedJwt, X509Context};

type Api = SpiffeWorkloadApiClient<Channel>;

/// A client that adds nothing to its requests.
fn bare(endpoint: &FakeEndpoint) -> Api {
    let connection = TokioIo::new(endpoint.connect().unwrap());
    let connection = Arc::new(std::sync::Mutex::new(Some(connection)));
    let connector = service_fn(move |_: Uri| {
        let connection = connection.lock().unwrap().take();
        async move { connection.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionRefused)) }
    });
    Api::new(Connector::from_static("http://localhost").connect_with_connector_lazy(connector))
}

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

fn web() -> FakeEndpoint {
    let endpoint = FakeEndpoint::new("example.org");
    endpoint.set_identities(&["/web"]);
    endpoint
}

fn refused<T>(result: Result<T, Status>, code: Code, message: &str) {
    let status = result.err().unwrap();
    assert_eq!((status.code(), status.message()), (code, message));
}

#[tokio::test]
async fn workload_endpoint_6_every_rpc_without_the_header_is_refused() {
    let endpoint = web();
    let mut api = bare(&endpoint);
    let missing = "security header missing from request";
    refused(api.fetch_x509svid(proto::X509svidRequest {}).await, Code::InvalidArgument, missing);
    refused(api.fetch_x509_bundles(proto::X509BundlesRequest {}).await, Code::InvalidArgument, missing);
    refused(api.fetch_jwt_bundles(proto::JwtBundlesRequest {}).await, Code::InvalidArgument, missing);
    refused(api.fetch_jwtsvid(proto::JwtsvidRequest::default()).await, Code::InvalidArgument, missing);
    refused(api.validate_jwtsvid(proto::ValidateJwtsvidRequest::default()).await, Code::InvalidArgument, missing);
    refused(api.fetch_witsvid(proto::WitsvidRequest::default()).await, Code::InvalidArgument, missing);
    for values in [&["True"][..], &["1"], &["true", "true"]] {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("workload.spiffe.io", value.parse().unwrap());
        }
        let request = Request::from_parts(metadata, tonic::Extensions::default(), proto::X509svidRequest {});
        refused(api.fetch_x509svid(request).await, Code::InvalidArgument, missing);
    }
    api.fetch_x509svid(with_header(proto::X509svidRequest {})).await.unwrap();
}

#[tokio::test]
async fn the_x509_response_is_complete_and_encoded_as_the_standard_says() {
    let endpoint = web();
    let other = TestAuthority::new("other.example");
    endpoint.federate(&other);
    let mut stream = bare(&endpoint).fetch_x509svid(with_header(proto::X509svidRequest {})).await.unwrap().into_inner();
    let response = stream.next().await.unwrap().unwrap();
    let [svid] = response.svids.as_slice() else { panic!("one SVID") };
    let own = endpoint.authority();
    assert_eq!(svid.spiffe_id, "spiffe://example.org/web");
    assert_eq!(svid.bundle, own.root().der());
    let key = spiffe_core::PrivateKey::from_pkcs8_der(&svid.x509_svid_key).unwrap();
    let leaf = spiffe_core::x509::Certificate::from_der(&svid.x509_svid).unwrap();
    assert_eq!(leaf.public_key(), key.public_key());
    let federated: Vec<_> = response.federated_bundles.iter().map(|(id, der)| (id.as_str(), &der[..])).collect();
    assert_eq!(federated, [("spiffe://other.example", other.root().der())]);
}

#[tokio::test]
async fn bundle_streams_hold_the_own_trust_domain_and_the_federated_ones() {
    let endpoint = web();
    endpoint.federate(&TestAuthority::new("other.example"));
    let mut api = bare(&endpoint);
    let mut x509 = api.fetch_x509_bundles(with_header(proto::X509BundlesRequest {})).await.unwrap().into_inner();
    let ids = ["spiffe://example.org", "spiffe://other.example"];
    assert!(x509.next().await.unwrap().unwrap().bundles.keys().eq(ids.iter()));
    let mut jwt = api.fetch_jwt_bundles(with_header(proto::JwtBundlesRequest {})).await.unwrap().into_inner();
    let bundles = jwt.next().await.unwrap().unwrap().bundles;
    assert!(bundles.keys().eq(ids.iter()));
    let jwks: serde_json::Value = serde_json::from_slice(&bundles["spiffe://example.org"]).unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0]["kid"].is_string() && keys[0].get("use").is_none() && keys[0].get("x5c").is_none());
}

#[tokio::test]
async fn only_changes_are_sent() {
    let endpoint = web();
    let mut svids = endpoint.client().stream::<X509>().await.unwrap();
    let mut bundles = endpoint.client().stream::<X509Bundles>().await.unwrap();
    let (first, _) = (svids.next().await.unwrap().unwrap(), bundles.next().await.unwrap().unwrap());
    // The same again is nothing new, for anybody.
    endpoint.set(Ok(first.clone()));
    tokio::task::yield_now().await;
    // Another SVID is nothing new for those who watch bundles; another bundle is, for all.
    endpoint.set_identities(&["/web"]);
    let second = svids.next().await.unwrap().unwrap();
    assert_ne!(second.default_svid().unwrap().leaf(), first.default_svid().unwrap().leaf());
    endpoint.federate(&TestAuthority::new("other.example"));
    assert_eq!(svids.next().await.unwrap().unwrap().bundles.len(), 2);
    assert_eq!(bundles.next().await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn a_caller_without_identity_is_denied_at_once_and_later() {
    let endpoint = FakeEndpoint::new("example.org");
    let mut api = bare(&endpoint);
    let (denied, message) = (Code::PermissionDenied, "no identity issued");
    refused(api.fetch_x509svid(with_header(proto::X509svidRequest {})).await, denied, message);
    refused(api.fetch_jwt_bundles(with_header(proto::JwtBundlesRequest {})).await, denied, message);
    endpoint.set_identities(&["/web"]);
    let mut stream = api.fetch_x509svid(with_header(proto::X509svidRequest {})).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    endpoint.set(Err(IdentityError::NoIdentity));
    refused(stream.next().await.unwrap(), denied, message);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn an_answer_that_lacks_the_own_bundle_is_an_error() {
    let endpoint = web();
    let mut context = endpoint.client().fetch_x509_context().await.unwrap();
    context.bundles = Arc::default();
    endpoint.set(Ok(context));
    let mut stream = bare(&endpoint).fetch_x509svid(with_header(proto::X509svidRequest {})).await.unwrap().into_inner();
    let message = "could not serialize response: bundle not available";
    refused(stream.next().await.unwrap(), Code::Unavailable, message);
}

#[tokio::test]
async fn requests_for_tokens_are_checked_before_the_caller_is() {
    let endpoint = FakeEndpoint::new("example.org");
    let mut api = bare(&endpoint);
    let mut fetch = async |audience: &[&str], id: &str| {
        let audience = audience.iter().map(|audience| (*audience).to_owned()).collect();
        api.fetch_jwtsvid(with_header(proto::JwtsvidRequest { audience, spiffe_id: id.into() })).await
    };
    refused(fetch(&[], "").await, Code::InvalidArgument, "audience must be specified");
    refused(fetch(&[""], "").await, Code::InvalidArgument, "audience must be specified");
    refused(
        fetch(&["a"], "example.org/web").await,
        Code::InvalidArgument,
        "invalid requested SPIFFE ID: scheme is missing or invalid",
    );
    refused(fetch(&["a"], "").await, Code::PermissionDenied, "no identity issued");
    endpoint.set_identities(&["/web"]);
    let unknown = fetch(&["a"], "spiffe://example.org/other").await;
    refused(unknown, Code::PermissionDenied, "no identity issued");
    let tokens = fetch(&["b", "a"], "spiffe://example.org/web").await.unwrap().into_inner().svids;
    assert_eq!(tokens.len(), 1);
    let claims = spiffe_core::jwt::parse_unverified(&tokens[0].svid).unwrap();
    assert_eq!(claims.audience, ["b", "a"]);

    let mut validate = async |audience: &str, svid: &str| {
        let message = proto::ValidateJwtsvidRequest { audience: audience.into(), svid: svid.into() };
        api.validate_jwtsvid(with_header(message)).await
    };
    refused(validate("", "x").await, Code::InvalidArgument, "audience must be specified");
    refused(validate("a", "").await, Code::InvalidArgument, "svid must be specified");
    let broken = validate("a", "x.y.z").await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    assert!(validate("a", &tokens[0].svid).await.is_ok());
}

#[tokio::test]
async fn wit_svids_are_not_implemented() {
    let endpoint = web();
    let mut api = bare(&endpoint);
    let message = "fetching WIT-SVIDs is not implemented";
    refused(api.fetch_witsvid(with_header(proto::WitsvidRequest::default())).await, Code::Unimplemented, message);
    let message = "fetching WIT bundles is not implemented";
    refused(api.fetch_wit_bundles(with_header(proto::WitBundlesRequest {})).await, Code::Unimplemented, message);
}

#[tokio::test]
async fn one_caller_cannot_open_streams_without_end() {
    const ALLOWED: usize = 64;
    let limits = Limits { calls_per_caller: ALLOWED, ..Limits::default() };
    let endpoint = FakeEndpoint::with_limits("example.org", limits);
    endpoint.set_identities(&["/web"]);
    let mut open = Vec::new();
    let mut refusals = 0;
    for _ in 0..ALLOWED + 40 {
        match endpoint.client().stream::<X509>().await {
            Ok(mut stream) => {
                stream.next().await.unwrap().unwrap();
                open.push(stream);
            }
            Err(workload_api::Error::Rpc { code: Code::ResourceExhausted, .. }) => refusals += 1,
            Err(err) => panic!("{err}"),
        }
    }
    assert_eq!((open.len(), refusals), (ALLOWED, 40));
    open.clear();
    while endpoint.client().fetch_x509_context().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_beyond_the_bounds_are_refused_on_both_sides() {
    let endpoint = web();
    let huge = proto::JwtsvidRequest { audience: vec!["a".repeat(5 << 20)], spiffe_id: String::new() };
    let status = bare(&endpoint).fetch_jwtsvid(with_header(huge)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    // A thousand bundles are fine.
    let authority = TestAuthority::new("other.example");
    let mut context = endpoint.client().fetch_x509_context().await.unwrap();
    let bundles = Arc::make_mut(&mut context.bundles);
    for number in 0..1000 {
        let trust_domain = format!("td-{number}.example").parse().unwrap();
        bundles.insert(Bundle { trust_domain, ..authority.bundle() });
    }
    endpoint.set(Ok(context));
    assert_eq!(endpoint.client().fetch_x509_context().await.unwrap().bundles.len(), 1001);
}

/// Tells each caller's identity by what the connection knows of him.
struct ByPeer(TestAuthority);

impl ByPeer {
    fn context(&self, caller: &Caller) -> Arc<X509Context> {
        let path = match caller.peer() {
            Peer::Process(process) => format!("/pid/{}/uid/{}", process.pid(), process.uid()),
            Peer::Address(address) => format!("/ip/{}", address.ip()),
            _ => "/nobody".to_owned(),
        };
        let identities = vec![Identity::new(self.0.svid(&path))];
        Arc::new(X509Context { identities, bundles: Arc::new(self.0.bundles()) })
    }
}

#[async_trait]
impl Identities for ByPeer {
    async fn watch_x509(&self, caller: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        assert_eq!(caller.method(), "/SpiffeWorkloadAPI/FetchX509SVID");
        let context = self.context(caller);
        Ok(constant(context))
    }

    async fn watch_bundles(&self, _: &Caller) -> Result<Updates<BundleSet>, IdentityError> {
        Err(IdentityError::NoIdentity)
    }

    async fn fetch_jwt_svids(
        &self,
        caller: &Caller,
        _: &[String],
        _: Option<&SpiffeId>,
    ) -> Result<Vec<JwtToken>, IdentityError> {
        Err(IdentityError::RateLimited { method: caller.method() })
    }

    async fn validate_jwt_svid(&self, _: &Caller, _: &str, _: &str) -> Result<ValidatedJwt, IdentityError> {
        Err(IdentityError::AttestationFailed)
    }
}

#[tokio::test]
async fn a_unix_socket_tells_the_process_and_is_open_to_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public/api.sock");
    let (stop, stopped) = oneshot::channel::<()>();
    let endpoint = Endpoint::new(ByPeer(TestAuthority::new("example.org")));
    let serving = tokio::spawn({
        let path = path.clone();
        async move {
            endpoint.serve_unix(&path, async { drop(stopped.await) }).await.unwrap();
        }
    });
    while UnixStream::connect(&path).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
    let client = Client::new(Address::unix(&path));
    let context = client.fetch_x509_context().await.unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let expected = format!("/pid/{}/uid/{uid}", std::process::id());
    assert_eq!(context.default_svid().unwrap().id().path(), expected);
    let limited = client.fetch_jwt_svids(&["a"], None).await.unwrap_err();
    assert!(limited.to_string().ends_with("rate limit exceeded for /SpiffeWorkloadAPI/FetchJWTSVID"), "{limited}");

    // Endless streams and silent connections do not hold the end up.
    let mut stream = client.stream::<X509>().await.unwrap();
    stream.next().await.unwrap().unwrap();
    let mut silent = UnixStream::connect(&path).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), serving).await.unwrap().unwrap();
    assert!(stream.next().await.unwrap().is_err());
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_caller_over_tcp_is_known_by_address_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let endpoint = Endpoint::new(ByPeer(TestAuthority::new("example.org")));
    tokio::spawn(endpoint.serve_tcp(listener, std::future::pending()));
    let context = Client::new(address).fetch_x509_context().await.unwrap();
    assert_eq!(context.default_svid().unwrap().id().path(), "/ip/127.0.0.1");
}

#[tokio::test]
async fn a_client_that_names_the_host_by_the_path_of_the_socket_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let endpoint = web();
    endpoint.listen(&path).unwrap();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    // As gRPC's C core sends it.
    let headers: &[u8] = b"@\x05:path /SpiffeWorkloadAPI/FetchX509SVID@\n:authority\x10run%2Fspire.sock\x83\x86\
        @\x0ccontent-type\x10application/grpc@\x02te\x08trailers\x00\x12workload.spiffe.io\x04true";
    let length = u8::try_from(headers.len()).unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let message = [0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    let request = [&preface[..], &[0, 0, length, 1, 4, 0, 0, 0, 1], headers, &message].concat();
    stream.write_all(&request).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            0 => break,
            3 => panic!("the stream was reset"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_or_anything_else_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = UnixSocket::bind(&path, PUBLIC_SOCKET_MODE).unwrap();
    let err = UnixSocket::bind(&path, PUBLIC_SOCKET_MODE).unwrap_err();
    assert!(err.to_string().ends_with("another process listens on it"), "{err}");
    assert!(path.exists());
    drop(live);
    std::fs::write(&path, "precious").unwrap();
    let err = UnixSocket::bind(&path, PUBLIC_SOCKET_MODE).unwrap_err();
    assert!(err.to_string().starts_with("failed to listen on socket"), "{err}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
