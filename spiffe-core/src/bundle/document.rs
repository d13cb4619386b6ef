//! The SPIFFE bundle document: a JWK set with SPIFFE's own members, both ways.
//!
//! Standard: SPIFFE Trust Domain and Bundle §4; printed member for member as SPIRE does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Bundle, JwtAuthority, X509Authority};
use crate::id::TrustDomain;
use crate::jwt::jwk::{Jwk, JwkError};
use crate::time::Ttl;
use crate::x509::{Certificate, X509Error};

/// Longest document that is parsed, in bytes.
pub const MAX_DOCUMENT_LENGTH: usize = 4 << 20;
/// Most keys that one document may hold.
pub const MAX_KEYS: usize = 4096;

const USE_X509: &str = "x509-svid";
const USE_JWT: &str = "jwt-svid";

#[derive(Deserialize)]
struct Read {
    keys: Option<Vec<ReadKey>>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
    #[serde(default)]
    spiffe_refresh_hint: Option<i64>,
}

#[derive(Deserialize)]
struct ReadKey {
    #[serde(rename = "use", default)]
    key_use: Option<String>,
    #[serde(flatten)]
    jwk: Jwk,
}

#[derive(Serialize)]
struct Written<'a> {
    keys: Vec<WrittenKey<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    spiffe_sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Serialize)]
struct WrittenKey<'a> {
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    key_use: Option<&'a str>,
    #[serde(flatten)]
    jwk: Jwk,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its content.
    pub bundle: Bundle,
    /// How many keys were skipped because their use is not known to us (Trust Domain and Bundle §4.1.2).
    pub skipped: usize,
}

impl Bundle {
    /// Reads the document of `trust_domain`. Keys of a use that we do not know are skipped.
    ///
    /// # Errors
    /// [`BundleError`] names the key and the rule.
    pub fn from_document(trust_domain: TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        Self::parse_document(trust_domain, document).map(|parsed| parsed.bundle)
    }

    /// As [`Self::from_document`], telling also how many keys were skipped.
    ///
    /// # Errors
    /// [`BundleError`] names the key and the rule.
    pub fn parse_document(trust_domain: TrustDomain, document: &[u8]) -> Result<Parsed, BundleError> {
        let read = read(document)?;
        let keys = read.keys.ok_or(BundleError::NoKeys)?;
        let mut bundle = Self::new(trust_domain);
        bundle.sequence_number = read.spiffe_sequence.unwrap_or(0);
        bundle.refresh_hint = read
            .spiffe_refresh_hint
            .and_then(|hint| u64::try_from(hint).ok())
            .filter(|hint| *hint > 0)
            .map(Ttl::from_secs);
        let mut skipped = 0;
        for (index, key) in keys.into_iter().enumerate() {
            match key.key_use.as_deref() {
                Some(USE_X509) => {
                    let authority = x509_authority(index, &key.jwk)?;
                    // Said twice, it says no more.
                    if !bundle.x509_authorities.contains(&authority) {
                        bundle.x509_authorities.push(authority);
                    }
                }
                Some(USE_JWT) => {
                    let authority = jwt_authority(index, &key.jwk)?;
                    if bundle.jwt_authority(&authority.key_id).is_some() {
                        return Err(BundleError::DuplicateKeyId { key_id: authority.key_id });
                    }
                    bundle.jwt_authorities.push(authority);
                }
                Some(_) => skipped += 1,
                None => return Err(BundleError::MissingUse { index }),
            }
        }
        Ok(Parsed { bundle, skipped })
    }

    /// Prints the document, indented by four blanks and without a final newline.
    #[must_use]
    pub fn to_document(&self) -> String {
        let x509 = self.x509_authorities.iter().map(|authority| WrittenKey {
            key_use: Some(USE_X509),
            jwk: Jwk {
                x5c: Some(vec![STANDARD.encode(authority.certificate.der())]),
                ..Jwk::from_public_key(authority.certificate.public_key(), None)
            },
        });
        let jwt = self.jwt_authorities.iter().map(|authority| WrittenKey {
            key_use: Some(USE_JWT),
            jwk: Jwk::from_public_key(&authority.public_key, Some(&authority.key_id)),
        });
        print(&Written {
            keys: x509.chain(jwt).collect(),
            spiffe_sequence: self.sequence_number,
            spiffe_refresh_hint: self.refresh_hint.map(Ttl::as_secs),
        })
    }

    /// Prints the JWT keys alone as a JWK set, by key ID and without SPIFFE's members, as the Workload API sends them
    /// (SPIFFE Workload API §6.2.2).
    #[must_use]
    pub fn to_jwks(&self) -> String {
        let mut authorities: Vec<&JwtAuthority> = self.jwt_authorities.iter().collect();
        authorities.sort_by(|a, b| a.key_id.cmp(&b.key_id));
        let keys = authorities.into_iter().map(|authority| WrittenKey {
            key_use: None,
            jwk: Jwk::from_public_key(&authority.public_key, Some(&authority.key_id)),
        });
        print(&Written { keys: keys.collect(), spiffe_sequence: 0, spiffe_refresh_hint: None })
    }

