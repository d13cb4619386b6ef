//! `spire.agent.debug.v1.Debug`: how the agent is doing.

use std::sync::Arc;

use spiffe_core::x509::{Certificate, verify_chain, verify_svid};
use spiffe_core::{Timestamp, TrustDomain};
use spire_api::convert::id;
use spire_api::proto::agent_debug::debug_server::{Debug, DebugServer};
use spire_api::proto::agent_debug::get_info_response::Cert;
use spire_api::proto::agent_debug::{GetInfoRequest, GetInfoResponse};
use spire_runtime::Clock;
use tonic::{Request, Response, Status};

use super::source::Source;

/// The service for a tonic router.
pub(super) fn debug_service<S: Source>(
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
) -> DebugServer<DebugService<S>> {
    DebugServer::new(DebugService { source, clock, started })
}

/// The RPC.
#[derive(Debug)]
pub(super) struct DebugService<S> {
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

#[tonic::async_trait]
impl<S: Source> Debug for DebugService<S> {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let now = self.clock.now();
        let chain = self.chain(now).map_err(|err| Status::internal(format!("failed to verify agent SVID: {err}")))?;
        let counts = self.source.counts();
        Ok(Response::new(GetInfoResponse {
            svid_chain: chain.iter().map(|certificate| told(certificate, self.source.trust_domain())).collect(),
            uptime: i32::try_from(now.as_unix().saturating_sub(self.started.as_unix())).unwrap_or(i32::MAX),
            svids_count: number(counts.x509_svids),
            last_sync_success: self.source.last_sync().map_or(0, Timestamp::as_unix),
            cached_x509_svids_count: number(counts.x509_svids),
            cached_jwt_svids_count: number(counts.jwt_svids),
            cached_svidstore_x509_svids_count: number(counts.store_svids),
        }))
    }
}

impl<S: Source> DebugService<S> {
    /// The agent's chain with the root that it leads to.
    fn chain(&self, now: Timestamp) -> Result<Vec<Certificate>, spiffe_core::x509::X509Error> {
        let mut chain = (*self.source.agent_chain()).clone();
        let bundles = Arc::clone(&self.source.bundles().borrow());
        verify_svid(&chain, &bundles, now)?;
        let mut roots = bundles.get(self.source.trust_domain()).into_iter().flat_map(|bundle| bundle.x509_roots());
        let root = roots.find(|root| verify_chain(&chain, [*root], now).is_ok()).cloned();
        chain.extend(root);
        Ok(chain)
    }
}

/// A root names the trust domain alone.
fn told(certificate: &Certificate, own: &TrustDomain) -> Cert {
    let is_domain = certificate.uri_sans().iter().any(|uri| uri == own.id().as_str());
    let found = certificate.spiffe_id().ok().or_else(|| is_domain.then(|| own.id()));
    Cert {
        id: found.as_ref().map(id::to_proto),
        expires_at: certificate.not_after().as_unix(),
        subject: certificate.subject_display().to_owned(),
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
