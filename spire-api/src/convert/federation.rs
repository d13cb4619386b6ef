//! Federation relationships.

use spiffe_core::{Bundle, SpiffeId, TrustDomain};
use spire_types::{EndpointProfile, FederationRelationship, RelationshipMask};

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
        None => return Err(ConvertError::new("unsupported bundle endpoint profile type: <nil>")),
        Some(Wire::HttpsWeb(_)) => EndpointProfile::HttpsWeb,
        Some(Wire::HttpsSpiffe(profile)) => EndpointProfile::HttpsSpiffe {
            endpoint_id: SpiffeId::parse(&profile.endpoint_spiffe_id)
                .map_err(|err| ConvertError::in_field("failed to parse endpoint SPIFFE ID", err))?,
        },
    };
    let bundle = wire.trust_domain_bundle.as_ref().map(bundle::from_request).transpose();
    let bundle = bundle.map_err(|err| ConvertError::in_field("failed to parse bundle", err))?;
    if let Some(bundle) = bundle.as_ref().filter(|bundle| bundle.trust_domain != trust_domain) {
        return Err(ConvertError::new(format!(
            "trust domain bundle ({:?}) must match the trust domain of the federation relationship ({:?})",
            bundle.trust_domain.as_str(),
            trust_domain.as_str(),
        )));
    }
    let bundle_endpoint_url = wire.bundle_endpoint_url.clone();
    Ok((FederationRelationship { trust_domain, bundle_endpoint_url, profile }, bundle))
}

/// Checks the URL of a bundle endpoint: https, with a host, without user information.
///
/// # Errors
/// The rule it breaks.
pub fn check_endpoint_url(url: &str) -> Result<(), ConvertError> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        _ => return Err(ConvertError::new("bundle endpoint URL must use the https scheme")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(ConvertError::new("bundle endpoint URL must specify the host"));
    }
    if authority.contains('@') {
        return Err(ConvertError::new("bundle endpoint URL must not contain user info"));
    }
    let parsed: Result<tonic::codegen::http::Uri, _> = url.parse();
    parsed.map(|_| ()).map_err(|err| ConvertError::in_field("failed to parse bundle endpoint URL", err))
}

/// Which parts of a relationship a request changes; an absent mask means all.
#[must_use]
pub fn mask_from_proto(mask: Option<&types::FederationRelationshipMask>) -> RelationshipMask {
    mask.map_or(RelationshipMask::ALL, |mask| RelationshipMask {
        bundle_endpoint_url: mask.bundle_endpoint_url,
        profile: mask.bundle_endpoint_profile,
    })
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
        for (url, rule) in [
            ("", "must use the https scheme"),
            ("example.org", "must use the https scheme"),
            ("http://example.org", "must use the https scheme"),
            ("https:///bundle", "must specify the host"),
            ("https://me@example.org", "must not contain user info"),
        ] {
            assert_eq!(
                check_endpoint_url(url).unwrap_err().to_string(),
                format!("bundle endpoint URL {rule}"),
                "{url}"
            );
        }
        let malformed = check_endpoint_url("https://a b").unwrap_err().to_string();
        assert!(malformed.starts_with("failed to parse bundle endpoint URL: "), "{malformed}");
    }
}
