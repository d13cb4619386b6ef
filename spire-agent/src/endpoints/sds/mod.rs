//! Envoy's secret discovery (SDS v3), over the same identities as the Workload API.
//!
//! Envoy asks for secrets by name and is sent new ones on the same stream. What it gets is in `resources.rs`, when it
//! gets it in `exchange.rs`.

mod exchange;
mod resources;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use rand_core::{OsRng, RngCore as _, TryRngCore as _};
use spire_api::proto::envoy::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use spire_api::proto::envoy::secret::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use workload_api::X509Context;
use workload_api::server::{Caller, Gate, Identities, IdentityError, Ticket, Updates};

use self::exchange::Exchange;
pub use self::resources::SdsConfig;

/// Full method of the stream.
pub const STREAM_SECRETS: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
/// Full method of the single fetch.
pub const FETCH_SECRETS: &str = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets";

/// The service for a tonic router whose connections are [`workload_api::server::Connection`]s. No header is required.
///
/// `gate` is shared with the Workload API; streams end with `Unavailable` once `closing` is cancelled.
pub fn sds_service<I: Identities>(
    identities: Arc<I>,
    config: SdsConfig,
    gate: Gate,
    closing: CancellationToken,
) -> SecretDiscoveryServiceServer<Sds<I>> {
    SecretDiscoveryServiceServer::new(Sds { identities, config: Arc::new(config), gate, closing })
}

/// The RPCs.
#[derive(Debug)]
pub struct Sds<I> {
    identities: Arc<I>,
    config: Arc<SdsConfig>,
    gate: Gate,
    closing: CancellationToken,
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<I: Identities> SecretDiscoveryService for Sds<I> {
    type DeltaSecretsStream = ResponseStream<DeltaDiscoveryResponse>;
    type StreamSecretsStream = ResponseStream<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("Method is not implemented"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (updates, ticket) = self.subscribe(&request, STREAM_SECRETS).await?;
        let open = Open {
            requests: request.into_inner(),
            updates,
            exchange: Exchange::default(),
            config: Arc::clone(&self.config),
            closing: self.closing.clone(),
            _ticket: ticket,
        };
        Ok(Response::new(Box::pin(futures_util::stream::unfold(Some(open), |open| async move {
            let mut open = open?;
            match open.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(open))),
                Ok(None) => None,
                Err(err) => Some((Err(err), None)),
            }
        }))))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let (mut updates, _ticket) = self.subscribe(&request, FETCH_SECRETS).await?;
        let context = updates.next().await.ok_or_else(closing)??;
        let request = request.into_inner();
        let resources = resources::resources(&self.config, &request.resource_names, request.node.as_ref(), &context)?;
        Ok(Response::new(DiscoveryResponse { resources, type_url: request.type_url, ..DiscoveryResponse::default() }))
    }
}

impl<I: Identities> Sds<I> {
    async fn subscribe<T>(
        &self,
        request: &Request<T>,
        method: &'static str,
    ) -> Result<(Updates<X509Context>, Ticket), Status> {
        let caller = Caller::of_request(request, method)?;
        let ticket = self.gate.enter(caller.peer())?;
        let updates = self.identities.watch_x509(&caller).await;
        // Asked after the attestation, which went by the process number.
        if let Err(err) = caller.peer().check() {
            tracing::warn!(%err, method, "caller has gone");
            return Err(IdentityError::AttestationFailed.into());
        }
        Ok((updates?, ticket))
    }
}

/// One open stream.
struct Open {
    requests: Streaming<DiscoveryRequest>,
    updates: Updates<X509Context>,
    exchange: Exchange,
    config: Arc<SdsConfig>,
    closing: CancellationToken,
    _ticket: Ticket,
}

impl Open {
    /// The next response; `None` once Envoy has left.
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        loop {
            let respond = tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => self.exchange.request(request),
                    Some(Err(status)) if status.code() != tonic::Code::Cancelled => return Err(status),
                    _ => return Ok(None),
                },
                update = self.updates.next() => self.exchange.update(update.ok_or_else(closing)??),
                () = self.closing.cancelled() => return Err(closing().into()),
            };
            if respond && let Some((request, context)) = self.exchange.pending() {
                let (names, node) = (&request.resource_names, request.node.as_ref());
                let resources = resources::resources(&self.config, names, node, context)?;
                let (version_info, type_url, nonce) = (self.exchange.version(), request.type_url.clone(), nonce());
                self.exchange.sent(nonce.clone());
                return Ok(Some(DiscoveryResponse { version_info, resources, canary: false, type_url, nonce }));
            }
        }
    }
}

fn closing() -> IdentityError {
    IdentityError::Unavailable { reason: "endpoint is closing".to_owned() }
}

/// Eight hexadecimal digits.
fn nonce() -> String {
    let mut bytes = [0; 4];
    OsRng.unwrap_err().fill_bytes(&mut bytes);
    format!("{:08x}", u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
