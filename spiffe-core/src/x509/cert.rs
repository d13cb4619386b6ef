//! Parsed certificates.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::names::{self, NameConstraints};
use super::{ExtendedKeyUsage, MAX_CERTIFICATE_LENGTH, X509Error};
use crate::id::SpiffeId;
use crate::key::{PublicKey, SignatureAlgorithm};
use crate::pem;
use crate::time::Timestamp;

/// Most extensions that one certificate may have.
const MAX_EXTENSIONS: usize = 64;
/// Key usage, subject alternative name, basic constraints, name constraints, CRL distribution points, extended key
/// usage: webpki's list.
const KNOWN_EXTENSIONS: [&[u8]; 6] =
    [&[0x55, 29, 15], &[0x55, 29, 17], &[0x55, 29, 19], &[0x55, 29, 30], &[0x55, 29, 31], &[0x55, 29, 37]];
const EMPTY_NAME: &[u8] = &[0x30, 0];

/// A certificate, parsed once; cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: CertificateDer<'static>,
    /// What webpki needs of a root; `None` where it cannot be one.
    anchor: Option<TrustAnchor<'static>>,
    authority_key_id: Option<Vec<u8>>,
    basic_constraints: Option<BasicConstraints>,
    dns_sans: Vec<String>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    ip_sans: Vec<Vec<u8>>,
    issuer: Range<usize>,
    key_usage: Option<KeyUsage>,
    name_constraints: Option<NameConstraints>,
    not_after: Timestamp,
    not_before: Timestamp,
    /// Tags of the forms that its names have beside URIs, DNS names and addresses.
    other_name_forms: Vec<u8>,
    public_key: PublicKey,
    san_critical: bool,
    serial: Vec<u8>,
    signature: Range<usize>,
    signature_algorithm: Option<SignatureAlgorithm>,
    subject: Range<usize>,
    subject_common_name: Option<String>,
    subject_display: String,
    subject_key_id: Option<Vec<u8>>,
    tbs: Range<usize>,
    unknown_critical: bool,
    uri_sans: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct BasicConstraints {
    ca: bool,
    path_length: Option<u32>,
}

/// Which uses of the key the certificate allows (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    bits: u16,
    /// Whether the extension is marked critical.
    pub critical: bool,
}

impl KeyUsage {
    /// Bit 0.
    #[must_use]
    pub fn digital_signature(self) -> bool {
        self.bits & 1 != 0
    }

    /// Bit 5.
    #[must_use]
    pub fn key_cert_sign(self) -> bool {
        self.bits & (1 << 5) != 0
    }

    /// Bit 6.
    #[must_use]
    pub fn crl_sign(self) -> bool {
        self.bits & (1 << 6) != 0
    }
}

