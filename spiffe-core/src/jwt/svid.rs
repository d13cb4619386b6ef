//! Tokens: parsed, and verified.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::JwtAlgorithm;
use crate::bundle::BundleSet;
use crate::id::{IdError, SpiffeId, TrustDomain};
use crate::key::KeyError;
use crate::time::{Timestamp, Ttl};

/// Longest token that is parsed, in bytes.
pub const MAX_TOKEN_LENGTH: usize = 64 << 10;

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
    /// `leeway` is added to `exp` and taken from `nbf`; [`Ttl::ZERO`] is what the standard says.
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
        let parts = Parts::split(token)?;
        let header = parts.header()?;
        let claims = parts.claims()?;
        let key_id = header.kid.filter(|kid| !kid.is_empty()).ok_or(JwtError::MissingKeyId)?;
        let trust_domain = claims.id.trust_domain();
        let bundle =
            bundles.get(&trust_domain).ok_or_else(|| JwtError::NoBundle { trust_domain: trust_domain.clone() })?;
        let authority = bundle
            .jwt_authority(&key_id)
            .ok_or_else(|| JwtError::UnknownKey { key_id: shortened(&key_id), trust_domain })?;
        if !header.alg.fits(authority.public_key.kind()) {
            return Err(JwtError::AlgorithmOfOtherKey { algorithm: header.alg.as_str() });
        }
        authority.public_key.verify_jws(header.alg.signature_algorithm(), parts.signed, &parts.signature)?;
        if claims.expires_at + leeway <= now {
            return Err(JwtError::Expired { expires_at: claims.expires_at, now });
        }
        if let Some(not_before) = date(&claims.all, "nbf")?.filter(|not_before| *not_before - leeway > now) {
            return Err(JwtError::NotYetValid { not_before, now });
        }
        if !claims.audience.iter().any(|member| member == audience) {
            return Err(JwtError::Audience { expected: audience.to_owned(), found: claims.audience });
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
    let parts = Parts::split(token)?;
    parts.header()?;
    parts.claims()
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

/// A compact serialization, taken apart (RFC 7515 §3.1); JWT-SVIDs have no other.
struct Parts<'a> {
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'a [u8],
}

struct Header {
    alg: JwtAlgorithm,
    kid: Option<String>,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(JwtError::TooLong { length: token.len() });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed { what: "token" })?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed { what: "token" })?;
        let decode = |what, part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed { what });
        Ok(Self {
            header: decode("header", header)?,
            payload: decode("payload", payload)?,
            signature: decode("signature", signature)?,
            signed: signed.as_bytes(),
        })
    }

    fn header(&self) -> Result<Header, JwtError> {
        let header = object("header", &self.header)?;
        // JWT-SVID §2: nothing but alg, kid and typ is used, and what is critical is thereby not understood.
        if header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        let text = |name: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwtError::Malformed { what: name }),
        };
        let alg = text("alg")?.ok_or(JwtError::Malformed { what: "alg" })?;
        if text("typ")?.is_some_and(|typ| typ != "JWT" && typ != "JOSE") {
            return Err(JwtError::Type);
        }
        let alg = JwtAlgorithm::parse(&alg).ok_or(JwtError::Algorithm)?;
        Ok(Header { alg, kid: text("kid")? })
    }

    fn claims(&self) -> Result<Claims, JwtError> {
        let all = object("payload", &self.payload)?;
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
        Ok(Claims { id, audience, expires_at, issued_at, all })
    }
}

/// A NumericDate (RFC 7519 §2); parts of a second are dropped. A claim of another type is an error, not absent.
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, JwtError> {
    let error = JwtError::Claim { name };
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            if let Some(seconds) = number.as_i64() {
                return Ok(Some(Timestamp::from_unix(seconds)));
            }
            match number.as_f64() {
                #[expect(clippy::cast_possible_truncation, reason = "bounded by the guard")]
                Some(seconds) if seconds.abs() < 1e15 => Ok(Some(Timestamp::from_unix(seconds.floor() as i64))),
                _ => Err(error),
            }
        }
        Some(_) => Err(error),
    }
}

/// A JSON object no member of which stands twice: readers would disagree which one counts (RFC 7515 §4).
fn object(what: &'static str, json: &[u8]) -> Result<Map<String, Value>, JwtError> {
    serde_json::from_slice::<UniqueMembers>(json).map(|members| members.0).map_err(|_| JwtError::Malformed { what })
}

struct UniqueMembers(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = UniqueMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UniqueMembers, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate member"));
                    }
                }
                Ok(UniqueMembers(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Which rule a token breaks. No variant carries the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// JWT-SVID §2.1: one of nine algorithms.
    #[error("token is signed with an algorithm that JWT-SVIDs do not allow")]
    Algorithm,
    /// The token names an algorithm that its key is not for.
    #[error("algorithm {algorithm} does not fit the kind of the key")]
    AlgorithmOfOtherKey {
        /// The token's `alg`.
        algorithm: &'static str,
    },
    /// JWT-SVID §4: the audience is somebody else.
    #[error("expected audience in {expected:?} (audience={found:?})")]
    Audience {
        /// Whom the verifier is.
        expected: String,
        /// Whom the token is for.
        found: Vec<String>,
    },
    /// JWT-SVID §3: a claim is missing or of the wrong type.
    #[error("claim {name:?} is missing or malformed")]
    Claim {
        /// Its name.
        name: &'static str,
    },
    /// RFC 7515 §4.1.11: an extension that must be understood.
    #[error("token has critical header extensions")]
    Critical,
    /// JWT-SVID §3.3.
    #[error("token expired at {expires_at}, now {now}")]
    Expired {
        /// Its `exp`.
        expires_at: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// The subject is no SPIFFE ID (JWT-SVID §3.1).
    #[error("token has an invalid subject claim: {0}")]
    Id(#[from] IdError),
    /// The signature does not verify.
    #[error("token {0}")]
    Key(#[from] KeyError),
    /// Not shaped like a token.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The token does not say which key signed it.
    #[error("token header missing key id")]
    MissingKeyId,
    /// No bundle is known for the trust domain of the token.
    #[error("no bundle found for trust domain {trust_domain:?}", trust_domain = .trust_domain.as_str())]
    NoBundle {
        /// The subject's trust domain.
        trust_domain: TrustDomain,
    },
    /// RFC 7519 §4.1.5.
    #[error("token is not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Its `nbf`.
        not_before: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// Longer than [`MAX_TOKEN_LENGTH`].
    #[error("token of {length} bytes is longer than {MAX_TOKEN_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// JWT-SVID §2.3.
    #[error("token header type not equal to either JWT or JOSE")]
    Type,
    /// The bundle has no key of that ID.
    #[error("no JWT authority {key_id:?} in trust domain {trust_domain:?}", trust_domain = .trust_domain.as_str())]
    UnknownKey {
        /// The token's key ID, cut after 128 characters.
        key_id: String,
        /// The subject's trust domain.
        trust_domain: TrustDomain,
    },
}

#[cfg(test)]
mod tests;
