//! An agent without a process: it attests by SPIRE's RPC, and calls what agents call.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use spiffe_core::tls::{ALPN_H2, Live, Settings, TlsIdentity, authorize_any, client_config, server_name};
use spiffe_core::x509::{Certificate, CsrTemplate, X509Svid};
use spiffe_core::{Bundle, BundleSet, KeyType, PrivateKey};
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::{AgentX509svidParams, AttestAgentRequest, attest_agent_request, attest_agent_response};
use spire_api::proto::types;
use spire_runtime::SystemClock;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use crate::Failure;
use crate::deployment::Deployment;

/// Connections to one server, with or without an SVID of an agent.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(address: SocketAddr, identity: Option<TlsIdentity>, bundle: Bundle) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = Settings::new(provider, spire_runtime::rustls_time(Arc::new(SystemClock))).with_alpn(&[ALPN_H2]);
        let source = Live::new(identity, BundleSet::from_iter([bundle]));
        Ok(Self { address, tls: Arc::new(client_config(source, authorize_any(), &settings)?) })
    }

    /// A channel that makes one new connection when it is first used.
    pub(crate) fn channel(&self) -> Channel {
        let dialer = self.clone();
        spire_api::channel::over(move || {
            let dialer = dialer.clone();
            async move {
                let stream = TcpStream::connect(dialer.address).await?;
                stream.set_nodelay(true)?;
                TlsConnector::from(Arc::clone(&dialer.tls)).connect(server_name(), stream).await
            }
        })
    }
}

/// Attests with a token over a new connection. The key may be used again: what is measured is the server.
pub(crate) async fn attest(anonymous: &Dialer, token: String, csr: Vec<u8>) -> Result<Vec<Certificate>, Failure> {
    let params = attest_agent_request::Params {
        data: Some(types::AttestationData { r#type: "join_token".to_owned(), payload: token.into_bytes().into() }),
        params: Some(AgentX509svidParams { csr: csr.into() }),
    };
    let request = AttestAgentRequest { step: Some(attest_agent_request::Step::Params(params)) };
    let requests = tokio_stream::once(request);
    let mut answers = AgentClient::new(anonymous.channel()).attest_agent(requests).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.step) {
        Some(attest_agent_response::Step::Result(result)) => {
            let chain = result.svid.unwrap_or_default().cert_chain;
            Ok(chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?)
        }
        _ => Err("attestation did not end with an SVID".into()),
    }
}

/// A request for a certificate by a new key.
pub(crate) fn request() -> Result<(PrivateKey, Vec<u8>), Failure> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let csr = CsrTemplate::default().sign(&key)?;
    Ok((key, csr))
}

/// Attests an agent below the node ID of that path, and returns how it connects from now on.
pub(crate) async fn join(deployment: &Deployment, node: &str) -> Result<Dialer, Failure> {
    let bundle = deployment.bundle().await?;
    let token = deployment.token(Some(node)).await?;
    let (key, csr) = request()?;
    let anonymous = Dialer::new(deployment.address, None, bundle.clone())?;
    let chain = attest(&anonymous, token, csr).await?;
    let svid = X509Svid::new(chain, key)?;
    Dialer::new(deployment.address, Some(TlsIdentity::from(svid)), bundle)
}
