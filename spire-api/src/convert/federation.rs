//! Federation relationships.

use spiffe_core::{Bundle, SpiffeId, TrustDomain};
use spire_types::{EndpointProfile, FederationRelationship};

use super::{ConvertError, bundle};
use crate::proto::types;
use crate::proto::types::federation_relationship::BundleEndpointProfile as Wire;

/// A relationship, and the bundle that was sent along with it.
///
/// # Errors
/// The part that is malformed.
pub fn from_proto(
    wire: &types::FederationRelationship,
) -> Result<(FederationRelationship, Option<Bundle>), ConvertError> {
    let trust_domain = TrustDomain::parse_name_or_id(&wire.trust_domain)
        .map_err(|err| ConvertError::in_field("failed to parse trust domain", err))?;
    check_endpoint_url(&wire.bundle_endpoint_url)?;
    let profile = match &wire.bundle_endpoint_profile {
        None => return Err(ConvertError::new("bundle endpoint profile must be specified")),
        Some(Wire::HttpsWeb(_)) => EndpointProfile::HttpsWeb,
        Some(Wire::HttpsSpiffe(profile)) => EndpointProfile::HttpsSpiffe {
            endpoint_id: SpiffeId::parse(&profile.endpoint_spiffe_id)
                .map_err(|err| ConvertError::in_field("failed to parse endpoint SPIFFE ID", err))?,
        },
    };
    let bundle = wire.trust_domain_bundle.as_ref().map(bundle::from_request).transpose()?;
    if bundle.as_ref().is_some_and(|bundle| bundle.trust_domain != trust_domain) {
        return Err(ConvertError::new("trust domain bundle does not match the relationship's trust domain"));
    }
    let bundle_endpoint_url = wire.bundle_endpoint_url.clone();
    Ok((FederationRelationship { trust_domain, bundle_endpoint_url, profile }, bundle))
}

/// Checks the URL of a bundle endpoint: https, with a host, without user information.
///
/// # Errors
/// The rule it breaks.
pub fn check_endpoint_url(url: &str) -> Result<(), ConvertError> {
    let uri: tonic::codegen::http::Uri =
        url.parse().map_err(|err| ConvertError::in_field("failed to parse bundle endpoint URL", err))?;
    if uri.scheme_str() != Some("https") {
        return Err(ConvertError::new("bundle endpoint URL must use the https scheme"));
    }
    let authority = uri.authority().map_or("", tonic::codegen::http::uri::Authority::as_str);
    if uri.host().unwrap_or_default().is_empty() {
        return Err(ConvertError::new("bundle endpoint URL must specify the host"));
    }
    if authority.contains('@') {
        return Err(ConvertError::new("bundle endpoint URL must not contain user info"));
    }
    Ok(())
}

/// To the wire, with the fields that `mask` names; an absent mask means all.
#[must_use]
pub fn to_proto(
    relationship: &FederationRelationship,
    own_bundle: Option<&Bundle>,
    mask: Option<&types::FederationRelationshipMask>,
) -> types::FederationRelationship {
    let all = types::FederationRelationshipMask {
        bundle_endpoint_url: true,
        bundle_endpoint_profile: true,
        trust_domain_bundle: true,
    };
    let mask = mask.unwrap_or(&all);
    let profile = match &relationship.profile {
        EndpointProfile::HttpsSpiffe { endpoint_id } => {
            Wire::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id: endpoint_id.to_string() })
        }
        _ => Wire::HttpsWeb(types::HttpsWebProfile {}),
    };
    types::FederationRelationship {
        trust_domain: relationship.trust_domain.to_string(),
        bundle_endpoint_url: if mask.bundle_endpoint_url {
            relationship.bundle_endpoint_url.clone()
        } else {
            String::new()
        },
        bundle_endpoint_profile: mask.bundle_endpoint_profile.then_some(profile),
        trust_domain_bundle: own_bundle.filter(|_| mask.trust_domain_bundle).map(|own| bundle::to_proto(own, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_urls_are_https_with_a_host_and_without_a_user() {
        assert!(check_endpoint_url("https://example.org:8443/bundle").is_ok());
        for url in ["", "example.org", "http://example.org", "https://", "https://me@example.org", "https://a b"] {
            assert!(check_endpoint_url(url).is_err(), "{url}");
        }
    }
}
