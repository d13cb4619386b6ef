//! To-be-signed bytes of certificates.
//!
//! What all certificates of one issuer share is encoded once, in [`Issuer`]; each certificate is then one allocation
//! of known size, filled front to back. The order of extensions is Go's: key usage, extended key usage, basic
//! constraints, subject key id, authority key id, alternative names, policies, further ones.

use der::asn1::ObjectIdentifier;
use spiffe_core::{PublicKey, SignatureAlgorithm, Timestamp};

use super::Serial;
use crate::Error;
use crate::asn1;

/// What all certificates of one issuer have in common, in DER.
#[derive(Clone, Debug)]
pub struct Issuer {
    algorithm: SignatureAlgorithm,
    /// The signature's AlgorithmIdentifier, then the issuer's name.
    algorithm_and_name: Box<[u8]>,
    /// The authority key id extension; empty where the certificate is its own issuer.
    authority_key_id: Box<[u8]>,
}

impl Issuer {
    /// An issuer of the given name and subject key id, which signs with `algorithm`.
    ///
    /// # Errors
    /// [`Error::UnusableAlgorithm`] for an algorithm that certificates are not signed with.
    pub fn new(algorithm: SignatureAlgorithm, name: &[u8], subject_key_id: &[u8]) -> Result<Self, Error> {
        let key_id = asn1::element(0x80, &[subject_key_id]);
        let value = asn1::element(asn1::SEQUENCE, &[&key_id]);
        let extension = extension(AUTHORITY_KEY_ID, false, &value);
        Ok(Self { authority_key_id: extension.into(), ..Self::of_itself(algorithm, name)? })
    }

    /// The issuer of a self-signed certificate, which has no authority key id.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_itself(algorithm: SignatureAlgorithm, name: &[u8]) -> Result<Self, Error> {
        let identifier = algorithm.algorithm_identifier_der().ok_or(Error::UnusableAlgorithm)?;
        Ok(Self { algorithm, algorithm_and_name: [identifier, name].concat().into(), authority_key_id: Box::default() })
    }
}

/// What sort of certificate it is: which key usage, extended key usage and basic constraints it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A leaf: X509-SVID §4.
    Svid,
    /// A signing certificate: X509-SVID §4.
    Ca,
}

impl Profile {
    fn extensions(self) -> &'static [u8] {
        match self {
            Self::Svid => SVID_EXTENSIONS,
            Self::Ca => CA_EXTENSIONS,
        }
    }
}

/// An extension beyond those that the profile asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its object identifier.
    pub oid: ObjectIdentifier,
    /// Whether it must be understood.
    pub critical: bool,
    /// Its value in DER.
    pub value: Vec<u8>,
}

/// The to-be-signed part of a certificate, as it will be signed.
#[derive(Clone, Debug)]
pub struct Tbs {
    pub(crate) der: Vec<u8>,
    pub(crate) algorithm: SignatureAlgorithm,
}

impl Tbs {
    /// Of bytes made elsewhere, to be signed with `algorithm` once they are vetted.
    #[must_use]
    pub fn from_der(der: Vec<u8>, algorithm: SignatureAlgorithm) -> Self {
        Self { der, algorithm }
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// What goes into one certificate.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) profile: Profile,
    pub(crate) serial: Serial,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// The subject's name in DER.
    pub(crate) subject: &'a [u8],
    pub(crate) public_key: &'a PublicKey,
    pub(crate) dns_names: &'a [String],
    pub(crate) uri: &'a str,
    pub(crate) policies: &'a [ObjectIdentifier],
    pub(crate) extra_extensions: &'a [Extension],
}

impl Fields<'_> {
    pub(crate) fn encode(&self, issuer: &Issuer) -> Tbs {
        let (serial, serial_length) = self.serial.der_contents();
        let serial = serial.get(17 - serial_length..).unwrap_or_default();
        let validity = asn1::time_length(self.not_before) + asn1::time_length(self.not_after);
        let spki = self.public_key.spki_der();
        let names: usize =
            self.dns_names.iter().map(String::as_str).chain([self.uri]).map(|n| asn1::element_length(n.len())).sum();
        let names_are_critical = self.subject == EMPTY_NAME;
        let names_extension = names_extension_length(names, names_are_critical);
        let further = self.further_extensions();
        let extensions = self.profile.extensions().len()
            + SUBJECT_KEY_ID_HEADER.len()
            + SUBJECT_KEY_ID_LENGTH
            + issuer.authority_key_id.len()
            + asn1::element_length(names_extension)
            + further.len();
        let contents = VERSION_3.len()
            + asn1::element_length(serial.len())
            + issuer.algorithm_and_name.len()
            + asn1::element_length(validity)
            + self.subject.len()
            + spki.len()
            + asn1::element_length(asn1::element_length(extensions));

        let mut der = Vec::with_capacity(asn1::element_length(contents));
        asn1::push_header(&mut der, asn1::SEQUENCE, contents);
        der.extend_from_slice(VERSION_3);
        asn1::push_element(&mut der, asn1::INTEGER, serial);
        der.extend_from_slice(&issuer.algorithm_and_name);
        asn1::push_header(&mut der, asn1::SEQUENCE, validity);
        asn1::push_time(&mut der, self.not_before);
        asn1::push_time(&mut der, self.not_after);
        der.extend_from_slice(self.subject);
        der.extend_from_slice(spki);
        asn1::push_header(&mut der, EXTENSIONS, asn1::element_length(extensions));
        asn1::push_header(&mut der, asn1::SEQUENCE, extensions);
        der.extend_from_slice(self.profile.extensions());
        der.extend_from_slice(SUBJECT_KEY_ID_HEADER);
        der.extend_from_slice(&self.public_key.subject_key_id());
        der.extend_from_slice(&issuer.authority_key_id);
        self.push_names(&mut der, names, names_are_critical);
        der.extend_from_slice(&further);
        Tbs { der, algorithm: issuer.algorithm }
    }

