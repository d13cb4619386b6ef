//! The agent's own SVID: loaded, obtained, renewed, given up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rand_core::{OsRng, TryRngCore as _};
use rustls::sign::{Signer as TlsSigner, SigningKey};
use rustls::{SignatureAlgorithm as TlsAlgorithm, SignatureScheme};
use spiffe_core::tls::{Live, TlsIdentity};
use spiffe_core::x509::Certificate;
use spiffe_core::{BundleSet, KeyType, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_api::status::code_name;
use spire_attestation::node::NodeAttestorAgent;
use spire_keymanager::{KeyId, KeyManager, Signer};
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Backoff, Clock};
use tokio::sync::watch;

use crate::attest::{attest, renew};
use crate::cache::renewal::{expires_at, renew_at};
use crate::cache::{BELOW_TAINTED_FOR, is_below_tainted};
use crate::client::ServerClient;
use crate::error::{Denial, Error};
use crate::storage::Storage;

/// The two names that the agent's keys have in turn.
const KEY_IDS: [&str; 2] = ["agent-svid-A", "agent-svid-B"];
/// An SVID with no more than this left is not used any more at start-up.
const LAST_MOMENT: Ttl = Ttl::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(120);
/// How long an agent whose SVID has expired waits for a server that does not answer before it ends.
const PATIENCE: Ttl = Ttl::from_minutes(1);

/// An SVID of the agent and its key.
#[derive(Clone, Debug)]
pub(crate) struct AgentSvid {
    pub(crate) id: SpiffeId,
    pub(crate) chain: Arc<Vec<Certificate>>,
    pub(crate) reattestable: bool,
    key_id: KeyId,
    signer: Arc<dyn Signer>,
}

/// What the agent's identity depends on.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) keys: Arc<dyn KeyManager>,
    pub(crate) attestor: Arc<dyn NodeAttestorAgent>,
    pub(crate) storage: Storage,
    pub(crate) client: ServerClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) availability_target: Option<Ttl>,
    pub(crate) metrics: Metrics,
}

impl Means {
    /// The SVID of an earlier run, where it is valid and its key is there.
    pub(crate) async fn load(&self) -> Result<Option<AgentSvid>, Error> {
        let data = self.storage.data();
        let Some(chain) = data.svid else { return Ok(None) };
        let Some(id) = chain.first().and_then(|leaf| leaf.spiffe_id().ok()) else { return Ok(None) };
        let keys =
            self.metrics.timed(&["agent_key_manager", "get_keys"], &[], |_| "Internal", self.keys.keys()).await?;
        let key = keys
            .into_iter()
            .find(|(_, signer)| chain.first().is_some_and(|leaf| leaf.public_key() == signer.public_key()));
        let Some((key_id, signer)) = key else {
            tracing::warn!("Private key not recovered");
            return Ok(None);
        };
        if expires_at(&chain) <= self.clock.now() + LAST_MOMENT {
            tracing::warn!(spiffe_id = %id, "X509-SVID expired, new node attestation will be performed");
            return Ok(None);
        }
        Ok(Some(AgentSvid { id, chain: Arc::new(chain), reattestable: data.reattestable, key_id, signer }))
    }

    /// Attests over `channel`, with a new key.
    pub(crate) async fn attest(
        &self,
        channel: &tonic::transport::Channel,
        current: Option<&KeyId>,
    ) -> Result<AgentSvid, Error> {
        let (key_id, signer) = self.next_key(current).await?;
        let attesting = attest(channel, &*self.attestor, &*signer, &self.trust_domain);
        let (key, labels) = (["node", "attestor", "new_svid"], [("attestor", self.attestor.name())]);
        let attestation = self.metrics.timed(&key, &labels, status, attesting).await?;
        let id = agent_id(&attestation.chain)?;
        let chain = Arc::new(attestation.chain);
        Ok(AgentSvid { id, chain, reattestable: attestation.reattestable, key_id, signer })
    }

    async fn next_key(&self, current: Option<&KeyId>) -> Result<(KeyId, Arc<dyn Signer>), Error> {
        let [a, b] = KEY_IDS;
        let key_id = KeyId::new(if current.is_some_and(|current| current.as_str() == a) { b } else { a })?;
        let generating = self.keys.generate_key(&key_id, KeyType::EcP256);
        let key = ["agent_key_manager", "generate_key"];
        let signer = self.metrics.timed(&key, &[], |_| "Internal", generating).await?;
        Ok((key_id, signer))
    }

