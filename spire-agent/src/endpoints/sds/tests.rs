use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};
use spiffe_core::testing::TestAuthority;
use spire_api::proto::envoy::core::node::UserAgentVersionType;
use spire_api::proto::envoy::core::{BuildVersion, Node, SemanticVersion, data_source};
use spire_api::proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use spire_api::proto::envoy::tls::{Secret, SpiffeCertValidatorConfig, secret};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::service_fn;
use workload_api::Identity;
use workload_api::server::{Connection, Limits, following, serve};

use super::resources::resources;
use super::*;

fn config(authority: &TestAuthority) -> SdsConfig {
    SdsConfig::new(authority.trust_domain().clone())
}

fn context(paths: &[&str], own: &TestAuthority, others: &[&TestAuthority]) -> X509Context {
    let bundles = std::iter::once(own).chain(others.iter().copied()).map(TestAuthority::bundle).collect();
    X509Context {
        identities: paths.iter().map(|path| Identity::new(own.svid(path))).collect(),
        bundles: Arc::new(bundles),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn decode(resources: &[Any]) -> Vec<Secret> {
    let url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    resources
        .iter()
        .map(|any| {
            assert_eq!(any.type_url, url);
            Secret::decode(any.value.as_slice()).unwrap()
        })
        .collect()
}

/// `name` for certificates, `name -> trust domains` for the SPIFFE validator, `name -> CA` for plain certificates.
fn told(resources: &[Any]) -> Vec<String> {
    decode(resources)
        .into_iter()
        .map(|secret| match secret.r#type.unwrap() {
            secret::Type::TlsCertificate(_) => secret.name,
            secret::Type::ValidationContext(context) => match context.custom_validator_config {
                None => format!("{} -> CA", secret.name),
                Some(extension) => {
                    assert_eq!(extension.name, "envoy.tls.cert_validator.spiffe");
                    let config = extension.typed_config.unwrap();
                    let config = SpiffeCertValidatorConfig::decode(config.value.as_slice()).unwrap();
                    let domains: Vec<_> = config.trust_domains.into_iter().map(|domain| domain.name).collect();
                    format!("{} -> {}", secret.name, domains.join(","))
                }
            },
        })
        .collect()
}

#[test]
fn names_stand_for_what_spire_has_them_stand_for() {
    let (own, other) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
    let (config, context) = (config(&own), context(&["/a", "/b"], &own, &[&other]));
    let ask = |asked: &[&str]| resources(&config, &names(asked), None, &context).map(|found| told(&found));
    let everything = [
        "spiffe://example.org -> example.org",
        "spiffe://other.example -> other.example",
        "spiffe://example.org/a",
        "spiffe://example.org/b",
    ];
    assert_eq!(ask(&[]).unwrap(), everything);
    assert_eq!(ask(&[""]).unwrap(), everything);
    assert_eq!(ask(&["spiffe://example.org"]).unwrap(), ["spiffe://example.org -> example.org"]);
    assert_eq!(ask(&["ROOTCA", "default"]).unwrap(), ["ROOTCA -> example.org", "default"]);
    assert_eq!(ask(&["ALL"]).unwrap(), ["ALL -> example.org,other.example"]);
    assert_eq!(ask(&["spiffe://other.example"]).unwrap(), ["spiffe://other.example -> other.example"]);
    assert_eq!(ask(&["spiffe://example.org/b", "default"]).unwrap(), ["default", "spiffe://example.org/b"]);
    for (asked, left) in [
        (&["ROOTCA", "ALL"][..], r#"["ALL"]"#),
        (&["spiffe://example.org", "ROOTCA"], r#"["ROOTCA"]"#),
        (&["spiffe://example.org/a", "default"], r#"["default"]"#),
        (&["x", "spiffe://example.org/z", "ROOTCA"], r#"["spiffe://example.org/z" "x"]"#),
    ] {
        let refused = ask(asked).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), format!("workload is not authorized for the requested identities {left}"));
    }
}

#[test]
fn without_identity_there_is_the_own_bundle_alone() {
    let own = TestAuthority::new("example.org");
    let (config, context) = (config(&own), context(&[], &own, &[]));
    let found = resources(&config, &[], None, &context).unwrap();
    assert_eq!(told(&found), ["spiffe://example.org -> example.org"]);
    assert!(resources(&config, &names(&["default"]), None, &context).is_err());
}

#[test]
fn a_certificate_comes_as_pem_with_its_key() {
    let own = TestAuthority::new("example.org");
    let context = context(&["/a"], &own, &[]);
    let found = decode(&resources(&config(&own), &names(&["default"]), None, &context).unwrap());
    let Some(secret::Type::TlsCertificate(certificate)) = &found[0].r#type else { panic!("no certificate") };
    let text = |source: &Option<spire_api::proto::envoy::core::DataSource>| match source.clone().unwrap().specifier {
        Some(data_source::Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&certificate.certificate_chain), context.identities[0].svid.leaf().to_pem());
    assert!(text(&certificate.private_key).starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn old_envoys_and_those_that_ask_for_it_get_plain_certificates() {
    let own = TestAuthority::new("example.org");
    let context = context(&["/a"], &own, &[]);
    let envoy = |major_number, minor_number| Node {
        user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion { major_number, minor_number, patch: 9 }),
            metadata: None,
        })),
        ..Node::default()
    };
    let with = |kind: Kind| {
        let fields = BTreeMap::from([("disable_spiffe_cert_validation".to_owned(), Value { kind: Some(kind) })]);
        Node { metadata: Some(Struct { fields }), ..Node::default() }
    };
    let (default, disabled) = (config(&own), SdsConfig { disable_spiffe_cert_validation: true, ..config(&own) });
    for (config, node, plain) in [
        (&default, None, false),
        (&default, Some(Node::default()), false),
        (&default, Some(envoy(1, 17)), true),
        (&default, Some(envoy(1, 18)), false),
        (&default, Some(envoy(2, 0)), false),
        (&default, Some(with(Kind::BoolValue(true))), true),
        (&default, Some(with(Kind::StringValue("t".into()))), true),
        (&default, Some(with(Kind::StringValue("yes".into()))), false),
        (&disabled, None, true),
        (&disabled, Some(with(Kind::StringValue("false".into()))), false),
        (&disabled, Some(with(Kind::NumberValue(0.0))), true),
    ] {
        let found = told(&resources(config, &names(&["ROOTCA"]), node.as_ref(), &context).unwrap());
        let expected = if plain { "ROOTCA -> CA" } else { "ROOTCA -> example.org" };
        assert_eq!(found, [expected], "{node:?}");
    }
    let all = resources(&disabled, &names(&["ALL"]), None, &context).unwrap_err();
    assert_eq!(all.code(), Code::Internal);
}

/// Everybody gets what the channel says.
struct Everybody(watch::Receiver<Result<Arc<X509Context>, IdentityError>>);

#[async_trait]
impl Identities for Everybody {
    async fn watch_x509(&self, _: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        self.0.borrow().clone()?;
        Ok(following(self.0.clone()))
    }
}

type State = watch::Sender<Result<Arc<X509Context>, IdentityError>>;

fn envoy(own: &TestAuthority, context: X509Context) -> (SecretDiscoveryServiceClient<Channel>, State) {
    let (state, receiver) = watch::channel(Ok(Arc::new(context)));
    let service =
        sds_service(Arc::new(Everybody(receiver)), config(own), Gate::new(Limits::default()), CancellationToken::new());
    let (connections, incoming) = mpsc::unbounded_channel();
    let incoming = UnboundedReceiverStream::new(incoming).map(Ok);
    let router = Server::builder().add_service(service);
    tokio::spawn(serve(router, incoming, Limits::default(), std::future::pending(), Duration::ZERO));
    let connector = service_fn(move |_: Uri| {
        let (near, far) = tokio::io::duplex(1 << 16);
        connections.send(Connection::in_memory(far)).unwrap();
        std::future::ready(Ok::<_, std::io::Error>(TokioIo::new(near)))
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
    (SecretDiscoveryServiceClient::new(channel), state)
}

fn request(asked: &[&str], last: Option<&DiscoveryResponse>) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names(asked),
        type_url: "anything".into(),
        version_info: last.map(|last| last.version_info.clone()).unwrap_or_default(),
        response_nonce: last.map(|last| last.nonce.clone()).unwrap_or_default(),
        ..DiscoveryRequest::default()
    }
}

#[tokio::test]
async fn a_stream_answers_follows_and_ends_well_when_envoy_leaves() {
    let own = TestAuthority::new("example.org");
    let (mut envoy, state) = envoy(&own, context(&["/a"], &own, &[]));
    let (requests, sent) = mpsc::unbounded_channel();
    requests.send(request(&["default"], None)).unwrap();
    let mut stream = envoy.stream_secrets(UnboundedReceiverStream::new(sent)).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.version_info.as_str(), first.type_url.as_str(), first.nonce.len()), ("1", "anything", 8));
    assert_eq!(told(&first.resources), ["default"]);

    requests.send(request(&["default"], Some(&first))).unwrap();
    requests.send(request(&["ROOTCA"], Some(&first))).unwrap();
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!((second.version_info.as_str(), told(&second.resources)), ("1", vec!["ROOTCA -> example.org".into()]));
    assert_ne!(second.nonce, first.nonce);

    let other = TestAuthority::new("other.example");
    state.send_replace(Ok(Arc::new(context(&["/a"], &own, &[&other])))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().version_info, "2");
    drop(requests);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn names_that_are_not_the_callers_end_the_stream() {
    let own = TestAuthority::new("example.org");
    let (mut envoy, _state) = envoy(&own, context(&["/a"], &own, &[]));
    let asked =
        futures_util::stream::iter([request(&["spiffe://example.org/b"], None)]).chain(futures_util::stream::pending());
    let mut stream = envoy.stream_secrets(asked).await.unwrap().into_inner();
    let refused = stream.next().await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_single_fetch_has_neither_version_nor_nonce() {
    let own = TestAuthority::new("example.org");
    let (mut envoy, _state) = envoy(&own, context(&["/a"], &own, &[]));
    let response = envoy.fetch_secrets(request(&["default"], None)).await.unwrap().into_inner();
    assert_eq!((response.version_info.as_str(), response.nonce.as_str()), ("", ""));
    assert_eq!(told(&response.resources), ["default"]);
    let delta = envoy.delta_secrets(futures_util::stream::pending()).await.unwrap_err();
    assert_eq!((delta.code(), delta.message()), (Code::Unimplemented, "Method is not implemented"));
}