impl Certificate {
    /// Parses one certificate.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] for anything but one well-formed certificate, trailing bytes and extensions that do
    /// not parse included; [`X509Error::Key`] for a key of an unknown kind.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = X509Error::Malformed { what: "certificate" };
        if der.len() > MAX_CERTIFICATE_LENGTH {
            return Err(malformed);
        }
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Self::from_parsed(der, &certificate),
            _ => Err(malformed),
        }
    }

    /// Parses certificates that stand one after the other, as the Workload API sends chains and bundles.
    ///
    /// # Errors
    /// As [`Self::from_der`]; no certificate at all is [`X509Error::NoCertificate`].
    pub fn from_der_many(mut der: &[u8]) -> Result<Vec<Self>, X509Error> {
        let mut certificates = Vec::new();
        while !der.is_empty() {
            let (rest, _) = X509Certificate::from_der(der).map_err(|_| X509Error::Malformed { what: "certificate" })?;
            let (first, _) = der.split_at_checked(der.len() - rest.len()).unwrap_or_default();
            certificates.push(Self::from_der(first)?);
            der = rest;
        }
        if certificates.is_empty() { Err(X509Error::NoCertificate) } else { Ok(certificates) }
    }

    /// Reads all certificates of a PEM text; other blocks are ignored.
    ///
    /// # Errors
    /// As [`Self::from_der`]; no certificate at all is [`X509Error::NoCertificate`].
    pub fn from_pem_many(text: &str) -> Result<Vec<Self>, X509Error> {
        let certificates = pem::decode_all(text)?
            .iter()
            .filter(|block| block.label == "CERTIFICATE")
            .map(|block| Self::from_der(&block.der))
            .collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() { Err(X509Error::NoCertificate) } else { Ok(certificates) }
    }

    fn from_parsed(der: &[u8], parsed: &X509Certificate<'_>) -> Result<Self, X509Error> {
        let mut inner = Inner {
            der: CertificateDer::from(der.to_vec()),
            anchor: None,
            authority_key_id: None,
            basic_constraints: None,
            dns_sans: Vec::new(),
            extended_key_usage: None,
            ip_sans: Vec::new(),
            issuer: position(der, parsed.issuer().as_raw()),
            key_usage: None,
            name_constraints: None,
            not_after: Timestamp::from_unix(parsed.validity().not_after.timestamp()),
            not_before: Timestamp::from_unix(parsed.validity().not_before.timestamp()),
            other_name_forms: names::subject_forms(
                parsed.subject().iter().next().is_none(),
                parsed.subject().iter_email().next().is_some(),
            )
            .collect(),
            public_key: PublicKey::from_spki_der(parsed.public_key().raw)?,
            san_critical: false,
            serial: parsed.raw_serial().to_vec(),
            signature: position(der, parsed.signature_value.as_ref()),
            signature_algorithm: SignatureAlgorithm::from_oid(&parsed.signature_algorithm.algorithm.to_id_string()),
            subject: position(der, parsed.subject().as_raw()),
            subject_common_name: common_name(parsed.subject()),
            subject_display: display_name(parsed.subject()),
            subject_key_id: None,
            tbs: position(der, parsed.tbs_certificate.as_ref()),
            unknown_critical: false,
            uri_sans: Vec::new(),
        };
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(X509Error::Malformed { what: "certificate: its two signature algorithms differ" });
        }
        let mut seen: Vec<&[u8]> = Vec::new();
        for extension in parsed.extensions() {
            let oid = extension.oid.as_bytes();
            if seen.contains(&oid) || seen.len() == MAX_EXTENSIONS {
                return Err(X509Error::Malformed { what: "certificate: an extension stands twice" });
            }
            seen.push(oid);
            inner.read_extension(extension)?;
        }
        inner.anchor = webpki::anchor_from_trusted_cert(&inner.der).ok().map(|anchor| TrustAnchor::to_owned(&anchor));
        Ok(Self(Arc::new(inner)))
    }

    /// The certificate's bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate's bytes, as rustls takes them, without a copy.
    #[must_use]
    pub fn as_pki_der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    pub(super) fn anchor(&self) -> Option<&TrustAnchor<'static>> {
        self.0.anchor.as_ref()
    }

    /// As one PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.der())
    }

    /// Begin of the validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// End of the validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether `now` lies within the validity, both ends included (RFC 5280 §4.1.2.5).
    ///
    /// # Errors
    /// [`X509Error::NotYetValid`], [`X509Error::Expired`].
    pub fn check_validity(&self, now: Timestamp) -> Result<(), X509Error> {
        if now < self.not_before() {
            Err(X509Error::NotYetValid { not_before: self.not_before(), now })
        } else if now > self.not_after() {
            Err(X509Error::Expired { not_after: self.not_after(), now })
        } else {
            Ok(())
        }
    }

    /// The serial number in decimal, as SPIRE stores and shows it.
    #[must_use]
    pub fn serial_decimal(&self) -> String {
        decimal(&self.0.serial)
    }

    /// The serial number's bytes, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The subject key identifier, where there is one.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.subject_key_id.as_deref()
    }

    /// The authority key identifier, where there is one.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.authority_key_id.as_deref()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// The signature's algorithm; `None` for one that we do not know.
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        self.0.signature_algorithm
    }

    /// The signature in X.509 form.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.0.der.get(self.0.signature.clone()).unwrap_or_default()
    }

    /// The extended key usage, where there is one.
    #[must_use]
    pub fn extended_key_usage(&self) -> Option<ExtendedKeyUsage> {
        self.0.extended_key_usage
    }

    /// Whether there is a critical extension that we do not understand (RFC 5280 §4.2).
    #[must_use]
    pub fn has_unknown_critical_extension(&self) -> bool {
        self.0.unknown_critical
    }

    /// Whether basic constraints are there at all.
    #[must_use]
    pub fn has_basic_constraints(&self) -> bool {
        self.0.basic_constraints.is_some()
    }

    /// Whether the subject is empty while the alternative names are not critical (RFC 5280 §4.2.1.6).
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        self.subject_der() == EMPTY_NAME && !self.0.san_critical
    }

    pub(super) fn name_constraints(&self) -> Option<&NameConstraints> {
        self.0.name_constraints.as_ref()
    }

    /// Tags of the forms that its names have beside URIs, DNS names and addresses.
    pub(super) fn other_name_forms(&self) -> &[u8] {
        &self.0.other_name_forms
    }

    /// All URI SANs, unchecked.
    #[must_use]
    pub fn uri_sans(&self) -> &[String] {
        &self.0.uri_sans
    }

    /// All DNS SANs, unchecked.
    #[must_use]
    pub fn dns_sans(&self) -> &[String] {
        &self.0.dns_sans
    }

    /// All IP address SANs, four or sixteen bytes each.
    #[must_use]
    pub fn ip_sans(&self) -> &[Vec<u8>] {
        &self.0.ip_sans
    }

    /// Whether basic constraints make it a CA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.basic_constraints.is_some_and(|constraints| constraints.ca)
    }

    /// How many CAs may follow below this one.
    #[must_use]
    pub fn path_length(&self) -> Option<u32> {
        self.0.basic_constraints.and_then(|constraints| constraints.path_length)
    }

    /// The key usage extension, where there is one.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.key_usage
    }

    /// Whether it may sign certificates: a CA whose key usage, where given, says so.
    #[must_use]
    pub fn may_sign_certificates(&self) -> bool {
        self.is_ca() && self.key_usage().is_none_or(KeyUsage::key_cert_sign)
    }

    /// Whether subject and issuer are the same.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// The subject's name in DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.0.der.get(self.0.subject.clone()).unwrap_or_default()
    }

    /// The issuer's name in DER.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.0.der.get(self.0.issuer.clone()).unwrap_or_default()
    }

    /// The signed part.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        self.0.der.get(self.0.tbs.clone()).unwrap_or_default()
    }

    /// The subject as text, last attribute first, as Go prints names: `CN=a,O=SPIRE,C=US`.
    #[must_use]
    pub fn subject_display(&self) -> &str {
        &self.0.subject_display
    }

    /// The subject's common name, where there is one.
    #[must_use]
    pub fn subject_common_name(&self) -> Option<&str> {
        self.0.subject_common_name.as_deref()
    }

    /// The SPIFFE ID: that of the only URI SAN.
    ///
    /// # Errors
    /// [`X509Error::UriSanCount`], [`X509Error::Id`] (X509-SVID §2).
    pub fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        match self.uri_sans() {
            [uri] => Ok(SpiffeId::parse(uri)?),
            uris => Err(X509Error::UriSanCount { count: uris.len() }),
        }
    }
}

