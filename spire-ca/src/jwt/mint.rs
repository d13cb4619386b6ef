//! From what is asked for to a signed token: claims, lint, signature.
//!
//! A token is a JWS in compact form (RFC 7515 §3.1). The header is encoded once for each key; claims are written in
//! the order of their names.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_core::CryptoRng;
use serde_json::{Map, Value};
use spiffe_core::{SignatureAlgorithm, SpiffeId, Timestamp, Ttl};

use crate::authority::{Authority, AuthorityId, JwtKey};
use crate::lint::{self, Vetted};
use crate::{Error, template};

/// What a JWT-SVID is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct JwtSvidParams<'a> {
    /// Whose it is (`sub`): a member of the authority's trust domain.
    pub spiffe_id: &'a SpiffeId,
    /// Whom it is meant for (`aud`); empty members are dropped, and one must remain.
    pub audience: &'a [String],
    /// Lifetime from `now`; zero takes [`template::JWT_SVID_TTL`]. Cut, not refused, where the key ends before.
    ///
    /// Standard: JWT-SVID §3.3 requires `exp`.
    pub ttl: Ttl,
    /// Whether the token is given a random name of its own (`jti`).
    pub include_jti: bool,
    /// `iss`; no claim at all where there is none.
    pub issuer: Option<&'a str>,
}

/// A JWT-SVID, just signed.
#[derive(Clone)]
pub struct MintedJwtSvid {
    /// The token: a bearer's secret.
    pub token: String,
    /// `iat`
    pub issued_at: Timestamp,
    /// `exp`
    pub expires_at: Timestamp,
    /// The key it is signed with (`kid`).
    pub key_id: AuthorityId,
}

impl fmt::Debug for MintedJwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedJwtSvid")
            .field("expires_at", &self.expires_at)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Mints a JWT-SVID with the active key.
///
/// # Errors
/// [`Error::ForeignId`], [`Error::NoAudience`] for the request; [`Error::NoJwtKey`], [`Error::AuthorityExpired`],
/// [`Error::Composer`], [`Error::Lint`], [`Error::KeyManager`] for what the server has to answer for.
///
/// Standard: JWT-SVID §2–3.
pub async fn mint_jwt_svid(
    authority: &Authority,
    params: &JwtSvidParams<'_>,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<MintedJwtSvid, Error> {
    template::check_member(params.spiffe_id, authority.trust_domain())?;
    let key = authority.jwt().ok_or(Error::NoJwtKey)?;
    if now >= key.not_after() {
        return Err(Error::AuthorityExpired { not_after: key.not_after(), now });
    }
    let (_, expires_at) = template::validity(now, params.ttl, template::JWT_SVID_TTL, key.not_after());
    let mut claims = claims(params, now, expires_at, rng)?;
    if !authority.composers().is_empty() {
        claims = authority.composers().jwt_svid(params.spiffe_id, claims).await?;
        for name in ["exp", "iat"] {
            make_whole(&mut claims, name);
        }
    }
    let vetted = lint::jwt_svid(claims, params.spiffe_id, now)?;
    let time = |name| vetted.get().get(name).and_then(Value::as_i64).map(Timestamp::from_unix);
    let (issued_at, expires_at) = (time("iat").unwrap_or(now), time("exp").unwrap_or(expires_at));
    Ok(MintedJwtSvid { token: sign(&vetted, key).await?, issued_at, expires_at, key_id: key.id().clone() })
}

fn claims(
    params: &JwtSvidParams<'_>,
    now: Timestamp,
    expires_at: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Map<String, Value>, Error> {
    let audience: Vec<Value> =
        params.audience.iter().filter(|member| !member.is_empty()).map(|member| member.as_str().into()).collect();
    if audience.is_empty() {
        return Err(Error::NoAudience);
    }
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), params.spiffe_id.as_str().into());
    claims.insert("aud".to_owned(), Value::Array(audience));
    claims.insert("exp".to_owned(), expires_at.as_unix().into());
    claims.insert("iat".to_owned(), now.as_unix().into());
    if let Some(issuer) = params.issuer.filter(|issuer| !issuer.is_empty()) {
        claims.insert("iss".to_owned(), issuer.into());
    }
    if params.include_jti {
        claims.insert("jti".to_owned(), random_name(rng).into());
    }
    Ok(claims)
}

/// The sixteen bytes of a random UUID (RFC 9562 §5.4), as the name of a token.
fn random_name(rng: &mut (dyn CryptoRng + Send)) -> String {
    let mut bytes = [0_u8; 16];
    rng.fill_bytes(&mut bytes);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Composers pass claims through a form that knows only floating point; whole numbers become integers again.
fn make_whole(claims: &mut Map<String, Value>, name: &str) {
    let Some(claim) = claims.get_mut(name) else { return };
    if claim.is_f64()
        && let Some(number) = claim.as_f64()
        && number.fract() == 0.0
        && number.abs() < EXACT
        && let Ok(whole) = format!("{number:.0}").parse::<i64>()
    {
        *claim = whole.into();
    }
}

/// 2^53: up to here every whole number has a floating point number of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The header of all tokens of one key, encoded, with the dot that follows it.
#[derive(Debug)]
pub(crate) struct Header(Box<str>);

impl Header {
    pub(crate) fn new(algorithm: SignatureAlgorithm, key_id: &str) -> Result<Self, Error> {
        let algorithm = match algorithm {
            SignatureAlgorithm::EcdsaSha256 => "ES256",
            SignatureAlgorithm::EcdsaSha384 => "ES384",
            SignatureAlgorithm::RsaPkcs1Sha256 => "RS256",
            _ => return Err(Error::UnusableAlgorithm),
        };
        let header = BTreeMap::from([("alg", algorithm), ("kid", key_id), ("typ", "JWT")]);
        let json = serde_json::to_vec(&header).map_err(|_| Error::Bug("a token's header does not serialize"))?;
        let mut encoded = URL_SAFE_NO_PAD.encode(json);
        encoded.push('.');
        Ok(Self(encoded.into()))
    }
}

async fn sign(vetted: &Vetted<Map<String, Value>>, key: &JwtKey) -> Result<String, Error> {
    // Sorted whatever map serde_json was built with.
    let claims: BTreeMap<&String, &Value> = vetted.get().iter().collect();
    let json = serde_json::to_vec(&claims).map_err(|_| Error::Bug("claims do not serialize"))?;
    let header = key.header();
    let mut token = String::with_capacity(header.0.len() + json.len().div_ceil(3) * 4 + 1 + SIGNATURE_LENGTH);
    token.push_str(&header.0);
    URL_SAFE_NO_PAD.encode_string(&json, &mut token);
    let signature = key.signer().sign_jws(token.as_bytes()).await?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    Ok(token)
}

/// That of P-256 in base64; longer ones let the text grow.
const SIGNATURE_LENGTH: usize = 86;
