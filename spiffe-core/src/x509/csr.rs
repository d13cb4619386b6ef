//! Certificate requests, both ways (RFC 2986).

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::{MAX_CERTIFICATE_LENGTH, X509Error};
use crate::asn1;
use crate::key::{PrivateKey, PublicKey, SignatureAlgorithm};

/// A certificate request whose proof of possession has been verified: no other can be made.
///
/// Servers take the public key out of it and nothing else, but for the administrator's mint.
#[derive(Clone, Debug)]
pub struct Csr {
    public_key: PublicKey,
    uri_sans: Vec<String>,
    dns_sans: Vec<String>,
    subject_der: Vec<u8>,
}

impl Csr {
    /// Parses a request and verifies that it is signed by the key it names.
    ///
    /// # Errors
    /// [`X509Error::Malformed`], [`X509Error::Key`], [`X509Error::RequestSignature`].
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = || X509Error::Malformed { what: "certificate request" };
        if der.len() > MAX_CERTIFICATE_LENGTH {
            return Err(malformed());
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else { return Err(malformed()) };
        let info = &request.certification_request_info;
        let public_key = PublicKey::from_spki_der(info.subject_pki.raw)?;
        let algorithm = SignatureAlgorithm::from_oid(&request.signature_algorithm.algorithm.to_id_string())
            .ok_or(X509Error::RequestSignature)?;
        public_key
            .verify(algorithm, info.raw, request.signature_value.as_ref())
            .map_err(|_| X509Error::RequestSignature)?;

        let (mut uri_sans, mut dns_sans) = (Vec::new(), Vec::new());
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        match name {
                            GeneralName::URI(uri) => uri_sans.push((*uri).to_owned()),
                            GeneralName::DNSName(dns) => dns_sans.push((*dns).to_owned()),
                            GeneralName::Invalid(..) => return Err(malformed()),
                            _ => {}
                        }
                    }
                }
                ParsedExtension::ParseError { .. } => return Err(malformed()),
                _ => {}
            }
        }
        Ok(Self { public_key, uri_sans, dns_sans, subject_der: info.subject.as_raw().to_vec() })
    }

    /// The public key, which the requester was shown to hold.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The URI SANs asked for, unchecked.
    #[must_use]
    pub fn uri_sans(&self) -> &[String] {
        &self.uri_sans
    }

    /// The DNS SANs asked for, unchecked.
    #[must_use]
    pub fn dns_sans(&self) -> &[String] {
        &self.dns_sans
    }

    /// The subject asked for in DER; an empty SEQUENCE where there is none.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }
}

/// What a request to be made asks for.
#[derive(Clone, Debug, Default)]
pub struct CsrTemplate {
    /// URI SANs.
    pub uri_sans: Vec<String>,
    /// DNS SANs.
    pub dns_sans: Vec<String>,
    /// The subject's only attribute.
    pub common_name: Option<String>,
}

const OID_COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const OID_EXTENSION_REQUEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
const OID_SUBJECT_ALT_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];
const UTF8_STRING: u8 = 0x0c;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const ATTRIBUTES: u8 = 0xa0;

impl CsrTemplate {
    /// The bytes to be signed by the key that belongs to `public_key`.
    #[must_use]
    pub fn to_be_signed(&self, public_key: &PublicKey) -> Vec<u8> {
        let subject = self.common_name.as_ref().map_or_else(Vec::new, |name| {
            let attribute =
                asn1::elements(asn1::SEQUENCE, &[OID_COMMON_NAME, &asn1::element(UTF8_STRING, name.as_bytes())]);
            asn1::element(asn1::SET, &attribute)
        });
        let mut names = Vec::new();
        for name in &self.dns_sans {
            names.extend(asn1::element(DNS_NAME, name.as_bytes()));
        }
        for uri in &self.uri_sans {
            names.extend(asn1::element(URI, uri.as_bytes()));
        }
        let attributes = if names.is_empty() { Vec::new() } else { extension_request(&names) };
        asn1::elements(
            asn1::SEQUENCE,
            &[
                &[asn1::INTEGER, 1, 0],
                &asn1::element(asn1::SEQUENCE, &subject),
                public_key.spki_der(),
                &asn1::element(ATTRIBUTES, &attributes),
            ],
        )
    }