impl Inner {
    fn read_extension(&mut self, extension: &X509Extension<'_>) -> Result<(), X509Error> {
        let critical = extension.critical;
        self.unknown_critical |= critical && !KNOWN_EXTENSIONS.contains(&extension.oid.as_bytes());
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.san_critical = critical;
                for name in &names.general_names {
                    match name {
                        // An IA5String (RFC 5280 §4.2.1.6).
                        GeneralName::URI(uri) if !uri.is_ascii() => {
                            return Err(X509Error::Malformed { what: "URI in the subject alternative name" });
                        }
                        GeneralName::URI(uri) => self.uri_sans.push((*uri).to_owned()),
                        GeneralName::DNSName(dns) => self.dns_sans.push((*dns).to_owned()),
                        GeneralName::IPAddress(address) => self.ip_sans.push(address.to_vec()),
                        GeneralName::Invalid(..) => {
                            return Err(X509Error::Malformed { what: "subject alternative name" });
                        }
                        other => self.other_name_forms.extend(names::form_tag(other)),
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints =
                    Some(BasicConstraints { ca: constraints.ca, path_length: constraints.path_len_constraint });
            }
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(KeyUsage { bits: usage.flags, critical }),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage =
                    Some(ExtendedKeyUsage { client_auth: usage.client_auth, server_auth: usage.server_auth });
            }
            ParsedExtension::NameConstraints(_) => {
                let constraints = NameConstraints::from_der(extension.value)
                    .ok_or(X509Error::Malformed { what: "name constraints" })?;
                self.name_constraints = Some(constraints);
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::ParseError { .. } => return Err(X509Error::Malformed { what: "certificate extension" }),
            _ => {}
        }
        Ok(())
    }
}

