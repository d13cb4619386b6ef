//! A server on a temporary folder, and clients that speak its API directly.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use spiffe_core::tls::{ALPN_H2, Live, Settings, TlsIdentity, authorize_id, client_config, server_name};
use spiffe_core::x509::{Certificate, CsrTemplate, X509Svid};
use spiffe_core::{Bundle, BundleSet, KeyType, PrivateKey, SpiffeId, TrustDomain};
use spire_api::channel;
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::attest_agent_request::{Params, Step};
use spire_api::proto::agent::attest_agent_response::Step as Answer;
use spire_api::proto::agent::{AgentX509svidParams, AttestAgentRequest, CreateJoinTokenRequest, attest_agent_response};
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::entry::BatchCreateEntryRequest;
use spire_api::proto::entry::entry_client::EntryClient;
use spire_api::proto::types;
use spire_runtime::{SystemClock, rustls_time};
use spire_server::Server;
use spire_server::config::Config;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
    pub(crate) trust_domain: TrustDomain,
}

pub(crate) fn config(trust_domain: &str, directory: &TempDir) -> Config {
    let mut config = Config::new(TrustDomain::parse(trust_domain).unwrap(), directory.path().join("data"));
    config.bind_address = "127.0.0.1".to_owned();
    config.bind_port = 0;
    config.socket_path = directory.path().join("private/api.sock");
    config.rate_limits.attestation = false;
    config
}

impl Running {
    pub(crate) async fn start(trust_domain: &str) -> Self {
        Self::start_with(trust_domain, |_| {}).await
    }

    pub(crate) async fn start_with(trust_domain: &str, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(trust_domain, &directory);
        change(&mut config);
        let trust_domain = config.trust_domain.clone();
        let server = Server::builder(config).start().await.unwrap();
        Self { server, directory, trust_domain }
    }

    pub(crate) fn admin(&self) -> Channel {
        channel::unix(self.server.socket_path().to_owned())
    }

    pub(crate) async fn bundle(&self) -> Bundle {
        let bundle = BundleClient::new(self.admin()).get_bundle(GetBundleRequest::default()).await.unwrap();
        spire_api::convert::bundle::from_proto(&bundle.into_inner()).unwrap()
    }

    /// A channel to the network endpoint, with what `svid` shows.
    pub(crate) async fn channel(&self, svid: Option<&X509Svid>) -> Channel {
        let mut bundles = BundleSet::default();
        bundles.insert(self.bundle().await);
        let server = self.trust_domain.join("/spire/server").unwrap();
        connect(self.server.tcp_address(), server, svid, bundles)
    }

    pub(crate) async fn join_token(&self) -> String {
        let request = CreateJoinTokenRequest { ttl: 600, ..Default::default() };
        AgentClient::new(self.admin()).create_join_token(request).await.unwrap().into_inner().value
    }

    pub(crate) async fn create_entries(&self, entries: Vec<types::Entry>) -> Vec<types::Entry> {
        let request = BatchCreateEntryRequest { entries, output_mask: None };
        let results = EntryClient::new(self.admin()).batch_create_entry(request).await.unwrap().into_inner().results;
        results
            .into_iter()
            .map(|result| {
                assert_eq!(result.status.unwrap().code, 0);
                result.entry.unwrap()
            })
            .collect()
    }

    pub(crate) async fn join(&self) -> X509Svid {
        let token = self.join_token().await;
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let outcome = attest(self.channel(None).await, "join_token", token.as_bytes(), &key).await.unwrap();
        svid(&outcome.svid.unwrap(), key)
    }
}

pub(crate) fn connect(address: SocketAddr, server: SpiffeId, svid: Option<&X509Svid>, bundles: BundleSet) -> Channel {
    let settings =
        Settings::new(Arc::new(rustls::crypto::ring::default_provider()), rustls_time(Arc::new(SystemClock)))
            .with_alpn(&[ALPN_H2]);
    let live = Live::new(svid.map(TlsIdentity::from), bundles);
    let tls = client_config(live, authorize_id(server), &settings).unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    channel::over(move || {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            connector.connect(server_name(), stream).await.map_err(io::Error::other)
        }
    })
}

pub(crate) fn csr(key: &PrivateKey) -> Vec<u8> {
    CsrTemplate::default().sign(key).unwrap()
}

pub(crate) fn svid(svid: &types::X509svid, key: PrivateKey) -> X509Svid {
    let chain = svid.cert_chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    X509Svid::new(chain, key).unwrap()
}

pub(crate) async fn attest(
    channel: Channel,
    attestor: &str,
    payload: &[u8],
    key: &PrivateKey,
) -> Result<attest_agent_response::Result, Status> {
    attest_answering(channel, attestor, payload, key, |_| unreachable!("no challenge is expected")).await
}

pub(crate) async fn attest_answering(
    channel: Channel,
    attestor: &str,
    payload: &[u8],
    key: &PrivateKey,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<attest_agent_response::Result, Status> {
    let data = types::AttestationData { r#type: attestor.to_owned(), payload: payload.to_vec().into() };
    let params = Params { data: Some(data), params: Some(AgentX509svidParams { csr: csr(key).into() }) };
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    sender.send(AttestAgentRequest { step: Some(Step::Params(params)) }).await.unwrap();
    let mut answers = AgentClient::new(channel).attest_agent(ReceiverStream::new(requests)).await?.into_inner();
    loop {
        match answers.message().await?.expect("a result").step.unwrap() {
            Answer::Result(result) => return Ok(result),
            Answer::Challenge(challenge) => {
                let response = Step::ChallengeResponse(answer(&challenge).into());
                sender.send(AttestAgentRequest { step: Some(response) }).await.unwrap();
            }
        }
    }
}

pub(crate) fn entry(parent: &SpiffeId, path: &str, selector: (&str, &str)) -> types::Entry {
    types::Entry {
        spiffe_id: Some(types::Spiffeid { trust_domain: parent.trust_domain_name().to_owned(), path: path.to_owned() }),
        parent_id: Some(spire_api::convert::id::to_proto(parent)),
        selectors: vec![types::Selector { r#type: selector.0.to_owned(), value: selector.1.to_owned() }],
        ..Default::default()
    }
}
