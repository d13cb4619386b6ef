//! From what is asked for to a signed chain: template, lint, signature, assembly.

use std::sync::Arc;

use rand_core::CryptoRng;
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{PublicKey, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_keymanager::Signer;

use super::tbs::Fields;
use super::{Issuer, Profile, Serial, Tbs};
use crate::authority::{Authority, X509Ca};
use crate::composer::{Composers, X509CaAttributes, X509SvidAttributes};
use crate::lint::{self, Vetted};
use crate::name::DistinguishedName;
use crate::{Error, asn1, template};

/// What an X.509-SVID is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct X509SvidParams<'a> {
    /// Whose it is: a member of the authority's trust domain.
    pub spiffe_id: &'a SpiffeId,
    /// The key whose possession was proven.
    pub public_key: &'a PublicKey,
    /// Lifetime from `now`; zero takes [`template::X509_SVID_TTL`]. Cut, not refused, where the CA ends before.
    pub ttl: Ttl,
    /// DNS SANs; the first one becomes the common name.
    pub dns_names: &'a [String],
    /// The subject; `None`, or an empty one, takes `C=US, O=SPIRE`.
    pub subject: Option<&'a DistinguishedName>,
}

/// An X.509-SVID, just signed.
#[derive(Clone, Debug)]
pub struct MintedX509Svid {
    /// The leaf in DER.
    pub leaf: Vec<u8>,
    /// What follows the leaf up to, without it, the root.
    pub intermediates: Arc<[Certificate]>,
    /// End of the leaf's validity.
    pub not_after: Timestamp,
    /// The leaf's serial number.
    pub serial: Serial,
}

impl MintedX509Svid {
    /// The chain in DER, leaf first, without the root.
    #[must_use]
    pub fn chain(&self) -> Vec<Vec<u8>> {
        chain(&self.leaf, &self.intermediates)
    }
}

fn chain(first: &[u8], others: &[Certificate]) -> Vec<Vec<u8>> {
    std::iter::once(first).chain(others.iter().map(Certificate::der)).map(<[u8]>::to_vec).collect()
}

/// Mints an X.509-SVID with the active CA.
///
/// # Errors
/// [`Error::ForeignId`], [`Error::DnsName`] for the request; [`Error::AuthorityExpired`], [`Error::Composer`],
/// [`Error::Lint`], [`Error::KeyManager`] for what the server has to answer for.
///
/// Standard: X509-SVID §2–4.
pub async fn mint_x509_svid(
    authority: &Authority,
    params: &X509SvidParams<'_>,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<MintedX509Svid, Error> {
    template::check_member(params.spiffe_id, authority.trust_domain())?;
    template::check_dns_names(params.dns_names)?;
    let ca = authority.x509();
    check_valid(ca, now)?;
    let serial = Serial::random(rng);
    let (not_before, not_after) = template::validity(now, params.ttl, template::X509_SVID_TTL, ca.not_after());
    let plain = Fields {
        profile: Profile::Svid,
        serial,
        not_before,
        not_after,
        subject: &[],
        public_key: params.public_key,
        dns_names: params.dns_names,
        uri: params.spiffe_id.as_str(),
        policies: &[],
        extra_extensions: &[],
    };
    let tbs = if authority.composers().is_empty() {
        let subject = template::svid_subject(params.subject, params.dns_names);
        Fields { subject: &subject, ..plain }.encode(ca.issuer())
    } else {
        let attributes = X509SvidAttributes {
            subject: template::svid_subject_attributes(params.subject, params.dns_names),
            dns_names: params.dns_names.to_vec(),
            extra_extensions: Vec::new(),
        };
        let composed = authority.composers().x509_svid(params.spiffe_id, params.public_key, attributes).await?;
        template::check_dns_names(&composed.dns_names)?;
        Fields {
            subject: &composed.subject.to_der(),
            dns_names: &composed.dns_names,
            extra_extensions: &composed.extra_extensions,
            ..plain
        }
        .encode(ca.issuer())
    };
    let leaf = sign(lint::x509_svid(tbs, params.spiffe_id, now)?, ca.signer()).await?;
    Ok(MintedX509Svid { leaf, intermediates: Arc::clone(ca.upstream_chain()), not_after, serial })
}

/// What a self-signed CA is made with.
#[derive(Clone, Copy, Debug)]
pub struct SelfSignedCaParams<'a> {
    /// Whose CA it is.
    pub trust_domain: &'a TrustDomain,
    /// The subject; a serial number attribute is added where it has none.
    pub subject: &'a DistinguishedName,
    /// Lifetime from `now`; zero takes [`template::CA_TTL`].
    pub ttl: Ttl,
}

/// Makes the self-signed CA certificate of the key of `signer`.
///
/// # Errors
/// [`Error::UnusableAlgorithm`], [`Error::Composer`], [`Error::Lint`], [`Error::KeyManager`], [`Error::X509`].
pub async fn mint_self_signed_ca(
    params: &SelfSignedCaParams<'_>,
    composers: &Composers,
    signer: &dyn Signer,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Certificate, Error> {
    let serial = Serial::random(rng);
    let attributes =
        X509CaAttributes { subject: template::ca_subject(params.subject, serial), ..X509CaAttributes::default() };
    let attributes = composers.x509_ca(attributes).await?;
    let subject = attributes.subject.to_der();
    let issuer = Issuer::of_itself(signer.algorithm(), &subject)?;
    let (not_before, not_after) = template::validity(now, params.ttl, template::CA_TTL, Timestamp::MAX);
    let tbs = ca_fields(params.trust_domain.id().as_str(), &attributes, &subject, signer.public_key(), serial)
        .valid(not_before, not_after)
        .encode(&issuer);
    let der = sign(lint::x509_ca(tbs, params.trust_domain, now)?, signer).await?;
    Ok(Certificate::from_der(&der)?)
}

/// What a downstream server's CA is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamCaParams<'a> {
    /// The downstream server's key, whose possession was proven.
    pub public_key: &'a PublicKey,
    /// Lifetime from `now`; zero takes [`template::CA_TTL`]. Cut where the issuing CA ends before.
    pub ttl: Ttl,
}