/// Where `part`, which was parsed out of `whole`, lies in it.
fn position(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok()).map(str::to_owned)
}

fn display_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let relative_names: Vec<_> = name.iter_rdn().collect();
    for relative_name in relative_names.iter().rev() {
        for (index, attribute) in relative_name.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index == 0 { ',' } else { '+' });
            }
            let oid = attribute.attr_type().to_id_string();
            let label = match oid.as_str() {
                "2.5.4.3" => "CN",
                "2.5.4.5" => "SERIALNUMBER",
                "2.5.4.6" => "C",
                "2.5.4.7" => "L",
                "2.5.4.8" => "ST",
                "2.5.4.9" => "STREET",
                "2.5.4.10" => "O",
                "2.5.4.11" => "OU",
                "2.5.4.17" => "POSTALCODE",
                other => other,
            };
            let _ = write!(text, "{label}={}", escape(attribute.as_str().unwrap_or("?")));
        }
    }
    text
}

/// RFC 2253 §2.4.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (index == 0 && matches!(character, ' ' | '#'))
            || (index == last && character == ' ');
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A big-endian number in decimal.
fn decimal(bytes: &[u8]) -> String {
    // Least significant first, nine digits each.
    let mut groups: Vec<u32> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for group in &mut groups {
            let value = u64::from(*group) * 256 + carry;
            *group = u32::try_from(value % 1_000_000_000).unwrap_or(0);
            carry = value / 1_000_000_000;
        }
        if carry > 0 {
            groups.push(u32::try_from(carry).unwrap_or(0));
        }
    }
    let mut digits = String::new();
    for (index, group) in groups.iter().rev().enumerate() {
        let _ = if index == 0 { write!(digits, "{group}") } else { write!(digits, "{group:09}") };
    }
    digits
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.0.subject_display)
            .field("uri_sans", &self.0.uri_sans)
            .field("not_after", &self.0.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_print_in_decimal() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 0]), "0");
        assert_eq!(decimal(&[1, 0]), "256");
        assert_eq!(decimal(&[0xff; 16]), u128::MAX.to_string());
        assert_eq!(decimal(&1_000_000_000_000_000_000_000_u128.to_be_bytes()), "1000000000000000000000");
    }

    #[test]
    fn names_print_as_go_does_and_are_escaped() {
        assert_eq!(escape("a,b"), "a\\,b");
        assert_eq!(escape(" #x "), "\\ #x\\ ");
    }
}
