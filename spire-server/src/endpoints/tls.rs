//! What the server shows of itself on the network, and what it verifies callers with.
//!
//! Its own SVID has a key that never leaves memory. It is replaced past half of its life, and when what signed it is
//! tainted; whoever is connected does not notice.

use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::tls::{ALPN_H2, ClientAuth, Live, Settings, TlsIdentity, TlsSource as _, server_config};
use spiffe_core::x509::{Certificate, X509Svid};
use spiffe_core::{BundleSet, KeyType, PrivateKey, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_ca::{X509SvidParams, mint_x509_svid};
use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;

use crate::authority::AuthorityHandle;
use crate::entries::{EntryCache, EntryIndex};
use crate::error::Error;

/// How often the SVID's age is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the server's SVID and the bundles fresh for TLS.
pub(crate) struct ServerIdentity {
    live: Live,
    id: SpiffeId,
    ttl: Ttl,
    key_type: KeyType,
    authority: AuthorityHandle,
    cache: Arc<EntryCache>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl ServerIdentity {
    /// Makes the first SVID.
    ///
    /// # Errors
    /// [`Error::ServerSvid`]
    pub(crate) async fn start(
        trust_domain: &TrustDomain,
        ttl: Ttl,
        key_type: KeyType,
        authority: AuthorityHandle,
        cache: Arc<EntryCache>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let id = trust_domain.join("/spire/server").map_err(|err| Error::ServerSvid(err.to_string()))?;
        let identity = Self { live: Live::default(), id, ttl, key_type, authority, cache, clock, metrics };
        identity.follow_bundles();
        let rotation = identity.metrics.timed(&["svid", "rotate"], &[], |_| "Internal", identity.replace());
        rotation.await.map_err(Error::ServerSvid)?;
        Ok(identity)
    }

    /// What TLS configurations ask at each handshake.
    pub(crate) fn source(&self) -> Live {
        self.live.clone()
    }

    /// The loop.
    pub(crate) async fn run(self) {
        let mut revisions = self.cache.revisions();
        loop {
            tokio::select! {
                changed = revisions.changed() => match changed {
                    Ok(()) => self.follow_bundles(),
                    Err(_) => return,
                },
                () = self.clock.sleep(CHECK_INTERVAL) => {}
            }
            if self.is_due()
                && let Err(err) = self.metrics.timed(&["svid", "rotate"], &[], |_| "Internal", self.replace()).await
            {
                tracing::error!(%err, "Could not rotate server SVID");
                self.clock.sleep(CHECK_INTERVAL).await;
            }
        }
    }

    /// Hands on bundles that have changed; what has not stays the very same value.
    fn follow_bundles(&self) {
        let (index, known) = (self.cache.current(), self.live.bundles());
        let mut count = 0;
        let is_known = index.bundles().all(|bundle| {
            count += 1;
            known.get(&bundle.trust_domain).is_some_and(|known| Arc::ptr_eq(known, bundle))
        });
        if is_known && count == known.len() {
            return;
        }
        let mut bundles = BundleSet::default();
        for bundle in index.bundles() {
            bundles.insert(Arc::clone(bundle));
        }
        self.live.set_bundles(bundles);
    }

    fn is_due(&self) -> bool {
        let Some(identity) = self.live.identity() else { return true };
        let Some(leaf) = identity.chain().first() else { return true };
        let trust_domain = self.id.trust_domain();
        self.clock.now() > half_life(leaf) || is_tainted(identity.chain(), &self.cache.current(), &trust_domain)
    }

    async fn replace(&self) -> Result<(), String> {
        let key_type = self.key_type;
        let key = tokio::task::spawn_blocking(move || PrivateKey::generate(key_type)).await;
        let key = key.map_err(|err| err.to_string())?.map_err(|err| err.to_string())?;
        let params = X509SvidParams {
            spiffe_id: &self.id,
            public_key: key.public_key(),
            ttl: self.ttl,
            dns_names: &[],
            subject: None,
        };
        let (authority, now) = (self.authority.current(), self.clock.now());
        let minted = mint_x509_svid(&authority, &params, now, &mut OsRng.unwrap_err()).await;
        self.authority.count_signed("x509_svid");
        let minted = minted.map_err(|err| err.to_string())?;
        let leaf = Certificate::from_der(&minted.leaf).map_err(|err| err.to_string())?;
        let chain = std::iter::once(leaf).chain(minted.intermediates.iter().cloned()).collect();
        let svid = X509Svid::new(chain, key).map_err(|err| err.to_string())?;
        self.live.set_identity(Some(TlsIdentity::from(svid)));
        tracing::info!(spiffe_id = %self.id, expires_at = %minted.not_after, "Server SVID minted");
        Ok(())
    }
}

fn half_life(leaf: &Certificate) -> Timestamp {
    leaf.not_before() + leaf.not_after().since(leaf.not_before()).divided_by(2)
}

/// Whether the root that the chain leads to is marked in the own bundle.
fn is_tainted(chain: &[Certificate], index: &EntryIndex, trust_domain: &TrustDomain) -> bool {
    let root_key_id = chain.last().and_then(Certificate::authority_key_id);
    let Some(bundle) = index.bundle(trust_domain) else { return false };
    bundle.x509_authorities.iter().any(|root| root.tainted && root.certificate.subject_key_id() == root_key_id)
}

/// TLS for the gRPC endpoint. Callers may stay anonymous; one that shows an SVID is verified with the bundle of its own
/// trust domain, and is a member of ours or one of `admin_ids`.
///
/// # Errors
/// [`Error::ServerSvid`] when the cryptography cannot do TLS at all.
pub(crate) fn grpc_config(
    source: Live,
    trust_domain: TrustDomain,
    admin_ids: Vec<SpiffeId>,
    settings: &Settings,
) -> Result<rustls::ServerConfig, Error> {
    let callers = move |id: &SpiffeId| id.is_member_of(&trust_domain) || admin_ids.contains(id);
    let settings = settings.clone().with_alpn(&[ALPN_H2]);
    server_config(source, ClientAuth::Optional(callers), &settings).map_err(|err| Error::ServerSvid(err.to_string()))
}

#[cfg(test)]
mod tests;
