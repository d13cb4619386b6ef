//! Bundles and their masks.

use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, JwtAuthority, PublicKey, Timestamp, TrustDomain, Ttl, X509Authority};
use spire_types::BundleMask;

use super::{ConvertError, time};
use crate::proto::types;

/// A bundle that somebody gives to the server. Tainting is the server's own to say: what the message says of it is
/// ignored.
///
/// # Errors
/// The part that is malformed.
pub fn from_request(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let mut bundle = from_proto(wire)?;
    bundle.x509_authorities.iter_mut().for_each(|authority| authority.tainted = false);
    bundle.jwt_authorities.iter_mut().for_each(|authority| authority.tainted = false);
    Ok(bundle)
}

/// A bundle as a server hands it out.
///
/// # Errors
/// The part that is malformed.
pub fn from_proto(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let trust_domain = TrustDomain::parse_name_or_id(&wire.trust_domain)
        .map_err(|err| ConvertError::in_field("invalid trust domain", err))?;
    let mut bundle = Bundle::new(trust_domain);
    bundle.x509_authorities = x509_authorities(&wire.x509_authorities)
        .map_err(|err| ConvertError::in_field("unable to parse X.509 authority", err))?;
    bundle.jwt_authorities = jwt_authorities(&wire.jwt_authorities)
        .map_err(|err| ConvertError::in_field("unable to parse JWT authority", err))?;
    bundle.refresh_hint = u64::try_from(wire.refresh_hint).ok().filter(|hint| *hint > 0).map(Ttl::from_secs);
    bundle.sequence_number = wire.sequence_number;
    Ok(bundle)
}

/// Root certificates; one blob may hold several, one after the other.
///
/// # Errors
/// When one does not parse.
pub fn x509_authorities(wire: &[types::X509Certificate]) -> Result<Vec<X509Authority>, ConvertError> {
    let mut authorities = Vec::new();
    for blob in wire {
        let certificates = Certificate::from_der_many(&blob.asn1).map_err(|err| ConvertError::new(err.to_string()))?;
        authorities
            .extend(certificates.into_iter().map(|certificate| X509Authority { certificate, tainted: blob.tainted }));
    }
    Ok(authorities)
}

/// Keys that sign JWT-SVIDs.
///
/// # Errors
/// As [`jwt_authority`].
pub fn jwt_authorities(wire: &[types::JwtKey]) -> Result<Vec<JwtAuthority>, ConvertError> {
    wire.iter().map(jwt_authority).collect()
}

/// A key that signs JWT-SVIDs.
///
/// # Errors
/// When the ID is missing or the key does not parse.
pub fn jwt_authority(wire: &types::JwtKey) -> Result<JwtAuthority, ConvertError> {
    let public_key = PublicKey::from_spki_der(&wire.public_key).map_err(|err| ConvertError::new(err.to_string()))?;
    if wire.key_id.is_empty() {
        return Err(ConvertError::new("missing key ID"));
    }
    Ok(JwtAuthority {
        key_id: wire.key_id.clone(),
        public_key,
        expires_at: time(wire.expires_at),
        tainted: wire.tainted,
    })
}

/// To the wire.
#[must_use]
pub fn jwt_authority_to_proto(authority: &JwtAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: authority.public_key.spki_der().to_vec().into(),
        key_id: authority.key_id.clone(),
        expires_at: authority.expires_at.map_or(0, Timestamp::as_unix),
        tainted: authority.tainted,
    }
}

/// Which parts of a bundle a request changes; an absent mask means all.
#[must_use]
pub fn mask_from_proto(mask: Option<&types::BundleMask>) -> BundleMask {
    mask.map_or(BundleMask::ALL, |mask| BundleMask {
        x509_authorities: mask.x509_authorities,
        jwt_authorities: mask.jwt_authorities,
        refresh_hint: mask.refresh_hint,
        sequence_number: mask.sequence_number,
    })
}

/// To the wire, with the fields that `mask` names; an absent mask means all.
#[must_use]
pub fn to_proto(bundle: &Bundle, mask: Option<&types::BundleMask>) -> types::Bundle {
    let all = types::BundleMask {
        x509_authorities: true,
        jwt_authorities: true,
        refresh_hint: true,
        sequence_number: true,
        wit_authorities: true,
    };
    let mask = mask.unwrap_or(&all);
    let x509 = bundle.x509_authorities.iter().map(|authority| types::X509Certificate {
        asn1: authority.certificate.der().to_vec().into(),
        tainted: authority.tainted,
    });
    types::Bundle {
        trust_domain: bundle.trust_domain.to_string(),
        x509_authorities: if mask.x509_authorities { x509.collect() } else { Vec::new() },
        jwt_authorities: if mask.jwt_authorities {
            bundle.jwt_authorities.iter().map(jwt_authority_to_proto).collect()
        } else {
            Vec::new()
        },
        refresh_hint: bundle
            .refresh_hint
            .filter(|_| mask.refresh_hint)
            .map_or(0, |hint| i64::try_from(hint.as_secs()).unwrap_or(i64::MAX)),
        sequence_number: if mask.sequence_number { bundle.sequence_number } else { 0 },
        wit_authorities: Vec::new(),
    }
}