    fn push_names(&self, der: &mut Vec<u8>, names: usize, critical: bool) {
        push_names_extension(der, self.dns_names, self.uri, names, critical);
    }

    /// Policies and extra extensions: rare, and so encoded part by part.
    fn further_extensions(&self) -> Vec<u8> {
        let mut further = Vec::new();
        if !self.policies.is_empty() {
            let policies: Vec<u8> = self
                .policies
                .iter()
                .flat_map(|oid| asn1::element(asn1::SEQUENCE, &[&asn1::element(asn1::OID, &[oid.as_bytes()])]))
                .collect();
            let value = asn1::element(asn1::SEQUENCE, &[&policies]);
            further.extend(extension(CERTIFICATE_POLICIES, false, &value));
        }
        for extra in self.extra_extensions {
            further.extend(extension(extra.oid.as_bytes(), extra.critical, &extra.value));
        }
        further
    }
}

/// The subject alternative name extension by itself, as a certificate request carries it.
pub(super) fn names_extension(dns_names: &[String], uri: &str, critical: bool) -> Vec<u8> {
    let names = dns_names.iter().map(String::as_str).chain([uri]).map(|name| asn1::element_length(name.len())).sum();
    let mut der = Vec::new();
    push_names_extension(&mut der, dns_names, uri, names, critical);
    der
}

fn names_extension_length(names: usize, critical: bool) -> usize {
    let flag = if critical { CRITICAL.len() } else { 0 };
    SUBJECT_ALT_NAME_OID.len() + flag + asn1::element_length(asn1::element_length(names))
}

/// DNS names come first, the URI last.
fn push_names_extension(der: &mut Vec<u8>, dns_names: &[String], uri: &str, names: usize, critical: bool) {
    asn1::push_header(der, asn1::SEQUENCE, names_extension_length(names, critical));
    der.extend_from_slice(SUBJECT_ALT_NAME_OID);
    if critical {
        der.extend_from_slice(CRITICAL);
    }
    asn1::push_header(der, asn1::OCTET_STRING, asn1::element_length(names));
    asn1::push_header(der, asn1::SEQUENCE, names);
    for name in dns_names {
        asn1::push_element(der, asn1::DNS_NAME, name.as_bytes());
    }
    asn1::push_element(der, asn1::URI, uri.as_bytes());
}

/// One extension; `oid` is given without tag and length.
pub(super) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = asn1::element(asn1::OID, &[oid]);
    let value = asn1::element(asn1::OCTET_STRING, &[value]);
    asn1::element(asn1::SEQUENCE, &[&oid, if critical { CRITICAL } else { &[] }, &value])
}

/// `[0] { INTEGER 2 }`
const VERSION_3: &[u8] = &[0xa0, 3, asn1::INTEGER, 1, 2];
/// `[3]`
const EXTENSIONS: u8 = 0xa3;
const EMPTY_NAME: &[u8] = &[asn1::SEQUENCE, 0];
const CRITICAL: &[u8] = &[asn1::BOOLEAN, 1, 0xff];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1d, 0x20];
const SUBJECT_ALT_NAME_OID: &[u8] = &[asn1::OID, 3, 0x55, 0x1d, 0x11];
/// Sequence, object identifier, octet string around it, octet string within; twenty bytes follow.
const SUBJECT_KEY_ID_HEADER: &[u8] =
    &[asn1::SEQUENCE, 29, asn1::OID, 3, 0x55, 0x1d, 0x0e, asn1::OCTET_STRING, 22, asn1::OCTET_STRING, 20];
const SUBJECT_KEY_ID_LENGTH: usize = 20;

/// Key usage, critical: digitalSignature, keyEncipherment, keyAgreement. Extended key usage: serverAuth, clientAuth.
/// Basic constraints, critical: no CA.
#[rustfmt::skip]
const SVID_EXTENSIONS: &[u8] = &[
    0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x03, 0xa8,
    0x30, 0x1d, 0x06, 0x03, 0x55, 0x1d, 0x25, 0x04, 0x16, 0x30, 0x14,
        0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01,
        0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02,
    0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00,
];
/// Key usage, critical: keyCertSign, cRLSign. Basic constraints, critical: a CA, without a limit to the path's length.
#[rustfmt::skip]
const CA_EXTENSIONS: &[u8] = &[
    0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x01, 0x06,
    0x30, 0x0f, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff,
];
