//! Compact serializations (RFC 7515 §3.1), taken apart and not yet verified. SVIDs have no other form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{JwtAlgorithm, JwtError, MAX_TOKEN_LENGTH};
use crate::json;
use crate::time::Timestamp;

/// The end of the year 9999, after which RFC 3339 has no dates.
const LAST_SECOND: i64 = 253_402_300_799;

/// The header, decoded; the other two parts as they stand.
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    payload: &'a str,
    signature: &'a str,
    signed: &'a [u8],
}

/// What a header says.
pub(crate) struct Header {
    pub(crate) alg: JwtAlgorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    /// A member that is none of these three; critical ones are refused before.
    pub(crate) unknown: Option<String>,
}

impl<'a> Compact<'a> {
    /// The algorithm is judged before anything else (JWT-SVID §4).
    pub(crate) fn split(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(JwtError::TooLong { length: token.len() });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed { what: "token" })?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed { what: "token" })?;
        if payload.contains('.') {
            return Err(JwtError::Malformed { what: "token" });
        }
        Ok(Self { header: Header::read(&decode("header", header)?)?, payload, signature, signed: signed.as_bytes() })
    }

    /// What the signature is over.
    pub(crate) fn signed(&self) -> &'a [u8] {
        self.signed
    }

    pub(crate) fn signature(&self) -> Result<Vec<u8>, JwtError> {
        decode("signature", self.signature)
    }

    /// The claims, from the bytes that are signed.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, JwtError> {
        object("payload", &decode("payload", self.payload)?)
    }
}

impl Header {
    fn read(json: &[u8]) -> Result<Self, JwtError> {
        let mut header = object("header", json)?;
        let mut text = |name: &'static str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(JwtError::Malformed { what: name }),
        };
        let alg = text("alg")?.ok_or(JwtError::Malformed { what: "alg" })?;
        let alg = JwtAlgorithm::parse(&alg).ok_or(JwtError::Algorithm)?;
        let (typ, kid) = (text("typ")?, text("kid")?);
        // None of the extensions that could be critical is understood (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        Ok(Self { alg, kid, typ, unknown: header.into_iter().next().map(|(name, _)| shortened(&name)) })
    }
}

/// base64url without padding, and nothing else in it (RFC 7515 §2).
fn decode(what: &'static str, part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed { what })
}

fn object(what: &'static str, json: &[u8]) -> Result<Map<String, Value>, JwtError> {
    json::object(json).ok_or(JwtError::Malformed { what })
}

/// A NumericDate (RFC 7519 §2) of the years up to 9999; parts of a second are dropped. A claim of another type is an
/// error, not absent.
pub(crate) fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, JwtError> {
    let error = JwtError::Claim { name };
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = match (number.as_i64(), number.as_f64()) {
                (Some(seconds), _) => seconds,
                #[expect(clippy::cast_possible_truncation, reason = "bounded by the guard")]
                (None, Some(seconds)) if seconds.abs() < 1e15 => seconds.floor() as i64,
                _ => return Err(error),
            };
            if seconds.abs() <= LAST_SECOND { Ok(Some(Timestamp::from_unix(seconds))) } else { Err(error) }
        }
        Some(_) => Err(error),
    }
}

/// For errors, which should not grow with what they complain of.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