    /// The request, from the bytes that were signed and their signature in X.509 form.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] for an algorithm that we do not issue.
    pub fn assemble(
        to_be_signed: &[u8],
        algorithm: SignatureAlgorithm,
        signature: &[u8],
    ) -> Result<Vec<u8>, X509Error> {
        let identifier =
            algorithm.algorithm_identifier_der().ok_or(X509Error::Malformed { what: "signature algorithm" })?;
        let bits = asn1::elements(asn1::BIT_STRING, &[&[0], signature]);
        Ok(asn1::elements(asn1::SEQUENCE, &[to_be_signed, identifier, &bits]))
    }

    /// The whole request, signed with a key at hand.
    ///
    /// # Errors
    /// [`X509Error::Key`] when signing fails.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
        let to_be_signed = self.to_be_signed(key.public_key());
        let signature = key.sign(&to_be_signed)?;
        Self::assemble(&to_be_signed, key.signature_algorithm(), &signature)
    }
}

fn extension_request(names: &[u8]) -> Vec<u8> {
    let names = asn1::element(asn1::SEQUENCE, names);
    let extension = asn1::elements(asn1::SEQUENCE, &[OID_SUBJECT_ALT_NAME, &asn1::element(asn1::OCTET_STRING, &names)]);
    let extensions = asn1::element(asn1::SEQUENCE, &extension);
    asn1::elements(asn1::SEQUENCE, &[OID_EXTENSION_REQUEST, &asn1::element(asn1::SET, &extensions)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyType;

    fn template() -> CsrTemplate {
        CsrTemplate {
            uri_sans: vec!["spiffe://example.org/a".into()],
            dns_sans: vec!["a.example".into(), "b.example".into()],
            common_name: Some("a".into()),
        }
    }

    #[test]
    fn what_we_write_we_read() {
        for key_type in [KeyType::EcP256, KeyType::EcP384] {
            let key = PrivateKey::generate(key_type).unwrap();
            let csr = Csr::from_der(&template().sign(&key).unwrap()).unwrap();
            assert_eq!(csr.public_key(), key.public_key());
            assert_eq!(csr.uri_sans(), ["spiffe://example.org/a"]);
            assert_eq!(csr.dns_sans(), ["a.example", "b.example"]);
        }
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let csr = Csr::from_der(&CsrTemplate::default().sign(&key).unwrap()).unwrap();
        assert_eq!(csr.subject_der(), [0x30, 0]);
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let (key, other) =
            (PrivateKey::generate(KeyType::EcP256).unwrap(), PrivateKey::generate(KeyType::EcP256).unwrap());
        let to_be_signed = template().to_be_signed(key.public_key());
        let signature = other.sign(&to_be_signed).unwrap();
        let der = CsrTemplate::assemble(&to_be_signed, other.signature_algorithm(), &signature).unwrap();
        assert_eq!(Csr::from_der(&der).unwrap_err(), X509Error::RequestSignature);
    }

    #[test]
    fn truncated_and_trailing_bytes_are_refused() {
        let der = template().sign(&PrivateKey::generate(KeyType::EcP256).unwrap()).unwrap();
        for length in 0..der.len() {
            assert!(Csr::from_der(&der[..length]).is_err());
        }
        assert!(Csr::from_der(&[der, vec![0]].concat()).is_err());
    }

    #[test]
    fn an_independent_library_reads_it() {
        let der = template().sign(&PrivateKey::generate(KeyType::EcP256).unwrap()).unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
        assert_eq!(parsed.certification_request_info.subject.to_string(), "CN=a");
    }
}
