//! Tokens: parsed, and verified.

use std::fmt;

use serde_json::{Map, Value};

use super::jws::{Compact, Header, date, shortened};
use super::{JwtError, MAX_KEYS_WITHOUT_ID};
use crate::bundle::{Bundle, BundleSet};
use crate::id::SpiffeId;
use crate::key::KeyError;
use crate::time::{Timestamp, Ttl};

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// `sub`
    pub id: SpiffeId,
    /// `aud`
    pub audience: Vec<String>,
    /// `exp`
    pub expires_at: Timestamp,
    /// `iat`
    pub issued_at: Option<Timestamp>,
    /// All claims as they stand.
    pub all: Map<String, Value>,
}

/// A JWT-SVID whose signature, audience and lifetime have been verified: no other can be made.
#[derive(Clone)]
pub struct JwtSvid {
    token: String,
    claims: Claims,
}

impl JwtSvid {
    /// Verifies `token` for one audience, at `now`, against the bundle of the trust domain it names.
    ///
    /// `leeway` is added to `exp` and taken from `nbf` and `iat`; [`Ttl::ZERO`] is what the standard says.
    ///
    /// Standard: JWT-SVID §2, §3, §4.
    ///
    /// # Errors
    /// [`JwtError`] names the rule; the token is never part of it.
    pub fn verify(
        token: &str,
        audience: &str,
        bundles: &BundleSet,
        now: Timestamp,
        leeway: Ttl,
    ) -> Result<Self, JwtError> {
        Self::verify_for_any(token, &[audience], bundles, now, leeway)
    }

    /// As [`Self::verify`], for a verifier with several names: one of them has to be in `aud`.
    ///
    /// # Errors
    /// As [`Self::verify`]; [`JwtError::NoAudience`] where the verifier has no name, or an empty one.
    pub fn verify_for_any(
        token: &str,
        audiences: &[&str],
        bundles: &BundleSet,
        now: Timestamp,
        leeway: Ttl,
    ) -> Result<Self, JwtError> {
        if audiences.is_empty() || audiences.contains(&"") {
            return Err(JwtError::NoAudience);
        }
        let compact = Compact::split(token)?;
        check_header(&compact.header)?;
        let claims = Claims::read(compact.claims()?)?;
        if claims.id.path().is_empty() {
            return Err(JwtError::WithoutPath);
        }
        let trust_domain = claims.id.trust_domain();
        let bundle = bundles.get(&trust_domain).ok_or(JwtError::NoBundle { trust_domain })?;
        verify_signature(&compact, bundle)?;
        claims.check_dates(now, leeway)?;
        if !claims.audience.iter().any(|member| audiences.contains(&member.as_str())) {
            return Err(JwtError::Audience { expected: audiences.join(" "), found: claims.audience });
        }
        Ok(Self { token: token.to_owned(), claims })
    }

    /// The SPIFFE ID (`sub`).
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.claims.id
    }

    /// Whom it is meant for (`aud`).
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.claims.audience
    }

    /// When it ends (`exp`).
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.claims.expires_at
    }

    /// When it was made (`iat`).
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.claims.issued_at
    }

    /// All claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims.all
    }

    /// The token itself: a bearer's secret.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// Reads a token's claims without verifying anything: for one's own tokens, fresh from a trusted issuer.
///
/// # Errors
/// [`JwtError`] when it is not shaped like a JWT-SVID.
pub fn parse_unverified(token: &str) -> Result<Claims, JwtError> {
    let compact = Compact::split(token)?;
    check_header(&compact.header)?;
    Claims::read(compact.claims()?)
}

/// JWT-SVID §2: alg, kid and typ, and nothing else.
fn check_header(header: &Header) -> Result<(), JwtError> {
    if header.typ.as_deref().is_some_and(|typ| typ != "JWT" && typ != "JOSE") {
        return Err(JwtError::Type);
    }
    match &header.unknown {
        Some(name) => Err(JwtError::UnknownHeader { name: name.clone() }),
        None => Ok(()),
    }
}

/// By the key that the token names, or by any of those that fit where it names none (JWT-SVID §2.2).
fn verify_signature(compact: &Compact<'_>, bundle: &Bundle) -> Result<(), JwtError> {
    let Header { alg, kid, .. } = &compact.header;
    let signature = compact.signature()?;
    let verify = |authority: &crate::JwtAuthority| {
        authority.public_key.verify_jws(alg.signature_algorithm(), compact.signed(), &signature)
    };
    let Some(key_id) = kid else {
        let mut fitting = bundle
            .jwt_authorities
            .iter()
            .filter(|authority| alg.fits(authority.public_key.kind()))
            .take(MAX_KEYS_WITHOUT_ID)
            .peekable();
        if fitting.peek().is_none() {
            return Err(JwtError::NoFittingKey { trust_domain: bundle.trust_domain.clone() });
        }
        return if fitting.any(|authority| verify(authority).is_ok()) {
            Ok(())
        } else {
            Err(KeyError::Signature.into())
        };
    };
    if key_id.is_empty() {
        return Err(JwtError::MissingKeyId);
    }
    let authority = bundle
        .jwt_authority(key_id)
        .ok_or_else(|| JwtError::UnknownKey { key_id: shortened(key_id), trust_domain: bundle.trust_domain.clone() })?;
    if !alg.fits(authority.public_key.kind()) {
        return Err(JwtError::AlgorithmOfOtherKey { algorithm: alg.as_str() });
    }
    Ok(verify(authority)?)
}

impl Claims {
    fn read(all: Map<String, Value>) -> Result<Self, JwtError> {
        let id = match all.get("sub") {
            Some(Value::String(sub)) => SpiffeId::parse(sub)?,
            _ => return Err(JwtError::Claim { name: "sub" }),
        };
        let audience: Vec<String> = match all.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(members)) => members
                .iter()
                .map(|member| member.as_str().map(str::to_owned).ok_or(JwtError::Claim { name: "aud" }))
                .collect::<Result<_, _>>()?,
            _ => return Err(JwtError::Claim { name: "aud" }),
        };
        if audience.is_empty() {
            return Err(JwtError::Claim { name: "aud" });
        }
        let expires_at = date(&all, "exp")?.ok_or(JwtError::Claim { name: "exp" })?;
        let issued_at = date(&all, "iat")?;
        date(&all, "nbf")?;
        Ok(Self { id, audience, expires_at, issued_at, all })
    }

    fn check_dates(&self, now: Timestamp, leeway: Ttl) -> Result<(), JwtError> {
        if self.expires_at + leeway <= now {
            return Err(JwtError::Expired { expires_at: self.expires_at, now });
        }
        if let Some(not_before) = date(&self.all, "nbf")?.filter(|not_before| *not_before - leeway > now) {
            return Err(JwtError::NotYetValid { not_before, now });
        }
        match self.issued_at {
            Some(issued_at) if issued_at - leeway > now => Err(JwtError::IssuedLater { issued_at, now }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
