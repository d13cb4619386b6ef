//! The SPIFFE bundle document: a JWK set with SPIFFE's own members, both ways.
//!
//! What the standards say of an entry that cannot be used is that it is ignored, so that one key of tomorrow does not
//! blind today's readers; each such entry is reported beside the bundle. What is wrong with the document as a whole is
//! an error.
//!
//! Standard: SPIFFE Trust Domain and Bundle §4; printed member for member as SPIRE does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Bundle, BundleError, JwtAuthority, X509Authority};
use crate::id::TrustDomain;
use crate::json;
use crate::jwt::jwk::{Jwk, JwkError};
use crate::time::Ttl;
use crate::x509::{Certificate, X509Error};

/// Longest document that is parsed, in bytes.
pub const MAX_DOCUMENT_LENGTH: usize = 4 << 20;
/// Most authorities that one document may hold; entries that are ignored do not count.
pub const MAX_KEYS: usize = 4096;
/// Most entries that one document may hold, those that are ignored included.
pub const MAX_ENTRIES: usize = 1 << 16;

const USE_X509: &str = "x509-svid";
const USE_JWT: &str = "jwt-svid";
#[cfg(feature = "wit")]
const USE_WIT: &str = "wit-svid";

/// Entries stay text until each is judged by itself.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    keys: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    spiffe_sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    spiffe_refresh_hint: Option<&'a RawValue>,
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
#[non_exhaustive]
pub struct Parsed {
    /// Its content.
    pub bundle: Bundle,
    /// How many keys were skipped because their use is not known to us (Trust Domain and Bundle §4.2.2).
    pub skipped: usize,
    /// What else was ignored, and why: entries, and numbers that are none.
    pub problems: Vec<BundleError>,
}

impl Bundle {
    /// Reads the document of `trust_domain`; entries that cannot be used are ignored, as the standard says.
    ///
    /// # Errors
    /// [`BundleError`] when the document as a whole is broken; the bundle at hand then stays in force.
    pub fn from_document(trust_domain: TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        Self::parse_document(trust_domain, document).map(|parsed| parsed.bundle)
    }

    /// As [`Self::from_document`], telling also what was ignored.
    ///
    /// # Errors
    /// As [`Self::from_document`].
    pub fn parse_document(trust_domain: TrustDomain, document: &[u8]) -> Result<Parsed, BundleError> {
        let read = read(document)?;
        let mut reader = Reader::new(trust_domain);
        for (index, key) in read.keys.unwrap_or_default().into_iter().enumerate() {
            reader.entry(index, key)?;
        }
        let mut parsed = reader.finish();
        parsed.bundle.sequence_number = parsed.number("spiffe_sequence", read.spiffe_sequence).unwrap_or(0);
        parsed.bundle.refresh_hint =
            parsed.number("spiffe_refresh_hint", read.spiffe_refresh_hint).filter(|hint| *hint > 0).map(Ttl::from_secs);
        Ok(parsed)
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
        #[cfg(feature = "wit")]
        let jwt = jwt.chain(self.wit_authorities.iter().map(|authority| WrittenKey {
            key_use: Some(USE_WIT),
            jwk: Jwk::from_public_key(&authority.public_key, Some(&authority.key_id)),
        }));
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

    /// Reads a JWK set as the Workload API sends it: a key without `use` signs JWT-SVIDs; those of other uses, and those
    /// that cannot be used, are ignored.
    ///
    /// # Errors
    /// [`BundleError`] when the document as a whole is broken.
    pub fn from_jwks(trust_domain: TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        let mut reader = Reader { default_use: Some(USE_JWT), ..Reader::new(trust_domain) };
        for (index, key) in read(document)?.keys.unwrap_or_default().into_iter().enumerate() {
            reader.entry(index, key)?;
        }
        let mut bundle = reader.finish().bundle;
        bundle.x509_authorities.clear();
        Ok(bundle)
    }
}

impl Parsed {
    /// A count of 64 bits; anything else is as if it were not there, and reported.
    fn number(&mut self, name: &'static str, text: Option<&RawValue>) -> Option<u64> {
        let text = text?.get();
        // Digits alone: neither a sign nor a fraction nor an exponent.
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        if number.is_none() {
            self.problems.push(BundleError::Number { name });
        }
        number
    }
}

/// Parses a document, within its limits; `keys` is there.
fn read(document: &[u8]) -> Result<Read<'_>, BundleError> {
    if document.len() > MAX_DOCUMENT_LENGTH {
        return Err(BundleError::TooLong);
    }
    let read: Read<'_> =
        serde_json::from_slice(document).map_err(|err| BundleError::Json { line: err.line(), column: err.column() })?;
    match &read.keys {
        None => Err(BundleError::NoKeys),
        Some(keys) if keys.len() > MAX_ENTRIES => Err(BundleError::TooManyKeys { count: keys.len() }),
        Some(_) => Ok(read),
    }
}

