//! What an upstream answers is proven before it is used.

use std::sync::Arc;

use rand_core::CryptoRng;
use spiffe_core::x509::{self, Certificate};
use spiffe_core::{Timestamp, TrustDomain, Ttl};
use spire_keymanager::Signer;

use super::UpstreamCa;
use crate::Error;
use crate::authority::{Authority, X509Ca};
use crate::composer::Composers;
use crate::x509::{X509SvidParams, mint_x509_svid};

/// Proves that SVIDs below the CA verify: it is one for the key of `signer`, names the trust domain or nobody, and a
/// throwaway SVID that it signs leads through the chain to one of the roots.
///
/// # Errors
/// [`Error::NotAnAuthority`], [`Error::KeyMismatch`], or [`Error::X509`] for a chain that does not verify.
pub async fn check(
    answer: &UpstreamCa,
    trust_domain: &TrustDomain,
    signer: Arc<dyn Signer>,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<(), Error> {
    let certificate = answer.chain.first().ok_or(Error::NotAnAuthority { reason: "upstream answered no chain" })?;
    if answer.roots.is_empty() {
        return Err(Error::NotAnAuthority { reason: "upstream answered no roots" });
    }
    match certificate.uri_sans() {
        [] => {}
        [uri] if *uri == trust_domain.id().as_str() => {}
        _ => return Err(Error::NotAnAuthority { reason: "its URI SAN is not the trust domain's ID" }),
    }
    certificate.check_validity(now)?;
    let ca = X509Ca::new(certificate.clone(), answer.chain.clone(), signer)?;
    prove(Arc::new(ca), answer.roots.iter().map(|root| &root.certificate), trust_domain, now, rng).await
}

/// Proves that an SVID that the CA signs leads through its chain to one of the roots.
pub(super) async fn prove(
    ca: Arc<X509Ca>,
    roots: impl Iterator<Item = &Certificate> + Send,
    trust_domain: &TrustDomain,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<(), Error> {
    let id = trust_domain.join("/spire/throwaway").map_err(|_| Error::Bug("the throwaway ID is not valid"))?;
    let public_key = ca.certificate().public_key().clone();
    let params =
        X509SvidParams { spiffe_id: &id, public_key: &public_key, ttl: Ttl::ZERO, dns_names: &[], subject: None };
    let authority = Authority::new(trust_domain.clone(), ca, None, Composers::default());
    let minted = mint_x509_svid(&authority, &params, now, rng).await?;
    let chain = minted.chain().iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    x509::verify_chain(&chain, roots, now)?;
    Ok(())
}