    /// Makes an SVID the one that is shown and kept.
    async fn adopt(&self, svid: &AgentSvid) -> Result<(), Error> {
        let chain = svid.chain.to_vec();
        let reattestable = svid.reattestable;
        self.storage
            .update(|data| {
                data.svid = Some(chain);
                data.reattestable = reattestable;
            })
            .await?;
        self.show(svid)
    }

    fn show(&self, svid: &AgentSvid) -> Result<(), Error> {
        let key = Arc::new(ManagedKey::new(Arc::clone(&svid.signer))?);
        let identity = TlsIdentity::with_signing_key(svid.chain.to_vec(), key);
        let identity = identity.map_err(|err| Error::Attestation(err.to_string()))?;
        self.client.source().set_identity(Some(identity));
        self.client.reconnect()
    }
}

fn agent_id(chain: &[Certificate]) -> Result<SpiffeId, Error> {
    let leaf = chain.first().ok_or_else(|| Error::Attestation("the chain is empty".into()))?;
    leaf.spiffe_id().map_err(|err| Error::Attestation(err.to_string()))
}

/// The SVID of the moment, and the one who replaces it.
#[derive(Debug)]
pub(crate) struct Identity {
    means: Means,
    current: watch::Sender<AgentSvid>,
    /// Held while the SVID is being replaced.
    rotating: tokio::sync::Mutex<()>,
}

impl Identity {
    /// Shows and keeps `svid`.
    pub(crate) async fn new(means: Means, svid: AgentSvid) -> Result<Self, Error> {
        means.adopt(&svid).await?;
        Ok(Self { means, current: watch::Sender::new(svid), rotating: tokio::sync::Mutex::new(()) })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<AgentSvid> {
        self.current.subscribe()
    }

    /// Replaces the SVID when it is due or below an authority that became tainted.
    ///
    /// # Errors
    /// When it has expired and cannot be replaced, or the server does not want the agent any more.
    pub(crate) async fn run(&self, mut bundles: watch::Receiver<Arc<BundleSet>>) -> Result<(), Error> {
        let (mut backoff, mut rng) = (Backoff::new(FIRST_RETRY, LONGEST_RETRY), OsRng.unwrap_err());
        // When it is asked for again, where the server had none but below what is tainted.
        let mut again_at = Timestamp::from_unix(i64::MIN);
        let mut current = self.watch();
        loop {
            let svid = current.borrow_and_update().clone();
            let tainted = self.is_tainted(&svid, &bundles.borrow_and_update());
            let (from, until) = validity(&svid);
            let due = renew_at(from, until, self.means.availability_target, &mut rng);
            let due = if tainted { due.min(again_at) } else { due };
            if due > self.means.clock.now() {
                tokio::select! {
                    () = self.means.clock.sleep_until(due) => {}
                    _ = current.changed() => continue,
                    changed = bundles.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return Ok(()),
                    },
                }
            }
            let mut failing_since = None;
            while let Err(err) = self.rotate().await {
                if let Some(denial) = err.denial() {
                    self.denied(denial, &err).await?;
                    break;
                }
                let attempt = if svid.reattestable { "reattest agent" } else { "rotate agent SVID" };
                // Where both have slept beyond their SVIDs, the server needs a moment for its own.
                let patience = if err.is_unanswered() { PATIENCE } else { Ttl::ZERO };
                let failing_since = *failing_since.get_or_insert_with(|| self.means.clock.now());
                if until <= self.means.clock.now() && failing_since + patience <= self.means.clock.now() {
                    return Err(Error::SvidExpired { attempt, reason: err.to_string() });
                }
                tracing::error!(%err, agent_id = %svid.id, "Failed to {attempt}");
                self.means.clock.sleep(backoff.next(&mut rng)).await;
            }
            backoff.reset();
            again_at = self.means.clock.now() + BELOW_TAINTED_FOR;
        }
    }