/// Takes entries in, one by one.
struct Reader {
    parsed: Parsed,
    /// What an entry without `use` is for.
    default_use: Option<&'static str>,
    /// IDs under which different keys stand: none of them is used, since readers would disagree.
    ambiguous: Vec<String>,
}

impl Reader {
    fn new(trust_domain: TrustDomain) -> Self {
        let parsed = Parsed { bundle: Bundle::new(trust_domain), skipped: 0, problems: Vec::new() };
        Self { parsed, default_use: None, ambiguous: Vec::new() }
    }

    fn entry(&mut self, index: usize, json: &RawValue) -> Result<(), BundleError> {
        if let Err(problem) = self.take(index, json) {
            self.parsed.problems.push(problem);
        }
        let bundle = &self.parsed.bundle;
        let count = bundle.x509_authorities.len() + bundle.jwt_authorities.len();
        #[cfg(feature = "wit")]
        let count = count + bundle.wit_authorities.len();
        if count > MAX_KEYS { Err(BundleError::TooManyKeys { count }) } else { Ok(()) }
    }

    fn take(&mut self, index: usize, json: &RawValue) -> Result<(), BundleError> {
        let members = json::object(json.get().as_bytes()).ok_or(BundleError::Entry { index })?;
        let key_use = match members.get("use") {
            Some(Value::String(key_use)) => key_use.as_str(),
            Some(_) => return Err(BundleError::Entry { index }),
            None => self.default_use.ok_or(BundleError::MissingUse { index })?,
        };
        let known = match key_use {
            USE_X509 | USE_JWT => true,
            #[cfg(feature = "wit")]
            USE_WIT => true,
            _ => false,
        };
        if !known {
            self.parsed.skipped += 1;
            return Ok(());
        }
        // Whoever publishes a private key has lost it.
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(BundleError::PrivateKey { index });
        }
        let is_x509 = key_use == USE_X509;
        #[cfg(feature = "wit")]
        let is_wit = key_use == USE_WIT;
        let jwk = Jwk::from_members(members).map_err(|source| BundleError::Key { index, source })?;
        if is_x509 {
            return self.take_x509(index, &jwk);
        }
        let authority = jwt_authority(index, &jwk)?;
        #[cfg(feature = "wit")]
        if is_wit {
            return self.take_wit(authority);
        }
        self.take_jwt(authority)
    }

    fn take_x509(&mut self, index: usize, jwk: &Jwk) -> Result<(), BundleError> {
        let authority = x509_authority(index, jwk)?;
        let authorities = &mut self.parsed.bundle.x509_authorities;
        if !authorities.iter().any(|known| known.certificate == authority.certificate) {
            authorities.push(authority);
        }
        Ok(())
    }

    fn take_jwt(&mut self, authority: JwtAuthority) -> Result<(), BundleError> {
        let authorities = &mut self.parsed.bundle.jwt_authorities;
        if self.ambiguous.contains(&authority.key_id) {
            return Err(BundleError::DuplicateKeyId { key_id: authority.key_id });
        }
        match authorities.iter().position(|known| known.key_id == authority.key_id) {
            None => authorities.push(authority),
            Some(at) if authorities.get(at).is_some_and(|known| known.public_key == authority.public_key) => {}
            Some(at) => {
                authorities.remove(at);
                self.ambiguous.push(authority.key_id.clone());
                return Err(BundleError::DuplicateKeyId { key_id: authority.key_id });
            }
        }
        Ok(())
    }

    #[cfg(feature = "wit")]
    fn take_wit(&mut self, authority: JwtAuthority) -> Result<(), BundleError> {
        let authorities = &mut self.parsed.bundle.wit_authorities;
        if authorities.iter().any(|known| known.key_id == authority.key_id && known.public_key != authority.public_key)
        {
            authorities.retain(|known| known.key_id != authority.key_id);
            self.ambiguous.push(authority.key_id.clone());
        }
        if self.ambiguous.contains(&authority.key_id) {
            return Err(BundleError::DuplicateKeyId { key_id: authority.key_id });
        }
        if !authorities.contains(&authority) {
            authorities.push(authority);
        }
        Ok(())
    }

    /// Key IDs are unique over both uses, and JWT-SVIDs have the older right (WIT-SVID §6.1).
    fn finish(self) -> Parsed {
        #[cfg(feature = "wit")]
        let Self { mut parsed, .. } = self;
        #[cfg(not(feature = "wit"))]
        let Self { parsed, .. } = self;
        #[cfg(feature = "wit")]
        {
            let Parsed { bundle, problems, .. } = &mut parsed;
            let jwt_authorities = &bundle.jwt_authorities;
            bundle.wit_authorities.retain(|wit| {
                let unique = !jwt_authorities.iter().any(|jwt| jwt.key_id == wit.key_id);
                if !unique {
                    problems.push(BundleError::DuplicateKeyId { key_id: wit.key_id.clone() });
                }
                unique
            });
        }
        parsed
    }
}

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4).
pub(crate) const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

