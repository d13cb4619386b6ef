//! Which certificates stand above a verified leaf, in all the ways it can be verified.
//!
//! Path validation itself is `spiffe_core`'s; it proves that there is a path and does not say which. Here every path is
//! found by following names and checking each signature, so that an agent cannot slip a foreign certificate into it.

use spiffe_core::{
    Timestamp,
    x509::{Certificate, verify_chain},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates above `leaf` in every verified path to one of `roots`, roots included, each once.
pub(super) fn above(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    now: Timestamp,
) -> Vec<Certificate> {
    let mut search = Search { intermediates, roots, now, checks_left: MAX_SIGNATURE_CHECKS, found: Vec::new() };
    search.extend(&mut vec![leaf.clone()]);
    search.found
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    roots: &'a [Certificate],
    now: Timestamp,
    checks_left: u32,
    found: Vec<Certificate>,
}

impl Search<'_> {
    /// Goes on from the last certificate of `path`.
    fn extend(&mut self, path: &mut Vec<Certificate>) {
        let Some(last) = path.last().cloned() else { return };
        for root in self.roots {
            if self.signed(&last, root) && verify_chain(path, [root], self.now).is_ok() {
                for certificate in path.iter().skip(1).chain([root]) {
                    if !self.found.contains(certificate) {
                        self.found.push(certificate.clone());
                    }
                }
            }
        }
        for intermediate in self.intermediates {
            if !path.contains(intermediate) && !self.roots.contains(intermediate) && self.signed(&last, intermediate) {
                path.push(intermediate.clone());
                self.extend(path);
                path.pop();
            }
        }
    }

    /// Whether `issuer` signed `subject`.
    fn signed(&mut self, subject: &Certificate, issuer: &Certificate) -> bool {
        if subject.issuer_der() != issuer.subject_der() || self.checks_left == 0 {
            return false;
        }
        self.checks_left -= 1;
        let (Ok((_, parsed)), Some(algorithm)) =
            (X509Certificate::from_der(subject.der()), subject.signature_algorithm())
        else {
            return false;
        };
        issuer.public_key().verify(algorithm, subject.tbs_der(), &parsed.signature_value.data).is_ok()
    }
}

/// Bounds what an agent can make the server compute by sending certificates of equal names.
const MAX_SIGNATURE_CHECKS: u32 = 100;