    /// Does what a denial asks for: attests anew where that is possible, and leaves it to the next denial where the
    /// server does not answer.
    ///
    /// # Errors
    /// Where it is not: the SVID is removed then, and the agent has to end.
    pub(crate) async fn denied(&self, denial: Denial, cause: &Error) -> Result<(), Error> {
        let reattestable = self.current.borrow().reattestable;
        let ended = match denial {
            Denial::Banned => {
                tracing::error!(err = %cause, "Agent is banned: removing SVID and shutting down");
                Error::Banned
            }
            Denial::Attest if reattestable => match self.rotate().await {
                Ok(()) => return Ok(()),
                Err(err) if err.is_unanswered() => {
                    tracing::error!(%err, "Failed to reattest agent");
                    return Ok(());
                }
                Err(err) => {
                    tracing::error!(%err, "Agent needs to re-attest: removing SVID and shutting down");
                    Error::MustAttest { reason: err.to_string() }
                }
            },
            Denial::Attest => {
                tracing::error!(err = %cause, "Agent needs to re-attest: removing SVID and shutting down");
                Error::MustAttest { reason: cause.to_string() }
            }
        };
        self.means.storage.update(|data| data.svid = None).await?;
        Err(ended)
    }

    async fn rotate(&self) -> Result<(), Error> {
        let reattestable = self.current.borrow().reattestable;
        let key: &[&str] = if reattestable { &["node", "attest"] } else { &["agent_svid", "rotate"] };
        self.means.metrics.timed(key, &[], status, self.replace()).await
    }

    /// Replaces the SVID: by attesting anew where the agent may, by having it renewed where it may not.
    async fn replace(&self) -> Result<(), Error> {
        let _rotating = self.rotating.lock().await;
        let svid = self.current.borrow().clone();
        let means = &self.means;
        let next = if svid.reattestable {
            tracing::debug!(agent_id = %svid.id, "Reattesting node");
            let anonymous = Live::new(None, spiffe_core::tls::TlsSource::bundles(means.client.source()));
            let channel = means.client.connector().verified(&anonymous)?;
            means.attest(&channel, Some(&svid.key_id)).await?
        } else {
            tracing::debug!(agent_id = %svid.id, "Rotating agent SVID");
            let (key_id, signer) = means.next_key(Some(&svid.key_id)).await?;
            let chain = renew(&means.client.channel(), &*signer, &means.trust_domain).await?;
            AgentSvid { id: agent_id(&chain)?, chain: Arc::new(chain), reattestable: false, key_id, signer }
        };
        means.adopt(&next).await?;
        tracing::info!(spiffe_id = %next.id, reattestable = next.reattestable, "Successfully rotated agent SVID");
        self.current.send_replace(next);
        Ok(())
    }

    /// Whether the SVID is below an authority that is tainted.
    fn is_tainted(&self, svid: &AgentSvid, bundles: &BundleSet) -> bool {
        let bundle = bundles.get(&self.means.trust_domain);
        bundle.is_some_and(|bundle| is_below_tainted(&svid.chain, bundle, self.means.clock.now()))
    }
}

/// What metrics call a failure.
fn status(err: &Error) -> &'static str {
    code_name(err.code().unwrap_or(tonic::Code::Unknown))
}

fn validity(svid: &AgentSvid) -> (Timestamp, Timestamp) {
    let from = svid.chain.first().map_or(Timestamp::from_unix(0), Certificate::not_before);
    (from, expires_at(&svid.chain))
}

/// A key of the key manager, as rustls signs with it: at once, which managers that keep keys in this process do.
#[derive(Clone, Debug)]
struct ManagedKey {
    signer: Arc<dyn Signer>,
    scheme: SignatureScheme,
}

impl ManagedKey {
    fn new(signer: Arc<dyn Signer>) -> Result<Self, Error> {
        match signer.public_key().key_type() {
            Some(KeyType::EcP256) => Ok(Self { signer, scheme: SignatureScheme::ECDSA_NISTP256_SHA256 }),
            Some(KeyType::EcP384) => Ok(Self { signer, scheme: SignatureScheme::ECDSA_NISTP384_SHA384 }),
            other => Err(Error::Attestation(format!("keys of type {other:?} are not used for agents"))),
        }
    }
}

impl SigningKey for ManagedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn algorithm(&self) -> TlsAlgorithm {
        TlsAlgorithm::ECDSA
    }
}

impl TlsSigner for ManagedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let failed = |reason: String| rustls::Error::General(reason);
        let signed = self.signer.sign(message).now_or_never();
        signed.ok_or_else(|| failed("key manager does not sign at once".into()))?.map_err(|err| failed(err.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
