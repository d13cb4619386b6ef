//! What must hold before anything is signed.
//!
//! Certificates are judged by the bytes that will be signed, read by themselves, and not by what was meant to be
//! written; tokens by the claims that will be. Only what passes becomes [`Vetted`], and only that can be signed.

use serde_json::{Map, Value};
use spiffe_core::x509::MAX_CERTIFICATE_LENGTH;
use spiffe_core::{SpiffeId, Timestamp, TrustDomain};

use crate::asn1;
use crate::x509::Tbs;

/// What passed the checks of this module: no other can be made.
#[derive(Clone, Debug)]
pub struct Vetted<T>(T);

impl<T> Vetted<T> {
    /// What was checked.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

/// Checks the to-be-signed part of an X.509-SVID (X509-SVID §4): a leaf that is valid at `now`, whose only URI SAN is
/// `id`.
///
/// # Errors
/// [`LintError`] names the rule.
pub fn x509_svid(tbs: Tbs, id: &SpiffeId, now: Timestamp) -> Result<Vetted<Tbs>, LintError> {
    let read = Read::of(&tbs, now)?;
    let key_usage = read.key_usage()?;
    if read.is_ca()? {
        return Err(LintError::LeafIsCa);
    }
    if key_usage & DIGITAL_SIGNATURE == 0 {
        return Err(LintError::KeyUsage { rule: "lacks digitalSignature" });
    }
    if key_usage & !(DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT) != 0 {
        return Err(LintError::KeyUsage { rule: "has more than digitalSignature, keyEncipherment and keyAgreement" });
    }
    read.check_extended_key_usage()?;
    match read.only_uri()? {
        Some(uri) if uri == id.as_str().as_bytes() => Ok(Vetted(tbs)),
        Some(_) => Err(LintError::OtherUri),
        None => Err(LintError::UriCount { count: 0 }),
    }
}

/// Checks the to-be-signed part of a CA certificate (X509-SVID §4): it may sign certificates, is valid at `now`, and
/// its URI SAN, if any, is the trust domain's ID.
///
/// # Errors
/// [`LintError`] names the rule.
pub fn x509_ca(tbs: Tbs, trust_domain: &TrustDomain, now: Timestamp) -> Result<Vetted<Tbs>, LintError> {
    let read = Read::of(&tbs, now)?;
    let key_usage = read.key_usage()?;
    if !read.is_ca()? {
        return Err(LintError::NotACa);
    }
    if key_usage & KEY_CERT_SIGN == 0 {
        return Err(LintError::KeyUsage { rule: "lacks keyCertSign" });
    }
    if key_usage & !(KEY_CERT_SIGN | CRL_SIGN | DIGITAL_SIGNATURE) != 0 {
        return Err(LintError::KeyUsage { rule: "has more than keyCertSign, cRLSign and digitalSignature" });
    }
    match read.only_uri()? {
        Some(uri) if uri != trust_domain.id().as_str().as_bytes() => Err(LintError::OtherUri),
        _ => Ok(Vetted(tbs)),
    }
}

/// Checks the claims of a JWT-SVID (JWT-SVID §3): `sub` is `id`, `exp` lies ahead, `nbf` does not, and there is an
/// audience without empty members.
///
/// # Errors
/// [`LintError`] names the claim.
pub fn jwt_svid(
    claims: Map<String, Value>,
    id: &SpiffeId,
    now: Timestamp,
) -> Result<Vetted<Map<String, Value>>, LintError> {
    let claim = |name, rule| Err(LintError::Claim { name, rule });
    if claims.get("sub").and_then(Value::as_str) != Some(id.as_str()) {
        return claim("sub", "is not the SPIFFE ID");
    }
    match claims.get("exp").map(seconds) {
        None => return claim("exp", "is missing"),
        Some(Some(expires_at)) if expires_at > now.as_unix() => {}
        Some(_) => return claim("exp", "is not in the future"),
    }
    if claims.get("nbf").is_some_and(|not_before| seconds(not_before).is_none_or(|at| at > now.as_unix())) {
        return claim("nbf", "is in the future");
    }
    if claims.get("iat").is_some_and(|issued_at| seconds(issued_at).is_none()) {
        return claim("iat", "is no number of seconds");
    }
    let audience_holds = match claims.get("aud") {
        Some(Value::String(only)) => !only.is_empty(),
        Some(Value::Array(members)) => {
            !members.is_empty() && members.iter().all(|member| member.as_str().is_some_and(|text| !text.is_empty()))
        }
        _ => false,
    };
    if audience_holds { Ok(Vetted(claims)) } else { claim("aud", "is missing or has empty members") }
}

fn seconds(claim: &Value) -> Option<i64> {
    claim.as_i64()
}

/// Which rule the thing to be signed breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// X509-SVID §4.1
    #[error("basic constraints are missing")]
    NoBasicConstraints,
    /// JWT-SVID §3
    #[error("claim {name:?} {rule}")]
    Claim {
        /// The claim.
        name: &'static str,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// RFC 5280 §4.2
    #[error("extension appears twice")]
    DuplicateExtension,
    /// It is not valid any more.
    #[error("certificate expired at {not_after}, now {now}")]
    Expired {
        /// End of its validity.
        not_after: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// X509-SVID §4.4
    #[error("extended key usage lacks {purpose}")]
    ExtendedKeyUsage {
        /// Which purpose.
        purpose: &'static str,
    },
    /// X509-SVID §4.3
    #[error("key usage {rule}")]
    KeyUsage {
        /// What is wrong with it.
        rule: &'static str,
    },
    /// X509-SVID §4.1
    #[error("leaf certificate is a CA")]
    LeafIsCa,
    /// The bytes are no to-be-signed certificate.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// X509-SVID §4.1
    #[error("signing certificate is not a CA")]
    NotACa,
    /// It is not valid yet.
    #[error("certificate is not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Begin of its validity.
        not_before: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// Its URI SAN is another one.
    #[error("URI SAN is not the SPIFFE ID")]
    OtherUri,
    /// RFC 5280 §4.1.2.2
    #[error("serial number is not positive")]
    Serial,
    /// Consumers would refuse it for its size.
    #[error("certificate would be longer than {max} bytes", max = MAX_CERTIFICATE_LENGTH)]
    TooLong,
    /// X509-SVID §2
    #[error("certificate would contain {count} URI SANs")]
    UriCount {
        /// How many.
        count: usize,
    },
}

/// The parts of a to-be-signed certificate that rules speak of, borrowed from its bytes.
struct Read<'a> {
    key_usage: Option<&'a [u8]>,
    extended_key_usage: Option<&'a [u8]>,
    basic_constraints: Option<&'a [u8]>,
    alternative_names: Option<&'a [u8]>,
}

impl<'a> Read<'a> {
    fn of(tbs: &'a Tbs, now: Timestamp) -> Result<Self, LintError> {
        if tbs.der.len() > MAX_CERTIFICATE_LENGTH - SIGNATURE_ALLOWANCE {
            return Err(LintError::TooLong);
        }
        let malformed = |what| LintError::Malformed { what };
        let certificate = || malformed("certificate");
        let (contents, end) = asn1::take(asn1::SEQUENCE, &tbs.der).ok_or_else(certificate)?;
        let (version, rest) = asn1::take(VERSION, contents).ok_or_else(certificate)?;
        if !end.is_empty() || version != [asn1::INTEGER, 1, 2] {
            return Err(malformed("version"));
        }
        let (serial, rest) = asn1::take(asn1::INTEGER, rest).ok_or_else(|| malformed("serial number"))?;
        if serial.first().is_none_or(|first| first & 0x80 != 0) || serial.iter().all(|byte| *byte == 0) {
            return Err(LintError::Serial);
        }
        let (_algorithm, rest) = asn1::take(asn1::SEQUENCE, rest).ok_or_else(|| malformed("signature algorithm"))?;
        let (_issuer, rest) = asn1::take(asn1::SEQUENCE, rest).ok_or_else(|| malformed("issuer"))?;
        let (validity, rest) = asn1::take(asn1::SEQUENCE, rest).ok_or_else(|| malformed("validity"))?;
        check_validity(validity, now)?;
        let (_subject, rest) = asn1::take(asn1::SEQUENCE, rest).ok_or_else(|| malformed("subject"))?;
        let (_key, rest) = asn1::take(asn1::SEQUENCE, rest).ok_or_else(|| malformed("public key"))?;
        let extensions = || malformed("extensions");
        let (explicit, end) = asn1::take(EXTENSIONS, rest).ok_or_else(extensions)?;
        let (list, inner_end) = asn1::take(asn1::SEQUENCE, explicit).ok_or_else(extensions)?;
        if !end.is_empty() || !inner_end.is_empty() {
            return Err(extensions());
        }
        Self::of_extensions(list)
    }

