//! Paths that webpki cannot judge: those with URI name constraints, with self-issued CAs, or with dates before 1970, which
//! Go writes where nobody has set one.
//!
//! The same search by the same rules (RFC 5280 §6.1), which a test holds against webpki on all other chains. See
//! docs/adr/0005-uri-name-constraints.md.

use super::names::Budget;
use super::{Certificate, Purpose, X509Error};
use crate::key::KeyError;
use crate::time::Timestamp;

const SIGNATURE: &str = "RFC 5280 §6.1.3(a)(1)";
/// Most intermediates on one path, as in webpki.
const MAX_INTERMEDIATES: usize = 6;
/// Most signatures that one search verifies, as in webpki.
const MAX_SIGNATURES: u32 = 100;

/// What a search works with.
pub(super) struct Search<'a> {
    pub(super) intermediates: &'a [&'a Certificate],
    pub(super) roots: &'a [&'a Certificate],
    pub(super) now: Timestamp,
    pub(super) purpose: Purpose,
}

struct Limits {
    signatures: u32,
    comparisons: Budget,
}

impl<'a> Search<'a> {
    /// Whether `leaf` or one of the others is of the kind that webpki cannot judge.
    pub(super) fn is_needed(&self, leaf: &Certificate) -> bool {
        let is_old = |certificate: &Certificate| certificate.not_before() < Timestamp::from_unix(0);
        let judges_uris = |certificate: &&&Certificate| {
            certificate.name_constraints().is_some_and(super::names::NameConstraints::judge_uris)
        };
        is_old(leaf)
            || self.intermediates.iter().any(|certificate| certificate.is_self_issued() || is_old(certificate))
            || self.intermediates.iter().chain(self.roots).any(|certificate| judges_uris(&certificate))
    }

    /// Looks for a path from `leaf` to a root that holds all rules.
    pub(super) fn run(&self, leaf: &'a Certificate) -> Result<(), X509Error> {
        self.check_by_itself(leaf)?;
        let mut limits = Limits { signatures: MAX_SIGNATURES, comparisons: Budget::default() };
        self.extend(&mut vec![leaf], &mut limits).map_err(|stop| match stop {
            Stop::Here(err) | Stop::Altogether(err) => err,
        })
    }

    fn extend(&self, path: &mut Vec<&'a Certificate>, limits: &mut Limits) -> Result<(), Stop> {
        let Some(&head) = path.last() else { return Err(Stop::Here(unknown_issuer())) };
        let mut failure = None;
        for root in self.roots.iter().filter(|root| root.subject_der() == head.issuer_der()) {
            let checked = signed_by(head, root, limits).and_then(|()| check_path(path, root, limits));
            match checked {
                Ok(()) => return Ok(()),
                Err(Stop::Here(err)) => keep(&mut failure, err),
                Err(altogether) => return Err(altogether),
            }
        }
        for issuer in self.intermediates.iter().filter(|issuer| issuer.subject_der() == head.issuer_der()) {
            let visited = path
                .iter()
                .any(|known| known.public_key() == issuer.public_key() && known.subject_der() == issuer.subject_der());
            if visited || path.len() > MAX_INTERMEDIATES {
                continue;
            }
            let extended = self.check_by_itself(issuer).map_err(Stop::Here).and_then(|()| {
                signed_by(head, issuer, limits)?;
                path.push(issuer);
                let result = self.extend(path, limits);
                path.pop();
                result
            });
            match extended {
                Ok(()) => return Ok(()),
                Err(Stop::Here(err)) => keep(&mut failure, err),
                Err(altogether) => return Err(altogether),
            }
        }
        Err(Stop::Here(failure.unwrap_or_else(unknown_issuer)))
    }

    /// What does not depend on the issuer.
    fn check_by_itself(&self, certificate: &Certificate) -> Result<(), X509Error> {
        certificate.check_validity(self.now)?;
        if certificate.has_unknown_critical_extension() {
            return Err(X509Error::chain("unknown critical extension", "RFC 5280 §4.2"));
        }
        self.purpose.check(certificate)
    }
}

/// Of several failures the one that is told: a wrong signature says least, it may be of another CA of that name.
fn keep(failure: &mut Option<X509Error>, err: X509Error) {
    if failure.is_none() || err.clause() != SIGNATURE {
        *failure = Some(err);
    }
}

/// Why a search ends: on this path, or on all of them.
enum Stop {
    Here(X509Error),
    Altogether(X509Error),
}

fn unknown_issuer() -> X509Error {
    X509Error::chain("no path to an authority", "RFC 5280 §6.1.3(a)(4)")
}

fn signed_by(certificate: &Certificate, issuer: &Certificate, limits: &mut Limits) -> Result<(), Stop> {
    let spent = || Stop::Altogether(X509Error::chain("too many signatures to verify", ""));
    limits.signatures = limits.signatures.checked_sub(1).ok_or_else(spent)?;
    let unknown = KeyError::Unsupported { what: "this signature algorithm" };
    certificate
        .signature_algorithm()
        .ok_or(unknown)
        .and_then(|algorithm| issuer.public_key().verify(algorithm, certificate.tbs_der(), certificate.signature()))
        .map_err(|err| Stop::Here(X509Error::chain(&err.to_string(), SIGNATURE)))
}

/// What each CA, the root included, says of everything below it.
fn check_path(path: &[&Certificate], root: &Certificate, limits: &mut Limits) -> Result<(), Stop> {
    let counts = |certificate: &&&Certificate| !certificate.is_self_issued();
    for (depth, ca) in path.iter().chain([&root]).enumerate().skip(1) {
        let below = path.get(..depth).unwrap_or_default();
        let (leaf, intermediates) = below.split_first().ok_or_else(|| Stop::Here(unknown_issuer()))?;
        let count = intermediates.iter().filter(counts).count();
        if ca.path_length().is_some_and(|most| usize::try_from(most).is_ok_and(|most| count > most)) {
            return Err(Stop::Here(X509Error::chain("path length constraint is violated", "RFC 5280 §4.2.1.9")));
        }
        let Some(constraints) = ca.name_constraints() else { continue };
        // Self-issued intermediates are exempt, the leaf never is (RFC 5280 §6.1.3(b)).
        for certificate in intermediates.iter().filter(counts).chain([leaf]) {
            constraints.check(certificate, &mut limits.comparisons).map_err(Stop::Here)?;
        }
    }
    Ok(())
}