fn print(document: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Writing strings and numbers to memory cannot fail.
    let _ = document.serialize(&mut serializer);
    String::from_utf8(text).unwrap_or_default()
}

fn x509_authority(index: usize, jwk: &Jwk) -> Result<X509Authority, BundleError> {
    let error = |source| BundleError::Certificate { index, source };
    // Only the first counts (X509-SVID §6.2).
    let certificate = jwk.x5c.as_deref().and_then(<[String]>::first).ok_or(BundleError::NoCertificate { index })?;
    let text: String = certificate.split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| error(X509Error::Malformed { what: "base64" }))?;
    let certificate = Certificate::from_der(&der).map_err(error)?;
    if !certificate.is_ca() {
        return Err(BundleError::NotCa { index });
    }
    match jwk.to_public_key() {
        Ok(key) if key == *certificate.public_key() => Ok(X509Authority { certificate, tainted: false }),
        // Ed25519 signs certificates, and has no JWK among those that SVIDs use.
        Err(JwkError::Unsupported { name: "kty", value }) if value == "OKP" => {
            if jwk.okp_key().as_deref() == Some(certificate.public_key().key_bytes()) {
                Ok(X509Authority { certificate, tainted: false })
            } else {
                Err(BundleError::KeyMismatch { index })
            }
        }
        Ok(_) => Err(BundleError::KeyMismatch { index }),
        Err(source) => Err(BundleError::Key { index, source }),
    }
}

fn jwt_authority(index: usize, jwk: &Jwk) -> Result<JwtAuthority, BundleError> {
    let key_id = jwk.kid.clone().filter(|kid| !kid.is_empty()).ok_or(BundleError::MissingKeyId { index })?;
    let public_key = jwk.to_public_key().map_err(|source| BundleError::Key { index, source })?;
    Ok(JwtAuthority { key_id, public_key, expires_at: None, tainted: false })
}