/// A CA certificate for another server, just signed.
#[derive(Clone, Debug)]
pub struct MintedX509Ca {
    /// The CA certificate in DER.
    pub certificate: Vec<u8>,
    /// What follows it up to, without it, the root.
    pub intermediates: Arc<[Certificate]>,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Its serial number.
    pub serial: Serial,
}

impl MintedX509Ca {
    /// The chain in DER, the new CA first, without the root.
    #[must_use]
    pub fn chain(&self) -> Vec<Vec<u8>> {
        chain(&self.certificate, &self.intermediates)
    }
}

/// Mints the CA certificate of a downstream server of the same trust domain.
///
/// # Errors
/// [`Error::AuthorityExpired`], [`Error::Composer`], [`Error::Lint`], [`Error::KeyManager`].
pub async fn mint_downstream_ca(
    authority: &Authority,
    params: &DownstreamCaParams<'_>,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<MintedX509Ca, Error> {
    let ca = authority.x509();
    check_valid(ca, now)?;
    let serial = Serial::random(rng);
    let attributes = X509CaAttributes { subject: template::downstream_ca_subject(ca)?, ..X509CaAttributes::default() };
    let attributes = authority.composers().x509_ca(attributes).await?;
    let (not_before, not_after) = template::validity(now, params.ttl, template::CA_TTL, ca.not_after());
    let subject = attributes.subject.to_der();
    let tbs = ca_fields(authority.trust_domain().id().as_str(), &attributes, &subject, params.public_key, serial)
        .valid(not_before, not_after)
        .encode(ca.issuer());
    let certificate = sign(lint::x509_ca(tbs, authority.trust_domain(), now)?, ca.signer()).await?;
    Ok(MintedX509Ca { certificate, intermediates: Arc::clone(ca.upstream_chain()), not_after, serial })
}

/// Mints the CA certificate that a request asks for, with the request's subject, as an upstream of files does.
///
/// The request's only URI SAN must be the trust domain's ID. Nothing else of it is taken.
///
/// # Errors
/// [`Error::Upstream`] for a request that asks for anything else; otherwise as [`mint_downstream_ca`].
pub(crate) async fn mint_requested_ca(
    ca: &X509Ca,
    csr: &Csr,
    trust_domain: &TrustDomain,
    ttl: Ttl,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Certificate, Error> {
    check_valid(ca, now)?;
    let id = trust_domain.id();
    if csr.uri_sans() != [id.as_str()] {
        return Err(Error::Upstream { reason: format!("request must have the one URI SAN {:?}", id.as_str()) });
    }
    let (not_before, not_after) = template::validity(now, ttl, REQUESTED_CA_TTL, ca.not_after());
    let attributes = X509CaAttributes::default();
    let tbs = ca_fields(id.as_str(), &attributes, csr.subject_der(), csr.public_key(), Serial::random(rng))
        .valid(not_before, not_after)
        .encode(ca.issuer());
    let der = sign(lint::x509_ca(tbs, trust_domain, now)?, ca.signer()).await?;
    Ok(Certificate::from_der(&der)?)
}

/// Lifetime where none is preferred.
const REQUESTED_CA_TTL: Ttl = Ttl::from_hours(1);

fn ca_fields<'a>(
    uri: &'a str,
    attributes: &'a X509CaAttributes,
    subject: &'a [u8],
    public_key: &'a PublicKey,
    serial: Serial,
) -> Fields<'a> {
    Fields {
        profile: Profile::Ca,
        serial,
        not_before: Timestamp::default(),
        not_after: Timestamp::default(),
        subject,
        public_key,
        dns_names: &[],
        uri,
        policies: &attributes.policy_identifiers,
        extra_extensions: &attributes.extra_extensions,
    }
}

impl Fields<'_> {
    fn valid(self, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self { not_before, not_after, ..self }
    }
}

fn check_valid(ca: &X509Ca, now: Timestamp) -> Result<(), Error> {
    if now > ca.not_after() {
        return Err(Error::AuthorityExpired { not_after: ca.not_after(), now });
    }
    Ok(())
}

/// Signs what was checked, and puts the certificate together.
async fn sign(vetted: Vetted<Tbs>, signer: &dyn Signer) -> Result<Vec<u8>, Error> {
    let tbs = vetted.into_inner();
    if tbs.algorithm != signer.algorithm() {
        return Err(Error::Bug("the signer's algorithm is not the one in the certificate"));
    }
    let signature = signer.sign(&tbs.der).await?;
    let algorithm = tbs.algorithm.algorithm_identifier_der().ok_or(Error::UnusableAlgorithm)?;
    let bits = signature.len() + 1;
    let contents = tbs.der.len() + algorithm.len() + asn1::element_length(bits);
    let mut der = Vec::with_capacity(asn1::element_length(contents));
    asn1::push_header(&mut der, asn1::SEQUENCE, contents);
    der.extend_from_slice(&tbs.der);
    der.extend_from_slice(algorithm);
    asn1::push_header(&mut der, asn1::BIT_STRING, bits);
    der.push(0);
    der.extend_from_slice(&signature);
    Ok(der)
}