    /// Reads a JWK set as the Workload API sends it: every key signs JWT-SVIDs, whatever its `use`.
    ///
    /// # Errors
    /// [`BundleError`] names the key and the rule.
    pub fn from_jwks(trust_domain: TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        let mut bundle = Self::new(trust_domain);
        for (index, key) in read(document)?.keys.ok_or(BundleError::NoKeys)?.iter().enumerate() {
            bundle.jwt_authorities.push(jwt_authority(index, &key.jwk)?);
        }
        Ok(bundle)
    }
}

/// Parses a document, within its limits.
fn read(document: &[u8]) -> Result<Read, BundleError> {
    if document.len() > MAX_DOCUMENT_LENGTH {
        return Err(BundleError::TooLong);
    }
    let read: Read =
        serde_json::from_slice(document).map_err(|err| BundleError::Json { line: err.line(), column: err.column() })?;
    match &read.keys {
        Some(keys) if keys.len() > MAX_KEYS => Err(BundleError::TooManyKeys { count: keys.len() }),
        _ => Ok(read),
    }
}

fn print(document: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Writing strings and numbers to memory cannot fail.
    let _ = document.serialize(&mut serializer);
    String::from_utf8(text).unwrap_or_default()
}

fn x509_authority(index: usize, jwk: &Jwk) -> Result<X509Authority, BundleError> {
    let chain = jwk.x5c.as_deref().unwrap_or_default();
    let [certificate] = chain else { return Err(BundleError::CertificateCount { index, count: chain.len() }) };
    let der = STANDARD
        .decode(certificate)
        .map_err(|_| BundleError::Certificate { index, source: X509Error::Malformed { what: "base64" } })?;
    let certificate = Certificate::from_der(&der).map_err(|source| BundleError::Certificate { index, source })?;
    match jwk.to_public_key() {
        Ok(key) if key == *certificate.public_key() => Ok(X509Authority { certificate, tainted: false }),
        Ok(_) => Err(BundleError::KeyMismatch { index }),
        Err(source) => Err(BundleError::Key { index, source }),
    }
}

fn jwt_authority(index: usize, jwk: &Jwk) -> Result<JwtAuthority, BundleError> {
    let key_id = jwk.kid.clone().filter(|kid| !kid.is_empty()).ok_or(BundleError::MissingKeyId { index })?;
    let public_key = jwk.to_public_key().map_err(|source| BundleError::Key { index, source })?;
    Ok(JwtAuthority { key_id, public_key, expires_at: None, tainted: false })
}

/// Which rule a bundle document breaks; keys are counted from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The certificate in `x5c` is broken.
    #[error("key entry {index}: {source}")]
    Certificate {
        /// Which key.
        index: usize,
        /// What is wrong.
        source: X509Error,
    },
    /// An X.509 authority has exactly one certificate (Trust Domain and Bundle §6.1).
    #[error("expected a single certificate in x5c of key entry {index}, found {count}")]
    CertificateCount {
        /// Which key.
        index: usize,
        /// How many it has.
        count: usize,
    },
    /// Two JWT keys of one ID: which one verifies would depend on the reader.
    #[error("key ID {key_id:?} is used twice")]
    DuplicateKeyId {
        /// The ID.
        key_id: String,
    },
    /// No JSON, or not of the right shape.
    #[error("malformed bundle document at line {line}, column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The key's parameters are broken.
    #[error("key entry {index}: {source}")]
    Key {
        /// Which key.
        index: usize,
        /// What is wrong.
        source: JwkError,
    },
    /// The key's parameters are not those of its certificate.
    #[error("key entry {index}: key parameters do not match the certificate")]
    KeyMismatch {
        /// Which key.
        index: usize,
    },
    /// A JWT key has an ID (JWT-SVID §5.2.2).
    #[error("missing key ID in key entry {index}")]
    MissingKeyId {
        /// Which key.
        index: usize,
    },
    /// Every key says what it is for (Trust Domain and Bundle §4.2.2).
    #[error("missing use for key entry {index}")]
    MissingUse {
        /// Which key.
        index: usize,
    },
    /// Trust Domain and Bundle §4.1.3: `keys` is there, be it empty.
    #[error("bundle document has no keys member")]
    NoKeys,
    /// Longer than [`MAX_DOCUMENT_LENGTH`].
    #[error("bundle document is longer than {MAX_DOCUMENT_LENGTH} bytes")]
    TooLong,
    /// More than [`MAX_KEYS`].
    #[error("bundle document has {count} keys, at most {MAX_KEYS} are allowed")]
    TooManyKeys {
        /// How many it has.
        count: usize,
    },
}
