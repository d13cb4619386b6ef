//! Proofs of possession: WIMSE Workload Proof Tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{MAX_LEEWAY, UnprovenWit, WitError};
use crate::id::SpiffeId;
use crate::jwt::jws::{Compact, date};
use crate::key::provider;
use crate::time::{Timestamp, Ttl};

/// The longest that a proof may still live (WIT-SVID §7.2: as short as possible).
pub const MAX_PROOF_LIFETIME: Ttl = Ttl::from_minutes(5);
const TYPE: &str = "wpt+jwt";

/// A WIT-SVID whose presenter has proven to hold its key: no other can be made.
#[derive(Clone, Debug)]
pub struct WitSvid {
    wit: UnprovenWit,
    proof_id: String,
}

impl UnprovenWit {
    /// Checks a proof that was made for `audience`, the URI of the service that asks.
    ///
    /// # Errors
    /// [`WitError`] names what the proof lacks.
    pub fn prove(self, proof: &str, audience: &str, now: Timestamp, leeway: Ttl) -> Result<WitSvid, WitError> {
        if proof.is_empty() {
            return Err(WitError::NoProof);
        }
        let wrong = |what| WitError::Proof { what };
        let compact = Compact::split(proof).map_err(|_| wrong("malformed token"))?;
        if compact.header.typ.as_deref() != Some(TYPE) {
            return Err(wrong("typ is not wpt+jwt"));
        }
        if compact.header.alg != self.proof_algorithm() {
            return Err(wrong("algorithm is not the one of the WIT-SVID's key"));
        }
        let signature = compact.signature().map_err(|_| wrong("malformed signature"))?;
        self.proof_key()
            .verify_jws(compact.header.alg.signature_algorithm(), compact.signed(), &signature)
            .map_err(|_| WitError::ProofSignature)?;
        let claims = compact.claims().map_err(|_| wrong("malformed claims"))?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text("aud") != Some(audience) {
            return Err(wrong("aud is not this service"));
        }
        if text("wth") != Some(hash(self.token()).as_str()) {
            return Err(wrong("wth is not the hash of the WIT-SVID"));
        }
        let proof_id = text("jti").ok_or(wrong("jti is missing"))?.to_owned();
        let expires_at = date(&claims, "exp").ok().flatten().ok_or(wrong("exp is missing or malformed"))?;
        if expires_at + leeway.min(MAX_LEEWAY) <= now {
            return Err(wrong("is expired"));
        }
        if expires_at > now + MAX_PROOF_LIFETIME {
            return Err(WitError::ProofLifetime);
        }
        Ok(WitSvid { wit: self, proof_id })
    }
}

impl WitSvid {
    /// The SPIFFE ID of the presenter.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        self.wit.unproven_id()
    }

    /// The token and what it says.
    #[must_use]
    pub fn wit(&self) -> &UnprovenWit {
        &self.wit
    }

    /// The proof's ID (`jti`): a service that takes each proof once remembers it until the proof has ended.
    #[must_use]
    pub fn proof_id(&self) -> &str {
        &self.proof_id
    }
}

/// The two headers that a WIT-SVID and its proof travel in; never `Authorization` (WIT-SVID §5).
///
/// # Errors
/// [`WitError::Channel`] for a URI that is not `https` (WIT-SVID §7.3).
pub fn presentation<'a>(uri: &str, wit: &'a str, proof: &'a str) -> Result<[(&'static str, &'a str); 2], WitError> {
    let secure = uri.get(.."https://".len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    if secure {
        Ok([("Workload-Identity-Token", wit), ("Workload-Proof-Token", proof)])
    } else {
        Err(WitError::Channel)
    }
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(provider::sha256(token.as_bytes()))
}
