//! Chains, verified up to a bundle.
//!
//! webpki walks the path and checks signatures, dates, names and critical extensions. Above it stand the rules it
//! leaves to others: roots must be valid and allowed to sign, signers need keyCertSign, a root's path length counts,
//! and the leaf must be an SVID. Chains that it refuses one and all, those with URI name constraints, are judged by
//! [`super::path`].

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::EndEntityCert;

use super::path::Search;
use super::{Certificate, MAX_CHAIN_LENGTH, Purpose, X509Error, check_leaf};
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
    verify_svid_for(Purpose::Either, chain, bundles, now)
}

/// As [`verify_svid`], for the part that the peer plays.
///
/// # Errors
/// As [`verify_svid`]; [`X509Error::Purpose`] where the leaf is not meant for that part.
pub fn verify_svid_for(
    purpose: Purpose,
    chain: &[Certificate],
    bundles: &BundleSet,
    now: Timestamp,
) -> Result<SpiffeId, X509Error> {
    let leaf = chain.first().ok_or(X509Error::NoCertificate)?;
    let id = check_leaf(leaf)?;
    let trust_domain = id.trust_domain();
    let bundle = bundles.get(&trust_domain).ok_or(X509Error::NoBundle { trust_domain })?;
    verify_for(purpose, chain, bundle.x509_authorities.iter().map(|authority| &authority.certificate), now)?;
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
    verify_for(Purpose::Any, chain, roots, now)
}

fn verify_for<'a>(
    purpose: Purpose,
    chain: &[Certificate],
    roots: impl IntoIterator<Item = &'a Certificate>,
    now: Timestamp,
) -> Result<(), X509Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(X509Error::NoCertificate)?;
    if chain.len() > MAX_CHAIN_LENGTH {
        return Err(X509Error::ChainTooLong { length: chain.len() });
    }
    leaf.check_validity(now)?;
    purpose.check(leaf)?;
    let roots: Vec<&Certificate> =
        roots.into_iter().filter(|root| root.check_validity(now).is_ok() && may_be_root(root)).collect();
    let intermediates: Vec<&Certificate> = intermediates
        .iter()
        .filter(|certificate| certificate.may_sign_certificates() && !roots.contains(certificate))
        .collect();
    let search = Search { intermediates: &intermediates, roots: &roots, now, purpose };
    if search.is_needed(leaf) { search.run(leaf) } else { by_webpki(leaf, &search) }
}

fn by_webpki(leaf: &Certificate, search: &Search<'_>) -> Result<(), X509Error> {
    let anchors: Vec<TrustAnchor<'_>> = search.roots.iter().filter_map(|root| root.anchor()).map(borrowed).collect();
    let signers: Vec<CertificateDer<'_>> =
        search.intermediates.iter().map(|certificate| CertificateDer::from(certificate.der())).collect();
    let leaf = EndEntityCert::try_from(leaf.as_pki_der()).map_err(|err| chain_error(&err))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(search.now.as_unix()).unwrap_or(0)));
    let path_length_holds = |path: &webpki::VerifiedPath<'_>| {
        let signers = path.intermediate_certificates().count();
        let anchor = path.anchor();
        let holds = search.roots.iter().any(|root| {
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
        search.purpose,
        None,
        Some(&path_length_holds),
    )
    .map(|_| ())
    .map_err(|err| chain_error(&err))
}

fn chain_error(err: &webpki::Error) -> X509Error {
    use webpki::Error;
    let clause = match err {
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => "RFC 5280 §6.1.3(a)(1)",
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity => {
            "RFC 5280 §6.1.3(a)(2)"
        }
        Error::UnknownIssuer => "RFC 5280 §6.1.3(a)(4)",
        Error::UnsupportedCriticalExtension => "RFC 5280 §4.2",
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => "RFC 5280 §4.2.1.9",
        Error::NameConstraintViolation | Error::MalformedNameConstraint => "RFC 5280 §4.2.1.10",
        Error::RequiredEkuNotFoundContext(_) => return X509Error::Purpose,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "RFC 5280 §6.1.3(a)(1)"
        }
        _ => "",
    };
    X509Error::chain(&err.to_string(), clause)
}

