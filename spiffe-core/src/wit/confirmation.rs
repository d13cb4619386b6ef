//! The `cnf` claim: the key whose possession is to be proven (RFC 7800 §3.2).

use serde_json::{Map, Value};

use super::WitError;
use crate::bundle::PRIVATE_MEMBERS;
use crate::jwt::JwtAlgorithm;
use crate::jwt::jwk::Jwk;
use crate::key::PublicKey;

/// Other ways of naming a key, of which there is to be one alone.
const OTHER_METHODS: [&str; 4] = ["jwe", "kid", "jku", "jkt"];

#[derive(Clone, Debug)]
pub(super) struct Confirmation {
    pub(super) key: PublicKey,
    pub(super) algorithm: JwtAlgorithm,
}

impl Confirmation {
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, WitError> {
        let wrong = |what| WitError::Confirmation { what };
        let Some(Value::Object(confirmation)) = claims.get("cnf") else { return Err(wrong("is missing or no object")) };
        if OTHER_METHODS.iter().any(|method| confirmation.contains_key(*method)) {
            return Err(wrong("names a key otherwise than by \"jwk\" alone"));
        }
        let Some(Value::Object(members)) = confirmation.get("jwk") else { return Err(wrong("has no \"jwk\"")) };
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(wrong("holds a private key"));
        }
        let jwk = Jwk::from_members(members.clone()).map_err(|_| wrong("malformed \"jwk\""))?;
        let algorithm = jwk.alg.as_deref().and_then(JwtAlgorithm::parse).ok_or(wrong("\"alg\" is none of the nine"))?;
        let key = jwk.to_public_key().map_err(|_| wrong("\"jwk\" is no public key"))?;
        if algorithm.fits(key.kind()) {
            Ok(Self { key, algorithm })
        } else {
            Err(wrong("\"alg\" does not fit the key"))
        }
    }
}
