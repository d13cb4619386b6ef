//! An upstream that does what a test tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{Bundle, JwtAuthority, PrivateKey, Timestamp, TrustDomain, Ttl, X509Authority};

use super::{UpstreamAuthority, UpstreamCa};
use crate::authority::X509Ca;
use crate::composer::Composers;
use crate::x509::{SelfSignedCaParams, mint_requested_ca, mint_self_signed_ca};
use crate::{DistinguishedName, Error};

/// A root in memory, whose answers a test may spoil.
#[derive(Debug)]
pub struct FakeUpstream {
    trust_domain: TrustDomain,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ca: Arc<X509Ca>,
    bundle: Bundle,
    mood: Mood,
    calls: u64,
}

/// How the upstream answers.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// Not at all.
    Down,
    /// Every call of that number fails, counted from one.
    FailsEvery(u64),
    /// With this in place of any CA.
    Answers(UpstreamCa),
}

impl FakeUpstream {
    /// A root of `key`, for `ttl` from `now` on.
    ///
    /// # Errors
    /// When the root cannot be signed.
    pub async fn new(
        trust_domain: TrustDomain,
        key: PrivateKey,
        ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<Self, Error> {
        let ca = root(&trust_domain, key, ttl, now, rng).await?;
        let mut bundle = Bundle::new(trust_domain.clone());
        bundle.x509_authorities.push(authority(&ca));
        let state = State { ca: ca.into(), bundle, mood: Mood::Well, calls: 0 };
        Ok(Self { trust_domain, state: Mutex::new(state) })
    }

    /// Answers like that from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Publishes another root, which signs from now on.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn rotate(
        &self,
        key: PrivateKey,
        ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<(), Error> {
        let ca = root(&self.trust_domain, key, ttl, now, rng).await?;
        let mut state = self.state();
        state.bundle.x509_authorities.push(authority(&ca));
        state.ca = ca.into();
        Ok(())
    }

    /// Changes the bundle: taints, revokes, adds keys of others.
    pub fn change_bundle(&self, change: impl FnOnce(&mut Bundle)) {
        change(&mut self.state().bundle);
    }

    /// The bundle as it is.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        self.state().bundle.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self) -> Result<Mood, Error> {
        let mut state = self.state();
        state.calls += 1;
        match state.mood {
            Mood::Down => Err(Error::Upstream { reason: "it is down".to_owned() }),
            Mood::FailsEvery(number) if state.calls.is_multiple_of(number) => {
                Err(Error::Upstream { reason: format!("call {} fails", state.calls) })
            }
            _ => Ok(state.mood.clone()),
        }
    }
}

#[async_trait]
impl UpstreamAuthority for FakeUpstream {
    async fn mint_x509_ca(
        &self,
        csr: &[u8],
        preferred_ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<UpstreamCa, Error> {
        if let Mood::Answers(answer) = self.called()? {
            return Ok(answer);
        }
        let (ca, roots) = {
            let state = self.state();
            (Arc::clone(&state.ca), state.bundle.x509_authorities.clone())
        };
        let minted = mint_requested_ca(&ca, &Csr::from_der(csr)?, &self.trust_domain, preferred_ttl, now, rng).await?;
        Ok(UpstreamCa { chain: vec![minted], roots })
    }

    async fn publish_jwt_key(&self, key: &JwtAuthority) -> Result<Option<Vec<JwtAuthority>>, Error> {
        self.called()?;
        let mut state = self.state();
        state.bundle.merge(Vec::new(), vec![key.clone()]);
        Ok(Some(state.bundle.jwt_authorities.clone()))
    }

    fn has_bundle(&self) -> bool {
        true
    }

    async fn fetch_bundle(&self) -> Result<Bundle, Error> {
        self.called()?;
        Ok(self.bundle())
    }
}

async fn root(
    trust_domain: &TrustDomain,
    key: PrivateKey,
    ttl: Ttl,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<X509Ca, Error> {
    let subject = DistinguishedName::default_ca();
    let params = SelfSignedCaParams { trust_domain, subject: &subject, ttl };
    let certificate: Certificate = mint_self_signed_ca(&params, &Composers::default(), &key, now, rng).await?;
    X509Ca::new(certificate, Vec::new(), Arc::new(key))
}

fn authority(ca: &X509Ca) -> X509Authority {
    X509Authority { certificate: ca.certificate().clone(), tainted: false }
}
