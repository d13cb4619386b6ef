//! Tokens, verified and not yet proven.

use std::fmt;

use serde_json::{Map, Value};

use super::WitError;
use super::confirmation::Confirmation;
use crate::bundle::BundleSet;
use crate::id::SpiffeId;
use crate::jwt::jws::{Compact, date, shortened};
use crate::jwt::{JwtAlgorithm, JwtError};
use crate::key::PublicKey;
use crate::time::{Timestamp, Ttl};

/// The most leeway that is given, whatever is asked for (WIT-SVID §3.4: about two minutes).
pub const MAX_LEEWAY: Ttl = Ttl::from_minutes(2);
const TYPE: &str = "wit+jwt";

/// A WIT-SVID whose signature and lifetime have been verified. Who presents it is not known yet.
#[derive(Clone)]
pub struct UnprovenWit {
    token: String,
    id: SpiffeId,
    expires_at: Timestamp,
    confirmation: Confirmation,
    claims: Map<String, Value>,
}

impl UnprovenWit {
    /// Verifies `token` at `now` against the bundle of the trust domain it names.
    ///
    /// `leeway`, [`MAX_LEEWAY`] at most, is added to `exp` and taken from `nbf`; `iat` limits nothing.
    ///
    /// Standard: WIT-SVID §2, §3, §6.2.
    ///
    /// # Errors
    /// [`WitError`] names the rule; the token is never part of it.
    pub fn verify(token: &str, bundles: &BundleSet, now: Timestamp, leeway: Ttl) -> Result<Self, WitError> {
        let leeway = leeway.min(MAX_LEEWAY);
        let compact = Compact::split(token)?;
        let header = &compact.header;
        // Unknown headers are ignored here (§2.4), where JWT-SVIDs have none.
        if header.typ.as_deref() != Some(TYPE) {
            return Err(JwtError::Type.into());
        }
        let key_id = header.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(JwtError::MissingKeyId)?;
        let claims = compact.claims()?;
        let id = match claims.get("sub") {
            Some(Value::String(sub)) => SpiffeId::parse(sub).map_err(JwtError::Id)?,
            _ => return Err(JwtError::Claim { name: "sub" }.into()),
        };
        if id.path().is_empty() {
            return Err(JwtError::WithoutPath.into());
        }
        let trust_domain = id.trust_domain();
        let bundle =
            bundles.get(&trust_domain).ok_or_else(|| JwtError::NoBundle { trust_domain: trust_domain.clone() })?;
        let authority = bundle
            .wit_authorities
            .iter()
            .find(|authority| authority.key_id == key_id)
            .ok_or_else(|| JwtError::UnknownKey { key_id: shortened(key_id), trust_domain })?;
        if !header.alg.fits(authority.public_key.kind()) {
            return Err(JwtError::AlgorithmOfOtherKey { algorithm: header.alg.as_str() }.into());
        }
        authority
            .public_key
            .verify_jws(header.alg.signature_algorithm(), compact.signed(), &compact.signature()?)
            .map_err(JwtError::Key)?;
        let expires_at = check_dates(&claims, now, leeway)?;
        if claims.contains_key("aud") {
            return Err(WitError::Audience);
        }
        let confirmation = Confirmation::read(&claims)?;
        if confirmation.key == authority.public_key {
            return Err(WitError::Confirmation { what: "is the key of the issuer" });
        }
        Ok(Self { token: token.to_owned(), id, expires_at, confirmation, claims })
    }

    /// Whom the token was issued to; that its presenter is the same is not known.
    #[must_use]
    pub fn unproven_id(&self) -> &SpiffeId {
        &self.id
    }

    /// When it ends (`exp`).
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The key whose possession is to be proven (`cnf`).
    #[must_use]
    pub fn proof_key(&self) -> &PublicKey {
        &self.confirmation.key
    }

    /// The algorithm that proofs are signed with (`cnf.jwk.alg`).
    #[must_use]
    pub fn proof_algorithm(&self) -> JwtAlgorithm {
        self.confirmation.algorithm
    }

    /// All claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Checks that a private key that came with the token is the one it names.
    ///
    /// # Errors
    /// [`WitError::Confirmation`]
    pub fn check_key(&self, key: &PublicKey) -> Result<(), WitError> {
        if *key == self.confirmation.key {
            Ok(())
        } else {
            Err(WitError::Confirmation { what: "is another key than the private one" })
        }
    }
}

fn check_dates(claims: &Map<String, Value>, now: Timestamp, leeway: Ttl) -> Result<Timestamp, JwtError> {
    let expires_at = date(claims, "exp")?.ok_or(JwtError::Claim { name: "exp" })?;
    if expires_at + leeway <= now {
        return Err(JwtError::Expired { expires_at, now });
    }
    match date(claims, "nbf")? {
        Some(not_before) if not_before - leeway > now => Err(JwtError::NotYetValid { not_before, now }),
        _ => Ok(expires_at),
    }
}

impl fmt::Debug for UnprovenWit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnprovenWit")
            .field("id", &self.id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
