//! Chains, verified up to a bundle.
//!
//! webpki walks the path and checks signatures, dates, names and critical extensions. Above it stand the rules it
//! leaves to others: roots must be valid and allowed to sign, signers need keyCertSign, a root's path length counts,
//! and the leaf must be an SVID. Any extended key usage passes, as in the other SPIFFE libraries.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::{Certificate, MAX_CHAIN_LENGTH, X509Error, check_leaf};
use crate::bundle::BundleSet;
use crate::id::SpiffeId;
use crate::time::Timestamp;

/// Verifies an X.509-SVID, leaf first, against the bundle of its own trust domain, and returns its ID.
///
/// Standard: X509-SVID §5.
///
/// # Errors
/// [`X509Error`] names what is wrong; [`X509Error::NoBundle`] when nothing is known of the trust domain.
pub fn verify_svid(chain: &[Certificate], bundles: &BundleSet, now: Timestamp) -> Result<SpiffeId, X509Error> {
    let leaf = chain.first().ok_or(X509Error::NoCertificate)?;
    let id = check_leaf(leaf)?;
    let trust_domain = id.trust_domain();
    let bundle = bundles.get(&trust_domain).ok_or(X509Error::NoBundle { trust_domain })?;
    verify_chain(chain, bundle.x509_authorities.iter().map(|authority| &authority.certificate), now)?;
    Ok(id)
}

/// Verifies a chain, leaf first, up to one of `roots`.
///
/// # Errors
/// [`X509Error::Chain`] when no valid path leads there, [`X509Error::Expired`] and [`X509Error::NotYetValid`] for the
/// leaf.
pub fn verify_chain<'a>(
    chain: &[Certificate],
    roots: impl IntoIterator<Item = &'a Certificate>,
    now: Timestamp,
) -> Result<(), X509Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(X509Error::NoCertificate)?;
    if chain.len() > MAX_CHAIN_LENGTH {
        return Err(X509Error::ChainTooLong { length: chain.len() });
    }
    leaf.check_validity(now)?;
    let roots: Vec<&Certificate> =
        roots.into_iter().filter(|root| root.check_validity(now).is_ok() && may_be_root(root)).collect();
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().filter_map(|root| root.anchor()).map(borrowed).collect();
    let signers: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .filter(|certificate| certificate.may_sign_certificates())
        .map(|certificate| CertificateDer::from(certificate.der()))
        .collect();
    let chain_error = |err: webpki::Error| X509Error::Chain { reason: err.to_string() };
    let leaf = EndEntityCert::try_from(leaf.as_pki_der()).map_err(chain_error)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_unix()).unwrap_or(0)));
    let path_length_holds = |path: &webpki::VerifiedPath<'_>| {
        let signers = path.intermediate_certificates().count();
        let anchor = path.anchor();
        let holds = roots.iter().any(|root| {
            root.anchor().is_some_and(|own| {
                own.subject == anchor.subject && own.subject_public_key_info == anchor.subject_public_key_info
            }) && root.path_length().is_none_or(|most| usize::try_from(most).is_ok_and(|most| signers <= most))
        });
        if holds { Ok(()) } else { Err(webpki::Error::PathLenConstraintViolated) }
    };
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &signers,
        time,
        AnyPurpose,
        None,
        Some(&path_length_holds),
    )
    .map(|_| ())
    .map_err(chain_error)
}

/// A root must be a CA that may sign certificates, as every bundle.s authority is (X509-SVID §4.1, §4.3).
fn may_be_root(root: &Certificate) -> bool {
    root.may_sign_certificates()
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'static>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: anchor.subject.as_ref().into(),
        subject_public_key_info: anchor.subject_public_key_info.as_ref().into(),
        name_constraints: anchor.name_constraints.as_ref().map(|constraints| constraints.as_ref().into()),
    }
}

struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