/// A root must be a CA that may sign certificates, as every bundle's authority is (X509-SVID §4.1, §4.3).
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::*;

    fn certificates(value: &Value) -> Vec<Certificate> {
        Certificate::from_der_many(&STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap_or_default()
    }

    /// Our own search against webpki, on all vectors that webpki can judge: the same is accepted.
    #[test]
    fn both_searches_judge_alike() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/x509_svid.json");
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for vector in file["vectors"].as_array().unwrap() {
            let chain = certificates(&vector["input"]["chain"]);
            let Some((leaf, rest)) = chain.split_first() else { continue };
            let roots: Vec<Certificate> = vector["input"]["bundles"]
                .as_object()
                .unwrap()
                .values()
                .flat_map(|roots| roots.as_array().unwrap().iter().flat_map(certificates))
                .collect();
            let now = Timestamp::from_unix(vector["input"]["now"].as_i64().unwrap());
            let roots: Vec<&Certificate> = roots.iter().filter(|root| may_be_root(root)).collect();
            let intermediates: Vec<&Certificate> =
                rest.iter().filter(|signer| signer.may_sign_certificates() && !roots.contains(signer)).collect();
            let search = Search { intermediates: &intermediates, roots: &roots, now, purpose: Purpose::Either };
            // webpki wants its leaf to be none and its validity now; we check both before either search.
            if leaf.is_ca() || search.is_needed(leaf) {
                continue;
            }
            let (ours, theirs) = (search.run(leaf), by_webpki(leaf, &search));
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {ours:?}, {theirs:?}", vector["id"]);
            *(if ours.is_ok() { &mut accepted } else { &mut refused }) += 1;
        }
        assert!(accepted > 40 && refused > 15, "{accepted} {refused}");
    }

    /// A CA and a leaf as Go makes them where nobody has set a beginning: valid from the year 1 to 2090.
    const OF_GO: &str = "\
-----BEGIN CERTIFICATE-----
MIIBVDCB+6ADAgECAgEBMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMTBW5vZGVzMCIY
DzAwMDEwMTAxMDAwMDAwWhgPMjA5MDAxMDEwMDAwMDBaMBAxDjAMBgNVBAMTBW5v
ZGVzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEN7mV9jH+Es9anMnl8EdpJtfr
0UtOfJy/olIs/nRVYbQ/knCXvtbOUoAteWL8azppqn+RQGs3lSvdZWr6psUrC6NC
MEAwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFFwN
4nRYjzJKQHkIl6nl9cLaIn3LMAoGCCqGSM49BAMCA0gAMEUCIGiGMqeurCxR5Vuw
c/WYi2DtpFmi6y3MXo3S3rjRo2CSAiEAo6tuYQywt+DVjXF6X493W0bYf9+WmNUZ
FwrQaSe7Yw4=
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBRDCB66ADAgECAgECMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMTBW5vZGVzMCIY
DzAwMDEwMTAxMDAwMDAwWhgPMjA5MDAxMDEwMDAwMDBaMA8xDTALBgNVBAMTBG5v
ZGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR4xxHnSmXTIVrvm9cRLtFnjoZZ
TqLW0QnLwYRuHRvYw7PkjtnGDI/UMbeyiN6wWpYzJrP+WNDkF9MToWDuIPCWozMw
MTAOBgNVHQ8BAf8EBAMCB4AwHwYDVR0jBBgwFoAUXA3idFiPMkpAeQiXqeX1wtoi
fcswCgYIKoZIzj0EAwIDSAAwRQIgTp+Wm9t8yTRxST1CVBdlxUl2irX0fgrQokPa
rJqhLzcCIQCAF+Ood7psFGEr3vHGAtFoJaG22pUf4wZvL4FD5oy0dA==
-----END CERTIFICATE-----";

    #[test]
    fn a_beginning_before_1970_is_no_reason_to_refuse() {
        let certificates = Certificate::from_pem_many(OF_GO).unwrap();
        let [root, leaf] = &certificates[..] else { unreachable!() };
        let judge = |leaf: &Certificate, now| verify_chain(std::slice::from_ref(leaf), [root], now);
        judge(leaf, Timestamp::from_unix(1_790_000_000)).unwrap();
        judge(leaf, Timestamp::from_unix(4_000_000_000)).unwrap_err();
        let mut forged = leaf.der().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        judge(&Certificate::from_der(&forged).unwrap(), Timestamp::from_unix(1_790_000_000)).unwrap_err();
    }
}
