//! Node attestation, the agent's side of the wire.

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::x509::{Certificate, CsrTemplate, check_leaf};
use spiffe_core::{Bundle, SpiffeId, TrustDomain};
use spire_api::convert::{bundle, id};
use spire_api::proto::agent::agent_client::AgentClient;
use spire_api::proto::agent::attest_agent_request::{Params, Step as Request};
use spire_api::proto::agent::attest_agent_response::Step as Response;
use spire_api::proto::agent::{AgentX509svidParams, AttestAgentRequest, RenewAgentRequest};
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_api::proto::types;
use spire_attestation::node::NodeAttestorAgent;
use spire_keymanager::Signer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::client::in_time;
use crate::error::Error;

/// What an agent gets.
#[derive(Clone, Debug)]
pub(crate) struct Attestation {
    /// Its SVID.
    pub(crate) chain: Vec<Certificate>,
    /// Whether it may show the same evidence again.
    pub(crate) reattestable: bool,
}

/// Shows the attestor's evidence and answers what the server asks.
///
/// # Errors
/// [`Error::Attestation`]; [`Error::Denied`] where the server says PermissionDenied.
pub(crate) async fn attest(
    channel: &Channel,
    attestor: &dyn NodeAttestorAgent,
    signer: &dyn Signer,
    trust_domain: &TrustDomain,
) -> Result<Attestation, Error> {
    let mut evidence = attestor.begin().await.map_err(|err| Error::Attestation(err.to_string()))?;
    let (requests, outgoing) = mpsc::channel(1);
    let params = Params {
        data: Some(types::AttestationData {
            r#type: attestor.name().to_owned(),
            payload: evidence.payload().to_vec().into(),
        }),
        params: Some(AgentX509svidParams { csr: request(signer).await?.into() }),
    };
    send(&requests, Request::Params(params)).await?;
    let mut client = AgentClient::new(channel.clone());
    let call = client.attest_agent(ReceiverStream::new(outgoing));
    let mut responses = in_time(call).await.map_err(refused)?.into_inner();
    loop {
        let response = in_time(responses.message()).await.map_err(refused)?;
        match response.and_then(|response| response.step) {
            Some(Response::Challenge(challenge)) => {
                let answer = evidence.answer(&challenge, &mut OsRng.unwrap_err()).await;
                let answer = answer.map_err(|err| Error::Attestation(err.to_string()))?;
                send(&requests, Request::ChallengeResponse(answer.into())).await?;
            }
            Some(Response::Result(result)) => {
                let chain = chain(result.svid.as_ref(), signer, trust_domain)?;
                return Ok(Attestation { chain, reattestable: result.reattestable });
            }
            None => return Err(Error::Attestation("server ended the attestation without a result".into())),
        }
    }
}

/// Has the agent's SVID renewed, for the key of `signer`, over a channel that shows the present one.
///
/// # Errors
/// As [`attest`].
pub(crate) async fn renew(
    channel: &Channel,
    signer: &dyn Signer,
    trust_domain: &TrustDomain,
) -> Result<Vec<Certificate>, Error> {
    let csr = request(signer).await?.into();
    let renewal = RenewAgentRequest { params: Some(AgentX509svidParams { csr }) };
    let mut client = AgentClient::new(channel.clone());
    let response = in_time(client.renew_agent(renewal)).await.map_err(refused)?.into_inner();
    chain(response.svid.as_ref(), signer, trust_domain)
}

/// The trust domain's bundle.
///
/// # Errors
/// As [`attest`].
pub(crate) async fn fetch_bundle(channel: &Channel, trust_domain: &TrustDomain) -> Result<Bundle, Error> {
    let mut client = BundleClient::new(channel.clone());
    let wire = in_time(client.get_bundle(GetBundleRequest::default())).await.map_err(refused)?.into_inner();
    let bundle = bundle::from_proto(&wire).map_err(|err| Error::Attestation(format!("malformed bundle: {err}")))?;
    if bundle.trust_domain != *trust_domain {
        return Err(Error::Attestation(format!("server sent the bundle of {}", bundle.trust_domain)));
    }
    Ok(bundle)
}

async fn send(requests: &mpsc::Sender<AttestAgentRequest>, step: Request) -> Result<(), Error> {
    let gone = |_| Error::Attestation("server ended the attestation".into());
    requests.send(AttestAgentRequest { step: Some(step) }).await.map_err(gone)
}

/// A request whose only word is the key: what the SVID says is up to the server.
async fn request(signer: &dyn Signer) -> Result<Vec<u8>, Error> {
    let to_be_signed = CsrTemplate::default().to_be_signed(signer.public_key());
    let signature = signer.sign(&to_be_signed).await?;
    let request = CsrTemplate::assemble(&to_be_signed, signer.algorithm(), &signature);
    request.map_err(|err| Error::Attestation(err.to_string()))
}

/// The chain of an answer, which has to be an agent's of this trust domain and for this key.
fn chain(
    svid: Option<&types::X509svid>,
    signer: &dyn Signer,
    trust_domain: &TrustDomain,
) -> Result<Vec<Certificate>, Error> {
    let wrong = |reason: String| Error::Attestation(format!("server sent no usable agent SVID: {reason}"));
    let svid = svid.ok_or_else(|| wrong("it is missing".into()))?;
    let chain: Result<Vec<_>, _> = svid.cert_chain.iter().map(|der| Certificate::from_der(der)).collect();
    let chain = chain.map_err(|err| wrong(err.to_string()))?;
    let leaf = chain.first().ok_or_else(|| wrong("the chain is empty".into()))?;
    let agent_id: SpiffeId = check_leaf(leaf).map_err(|err| wrong(err.to_string()))?;
    if !agent_id.is_member_of(trust_domain) || !id::is_agent(&agent_id) {
        return Err(wrong(format!("{agent_id} is no agent of {trust_domain}")));
    }
    if leaf.public_key() != signer.public_key() {
        return Err(wrong("it is for another key".into()));
    }
    Ok(chain)
}

pub(crate) fn refused(status: Status) -> Error {
    Error::from(status)
}
