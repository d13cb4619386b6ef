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

/// Proves that SVIDs below the CA verify, and will for its whole life: it is one for the key of `signer`, nobody in the
/// chain names another trust domain or outlives its issuer, and a throwaway SVID that the CA signs leads through the
/// chain, path lengths and all, to one of the roots that is not tainted.
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
    let sound = || answer.roots.iter().filter(|root| !root.tainted).map(|root| &root.certificate);
    if sound().next().is_none() {
        return Err(Error::NotAnAuthority { reason: "all roots of the upstream are tainted" });
    }
    check_names(&answer.chain, trust_domain)?;
    check_lifetimes(&answer.chain, sound())?;
    certificate.check_validity(now)?;
    let ca = X509Ca::new(certificate.clone(), answer.chain.clone(), signer)?;
    prove(Arc::new(ca), sound(), trust_domain, now, rng).await
}

fn check_names(chain: &[Certificate], trust_domain: &TrustDomain) -> Result<(), Error> {
    let fits = |certificate: &Certificate| match certificate.uri_sans() {
        [] => true,
        [uri] => *uri == trust_domain.id().as_str(),
        _ => false,
    };
    if chain.iter().all(fits) {
        Ok(())
    } else {
        Err(Error::NotAnAuthority { reason: "a URI SAN in its chain is not the trust domain's ID" })
    }
}

/// Whatever the CA signs is cut at the CA's end, which therefore has to be the first end in the chain.
fn check_lifetimes<'a>(chain: &[Certificate], mut roots: impl Iterator<Item = &'a Certificate>) -> Result<(), Error> {
    let issuers = chain.iter().skip(1);
    let last_is_covered = chain.last().is_some_and(|last| {
        roots.any(|root| root.subject_der() == last.issuer_der() && last.not_after() <= root.not_after())
    });
    if chain.iter().zip(issuers).any(|(issued, issuer)| issued.not_after() > issuer.not_after()) || !last_is_covered {
        return Err(Error::NotAnAuthority { reason: "it outlives what has signed it, or no sound root has" });
    }
    Ok(())
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
