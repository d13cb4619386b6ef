//! JSON Web Keys (RFC 7517, 7518 §6): elliptic curve and RSA public keys; Ed25519 (RFC 8037) beside certificates.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asn1;
use crate::key::{KeyError, PublicKey, PublicKeyKind};

/// A key as JSON has it; members in the order in which SPIRE prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type: `EC` or `RSA`.
    #[serde(default)]
    pub kty: String,
    /// Key ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Curve of an EC key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// x coordinate of an EC key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// y coordinate of an EC key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Modulus of an RSA key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Exponent of an RSA key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// Certificates, base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x5c: Option<Vec<String>>,
}

/// Why a JWK is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// A parameter is missing or malformed.
    #[error("missing or malformed JWK parameter {name:?}")]
    Parameter {
        /// Its name.
        name: &'static str,
    },
    /// The parameters make no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key type or curve that is not for SVIDs.
    #[error("unsupported JWK {name} {value:?}")]
    Unsupported {
        /// `kty` or `crv`.
        name: &'static str,
        /// What it says.
        value: String,
    },
}

impl JwkError {
    /// The clause that is broken.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Parameter { .. } => "RFC 7518 §6",
            Self::Key(err) => err.clause(),
            Self::Unsupported { .. } => "Trust Domain and Bundle §4.2.1",
        }
    }
}

impl Jwk {
    /// From an object's members; those that are not used here may be anything.
    ///
    /// # Errors
    /// [`JwkError::Parameter`] for a member of another type.
    pub(crate) fn from_members(mut members: Map<String, Value>) -> Result<Self, JwkError> {
        let mut text = |name: &'static str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(JwkError::Parameter { name }),
        };
        let (kty, kid, crv, alg) = (text("kty")?, text("kid")?, text("crv")?, text("alg")?);
        let (x, y, n, e) = (text("x")?, text("y")?, text("n")?, text("e")?);
        let x5c = match members.remove("x5c") {
            None => None,
            // Only the first counts (X509-SVID §6.2).
            Some(Value::Array(certificates)) => {
                Some(certificates.into_iter().take(1).filter_map(|first| first.as_str().map(str::to_owned)).collect())
            }
            Some(_) => return Err(JwkError::Parameter { name: "x5c" }),
        };
        let kty = kty.ok_or(JwkError::Parameter { name: "kty" })?;
        Ok(Self { kty, kid, crv, alg, x, y, n, e, x5c })
    }

    /// The key of an Ed25519 JWK (RFC 8037 §2).
    pub(crate) fn okp_key(&self) -> Option<Vec<u8>> {
        (self.crv.as_deref() == Some("Ed25519")).then(|| parameter("x", self.x.as_deref()).ok()).flatten()
    }

    /// The JWK of a public key.
    #[must_use]
    pub fn from_public_key(key: &PublicKey, key_id: Option<&str>) -> Self {
        let kid = key_id.map(str::to_owned);
        let curve = match key.kind() {
            PublicKeyKind::EcP256 => "P-256",
            PublicKeyKind::EcP384 => "P-384",
            PublicKeyKind::EcP521 => "P-521",
            PublicKeyKind::Rsa { .. } => return Self { kid, ..Self::from_rsa(key.key_bytes()) },
            PublicKeyKind::Ed25519 => {
                return Self {
                    kty: "OKP".into(),
                    kid,
                    crv: Some("Ed25519".into()),
                    x: Some(URL_SAFE_NO_PAD.encode(key.key_bytes())),
                    ..Self::default()
                };
            }
        };
        let point = key.key_bytes().strip_prefix(&[4]).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        Self {
            kty: "EC".into(),
            kid,
            crv: Some(curve.into()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::default()
        }
    }

    fn from_rsa(pkcs1: &[u8]) -> Self {
        let numbers = asn1::take(asn1::SEQUENCE, pkcs1).and_then(|(sequence, _)| {
            let (n, tail) = asn1::take(asn1::INTEGER, sequence)?;
            let (e, _) = asn1::take(asn1::INTEGER, tail)?;
            Some((n.strip_prefix(&[0]).unwrap_or(n), e))
        });
        let (n, e) = numbers.unwrap_or_default();
        Self {
            kty: "RSA".into(),
            n: Some(URL_SAFE_NO_PAD.encode(n)),
            e: Some(URL_SAFE_NO_PAD.encode(e)),
            ..Self::default()
        }
    }

    /// The public key.
    ///
    /// # Errors
    /// [`JwkError`] names the parameter. Coordinates have exactly the curve's width and make a point on it
    /// (RFC 7518 §6.2.1.2); RSA keys have at least 2048 bits (RFC 7518 §3.3).
    pub fn to_public_key(&self) -> Result<PublicKey, JwkError> {
        let key = self.parse()?;
        key.check_strength()?;
        Ok(key)
    }

    fn parse(&self) -> Result<PublicKey, JwkError> {
        match self.kty.as_str() {
            "EC" => self.to_ec(),
            "RSA" => {
                let n = asn1::unsigned_integer(&parameter("n", self.n.as_deref())?);
                let e = asn1::unsigned_integer(&parameter("e", self.e.as_deref())?);
                Ok(PublicKey::from_rsa_pkcs1(&asn1::elements(asn1::SEQUENCE, &[&n, &e]))?)
            }
            other => Err(JwkError::Unsupported { name: "kty", value: other.chars().take(32).collect() }),
        }
    }

    fn to_ec(&self) -> Result<PublicKey, JwkError> {
        let (kind, width) = match self.crv.as_deref() {
            Some("P-256") => (PublicKeyKind::EcP256, 32),
            Some("P-384") => (PublicKeyKind::EcP384, 48),
            Some("P-521") => (PublicKeyKind::EcP521, 66),
            Some(other) => {
                return Err(JwkError::Unsupported { name: "crv", value: other.chars().take(32).collect() });
            }
            None => return Err(JwkError::Parameter { name: "crv" }),
        };
        let mut point = vec![4];
        for (name, value) in [("x", &self.x), ("y", &self.y)] {
            let coordinate = parameter(name, value.as_deref())?;
            if coordinate.len() != width {
                return Err(JwkError::Parameter { name });
            }
            point.extend_from_slice(&coordinate);
        }
        Ok(PublicKey::from_ec_point(kind, &point)?)
    }
}

fn parameter(name: &'static str, value: Option<&str>) -> Result<Vec<u8>, JwkError> {
    let error = JwkError::Parameter { name };
    match value.map(|value| URL_SAFE_NO_PAD.decode(value)) {
        Some(Ok(bytes)) if !bytes.is_empty() => Ok(bytes),
        _ => Err(error),
    }
}
