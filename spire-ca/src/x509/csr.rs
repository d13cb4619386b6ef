//! Requests for the server's own CA, to be signed upstream (RFC 2986).

use rand_core::CryptoRng;
use spiffe_core::TrustDomain;
use spiffe_core::x509::CsrTemplate;
use spire_keymanager::Signer;

use super::{Serial, tbs};
use crate::composer::{Composers, X509CaAttributes};
use crate::name::DistinguishedName;
use crate::template;
use crate::{Error, asn1};

/// Asks for a CA certificate for the key of `signer`: `subject` with a random serial number attribute where it has
/// none, the trust domain's ID as URI SAN, and what composers add, but for policies, which upstream decides.
///
/// # Errors
/// [`Error::Composer`], [`Error::KeyManager`], [`Error::UnusableAlgorithm`].
pub async fn ca_csr(
    trust_domain: &TrustDomain,
    subject: &DistinguishedName,
    composers: &Composers,
    signer: &dyn Signer,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Vec<u8>, Error> {
    let serial = Serial::random(rng);
    let attributes = X509CaAttributes { subject: template::ca_subject(subject, serial), ..Default::default() };
    let attributes = composers.x509_ca(attributes).await?;
    let subject = attributes.subject.to_der();
    let critical = subject == [asn1::SEQUENCE, 0];
    let mut extensions = tbs::names_extension(&[], trust_domain.id().as_str(), critical);
    for extra in &attributes.extra_extensions {
        extensions.extend(tbs::extension(extra.oid.as_bytes(), extra.critical, &extra.value));
    }
    let extensions = asn1::element(asn1::SEQUENCE, &[&extensions]);
    let attribute = asn1::element(asn1::SEQUENCE, &[EXTENSION_REQUEST, &asn1::element(asn1::SET, &[&extensions])]);
    let to_be_signed = asn1::element(
        asn1::SEQUENCE,
        &[&[asn1::INTEGER, 1, 0], &subject, signer.public_key().spki_der(), &asn1::element(ATTRIBUTES, &[&attribute])],
    );
    let signature = signer.sign(&to_be_signed).await?;
    Ok(CsrTemplate::assemble(&to_be_signed, signer.algorithm(), &signature)?)
}

const ATTRIBUTES: u8 = 0xa0;
const EXTENSION_REQUEST: &[u8] = &[asn1::OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
