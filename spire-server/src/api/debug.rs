//! What the server is up to, for who debugs it.

use std::sync::Arc;

use spiffe_core::tls::TlsSource;
use spiffe_core::x509::{Certificate, verify_chain};
use spiffe_core::{Bundle, Timestamp, TrustDomain};
use spire_api::convert;
use spire_api::proto::debug::debug_server::Debug;
use spire_api::proto::debug::get_info_response::Cert;
use spire_api::proto::debug::{GetInfoRequest, GetInfoResponse};
use spire_api::status::status;
use spire_datastore::DataStore;
use spire_runtime::Clock;
use spire_types::{EntryFilter, NodeFilter};
use tokio::sync::Mutex;
use tonic::{Code, Request, Response, Status};

use super::store_failed;

/// How long an answer is given again, in seconds.
const FRESH_FOR: u64 = 5;

/// The service.
pub(crate) struct DebugService {
    trust_domain: TrustDomain,
    datastore: Arc<dyn DataStore>,
    /// Shows the server's own SVID.
    own: Arc<dyn TlsSource>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
    last: Mutex<Option<(Timestamp, GetInfoResponse)>>,
}

impl DebugService {
    /// Counts what is in `datastore`, and shows the SVID of `own`. The server has started now.
    pub(crate) fn new(
        trust_domain: TrustDomain,
        datastore: Arc<dyn DataStore>,
        own: Arc<dyn TlsSource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let started = clock.now();
        Self { trust_domain, datastore, own, clock, started, last: Mutex::default() }
    }

    async fn look(&self, now: Timestamp) -> Result<GetInfoResponse, Status> {
        let agents = self.datastore.count_nodes(NodeFilter::default()).await;
        let agents = agents.map_err(|err| store_failed("failed to count agents", &err))?;
        let entries = self.datastore.count_entries(EntryFilter::default()).await;
        let entries = entries.map_err(|err| store_failed("failed to count entries", &err))?;
        let bundles = self.datastore.count_bundles().await;
        let bundles = bundles.map_err(|err| store_failed("failed to count bundles", &err))?;
        Ok(GetInfoResponse {
            svid_chain: self.svid_chain(now).await?,
            uptime: i32::try_from(now.since(self.started).as_secs()).unwrap_or(i32::MAX),
            agents_count: convert::count_to_proto(agents),
            // The own one included, as with SPIRE.
            federated_bundles_count: convert::count_to_proto(bundles),
            entries_count: convert::count_to_proto(entries),
        })
    }

    /// The SVID, what signed it, and the root that it leads to.
    async fn svid_chain(&self, now: Timestamp) -> Result<Vec<Cert>, Status> {
        let fetched = self.datastore.fetch_bundle(&self.trust_domain).await;
        let fetched = fetched.map_err(|err| store_failed("failed to fetch trust domain bundle", &err))?;
        let bundle = fetched.ok_or_else(|| Status::not_found("trust domain bundle not found"))?;
        let identity = self.own.identity().ok_or_else(|| Status::unavailable("server is initializing"))?;
        let chain = identity.chain();
        let root = root_of(chain, &bundle, now)?;
        Ok(chain.iter().chain([root]).map(to_proto).collect())
    }
}

/// The root of `bundle` that `chain` leads to.
fn root_of<'a>(chain: &[Certificate], bundle: &'a Bundle, now: Timestamp) -> Result<&'a Certificate, Status> {
    let mut roots = bundle.x509_authorities.iter().map(|authority| &authority.certificate);
    let root = roots.find(|root| verify_chain(chain, [*root], now).is_ok());
    root.ok_or_else(|| {
        status(Code::Internal, "failed verification against bundle", "no root leads to the server's SVID")
    })
}

fn to_proto(certificate: &Certificate) -> Cert {
    Cert {
        id: certificate.spiffe_id().ok().map(|id| convert::id::to_proto(&id)),
        expires_at: certificate.not_after().as_unix(),
        subject: certificate.subject_display().to_owned(),
    }
}

#[tonic::async_trait]
impl Debug for DebugService {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        if let Some((taken, info)) = &*last
            && now.since(*taken).as_secs() < FRESH_FOR
        {
            return Ok(Response::new(info.clone()));
        }
        let info = self.look(now).await?;
        *last = Some((now, info.clone()));
        Ok(Response::new(info))
    }
}

impl std::fmt::Debug for DebugService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugService").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spiffe_core::BundleSet;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::tls::{Live, TlsIdentity};
    use spire_datastore::{Bundles as _, SqliteStore};
    use spire_runtime::{SimClock, SystemClock};
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_and_the_chain_up_to_the_root_are_shown_and_kept_for_five_seconds() {
        let authority = TestAuthority::new("example.org");
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        datastore.set_bundle(authority.bundle()).await.unwrap();
        let identity = TlsIdentity::from(&*authority.svid("/spire/server"));
        let clock = Arc::new(SimClock::starting_at(SystemClock.now()));
        let own = Arc::new(Live::new(Some(identity), BundleSet::default()));
        let service = DebugService::new(authority.trust_domain().clone(), datastore.clone(), own, clock);
        let info = || async { service.get_info(Request::new(GetInfoRequest {})).await.unwrap().into_inner() };

        let first = info().await;
        assert_eq!((first.federated_bundles_count, first.entries_count, first.agents_count), (1, 0, 0));
        let paths: Vec<_> = first.svid_chain.iter().map(|cert| cert.id.as_ref().unwrap().path.as_str()).collect();
        assert_eq!(paths, ["/spire/server", ""]);

        datastore.set_bundle(Bundle::new(TrustDomain::parse("other.org").unwrap())).await.unwrap();
        advance(Duration::from_secs(4)).await;
        assert_eq!(info().await, first);
        advance(Duration::from_secs(1)).await;
        assert_eq!((info().await.federated_bundles_count, info().await.uptime), (2, 5));
    }
}