    fn of_extensions(mut list: &'a [u8]) -> Result<Self, LintError> {
        let extension = || LintError::Malformed { what: "extension" };
        let mut read =
            Self { key_usage: None, extended_key_usage: None, basic_constraints: None, alternative_names: None };
        let all = list;
        while !list.is_empty() {
            let at = all.len() - list.len();
            let (oid, value, rest) = take_extension(list).ok_or_else(extension)?;
            let place = match oid {
                KEY_USAGE => Some(&mut read.key_usage),
                EXTENDED_KEY_USAGE => Some(&mut read.extended_key_usage),
                BASIC_CONSTRAINTS => Some(&mut read.basic_constraints),
                SUBJECT_ALT_NAME => Some(&mut read.alternative_names),
                _ => None,
            };
            if has_extension(all.get(..at).unwrap_or_default(), oid) {
                return Err(LintError::DuplicateExtension);
            }
            if let Some(place) = place {
                *place = Some(value);
            }
            list = rest;
        }
        Ok(read)
    }

    /// The first nine bits, digitalSignature lowest.
    fn key_usage(&self) -> Result<u16, LintError> {
        let value = self.key_usage.ok_or(LintError::KeyUsage { rule: "is missing" })?;
        let malformed = LintError::Malformed { what: "key usage" };
        match asn1::take(asn1::BIT_STRING, value) {
            Some(([unused @ 0..=7, bits @ ..], [])) if !bits.is_empty() && bits.len() <= 2 => {
                let unused_are_zero = bits.last().is_some_and(|last| last.trailing_zeros() >= u32::from(*unused));
                let byte = |index: usize| u16::from(bits.get(index).copied().unwrap_or(0).reverse_bits());
                if unused_are_zero { Ok(byte(0) | byte(1) << 8) } else { Err(malformed) }
            }
            _ => Err(malformed),
        }
    }

