//! What a chain does otherwise than the standard says, where readers still accept it.

use super::Certificate;

/// A rule that issuers have to hold and verifiers tolerate; worth a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deviation {
    /// A leaf without basic constraints (X509-SVID §4.1: they say that it is no CA).
    LeafWithoutBasicConstraints,
    /// Key usage that is not critical (X509-SVID §4.3).
    KeyUsageNotCritical,
    /// A leaf whose extended key usage is missing, or has one of its two purposes alone (X509-SVID §4.4).
    SinglePurpose,
    /// A CA without key usage (X509-SVID §4.3).
    CaWithoutKeyUsage,
    /// A CA whose SPIFFE ID has a path (X509-SVID §3.2).
    CaIdWithPath,
    /// A CA with several URI SANs (X509-SVID §2).
    CaWithSeveralUris,
}

/// The deviations of a chain, leaf first; each names the certificate by its position.
///
/// Standard: X509-SVID §2, §3.2, §4.
pub fn deviations(chain: &[Certificate]) -> impl Iterator<Item = (usize, Deviation)> + '_ {
    chain.iter().enumerate().flat_map(|(at, certificate)| {
        let found = if certificate.is_ca() { of_ca(certificate) } else { of_leaf(certificate) };
        let critical = certificate.key_usage().is_none_or(|usage| usage.critical);
        let key_usage = (!critical).then_some(Deviation::KeyUsageNotCritical);
        found.into_iter().flatten().chain(key_usage).map(move |deviation| (at, deviation))
    })
}

fn of_leaf(leaf: &Certificate) -> [Option<Deviation>; 2] {
    let both = leaf.extended_key_usage().is_some_and(|usage| usage.client_auth && usage.server_auth);
    [
        (!leaf.has_basic_constraints()).then_some(Deviation::LeafWithoutBasicConstraints),
        (!both).then_some(Deviation::SinglePurpose),
    ]
}

fn of_ca(ca: &Certificate) -> [Option<Deviation>; 2] {
    let id = match ca.uri_sans() {
        [] => None,
        // An authority's own ID ends where its path would begin.
        [uri] => {
            uri.strip_prefix("spiffe://").is_some_and(|rest| rest.contains('/')).then_some(Deviation::CaIdWithPath)
        }
        _ => Some(Deviation::CaWithSeveralUris),
    };
    [id, ca.key_usage().is_none().then_some(Deviation::CaWithoutKeyUsage)]
}
