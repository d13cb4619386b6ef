//! What an X.509-SVID's leaf must look like.

use super::{Certificate, X509Error};
use crate::id::SpiffeId;
use crate::key::PublicKeyKind;

/// Checks the leaf of an X.509-SVID and returns its SPIFFE ID.
///
/// Standard: X509-SVID §2 (one URI SAN, a SPIFFE ID; critical where the subject is empty), §4.1 (no CA), §4.3 (key
/// usage), §5.2 (leaf validation); RFC 7518 §3.3 (no short RSA keys).
///
/// # Errors
/// [`X509Error`] names the rule.
pub fn check_leaf(leaf: &Certificate) -> Result<SpiffeId, X509Error> {
    let id = leaf.spiffe_id()?;
    if id.path().is_empty() {
        return Err(X509Error::LeafWithoutPath);
    }
    if leaf.is_ca() {
        return Err(X509Error::LeafIsCa);
    }
    if leaf.is_nameless() {
        return Err(X509Error::Nameless);
    }
    if let PublicKeyKind::Rsa { .. } = leaf.public_key().kind() {
        leaf.public_key().check_strength()?;
    }
    let usage = leaf.key_usage().ok_or(X509Error::LeafKeyUsage { rule: "has no key usage" })?;
    if usage.key_cert_sign() {
        return Err(X509Error::LeafKeyUsage { rule: "has key usage keyCertSign" });
    }
    if usage.crl_sign() {
        return Err(X509Error::LeafKeyUsage { rule: "has key usage cRLSign" });
    }
    if !usage.digital_signature() {
        return Err(X509Error::LeafKeyUsage { rule: "lacks key usage digitalSignature" });
    }
    Ok(id)
}