    fn is_ca(&self) -> Result<bool, LintError> {
        let value = self.basic_constraints.ok_or(LintError::NoBasicConstraints)?;
        let malformed = || LintError::Malformed { what: "basic constraints" };
        match asn1::take(asn1::SEQUENCE, value) {
            Some(([], [])) => Ok(false),
            Some(([asn1::BOOLEAN, 1, 0xff, ..], [])) => Ok(true),
            _ => Err(malformed()),
        }
    }

    /// Either purpose alone is not enough; without the extension, every purpose holds.
    fn check_extended_key_usage(&self) -> Result<(), LintError> {
        let Some(value) = self.extended_key_usage else { return Ok(()) };
        let malformed = || LintError::Malformed { what: "extended key usage" };
        let Some((mut purposes, [])) = asn1::take(asn1::SEQUENCE, value) else { return Err(malformed()) };
        let (mut server, mut client) = (false, false);
        while !purposes.is_empty() {
            let (purpose, rest) = asn1::take(asn1::OID, purposes).ok_or_else(malformed)?;
            server |= purpose == SERVER_AUTH;
            client |= purpose == CLIENT_AUTH;
            purposes = rest;
        }
        match (server, client) {
            (true, true) => Ok(()),
            (false, _) => Err(LintError::ExtendedKeyUsage { purpose: "serverAuth" }),
            (true, false) => Err(LintError::ExtendedKeyUsage { purpose: "clientAuth" }),
        }
    }

    fn only_uri(&self) -> Result<Option<&'a [u8]>, LintError> {
        let Some(value) = self.alternative_names else { return Ok(None) };
        let malformed = || LintError::Malformed { what: "alternative names" };
        let Some((mut names, [])) = asn1::take(asn1::SEQUENCE, value) else { return Err(malformed()) };
        let (mut uri, mut count) = (None, 0);
        while !names.is_empty() {
            let (tag, name, rest) = asn1::split(names).ok_or_else(malformed)?;
            if tag == asn1::URI {
                uri = Some(name);
                count += 1;
            }
            if !name.is_ascii() && matches!(tag, asn1::URI | asn1::DNS_NAME) {
                return Err(malformed());
            }
            names = rest;
        }
        if count > 1 { Err(LintError::UriCount { count }) } else { Ok(uri) }
    }
}

fn check_validity(validity: &[u8], now: Timestamp) -> Result<(), LintError> {
    let malformed = || LintError::Malformed { what: "validity" };
    let (not_before, rest) = asn1::take_time(validity).ok_or_else(malformed)?;
    let (not_after, rest) = asn1::take_time(rest).ok_or_else(malformed)?;
    if !rest.is_empty() {
        Err(malformed())
    } else if now < not_before {
        Err(LintError::NotYetValid { not_before, now })
    } else if now > not_after {
        Err(LintError::Expired { not_after, now })
    } else {
        Ok(())
    }
}

/// Object identifier and value of the first extension, and what follows it.
fn take_extension(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (contents, rest) = asn1::take(asn1::SEQUENCE, list)?;
    let (oid, contents) = asn1::take(asn1::OID, contents)?;
    let contents = contents.strip_prefix(&[asn1::BOOLEAN, 1, 0xff]).unwrap_or(contents);
    let (value, end) = asn1::take(asn1::OCTET_STRING, contents)?;
    end.is_empty().then_some((oid, value, rest))
}

fn has_extension(mut list: &[u8], oid: &[u8]) -> bool {
    while let Some((found, _, rest)) = take_extension(list) {
        if found == oid {
            return true;
        }
        list = rest;
    }
    false
}

const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const DIGITAL_SIGNATURE: u16 = 1;
const KEY_ENCIPHERMENT: u16 = 1 << 2;
const KEY_AGREEMENT: u16 = 1 << 4;
const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;
/// Room for the outer header, the algorithm and the longest signature (RSA of 4096 bits).
const SIGNATURE_ALLOWANCE: usize = 1024;
