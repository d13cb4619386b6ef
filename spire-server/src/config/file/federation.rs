//! `server.federation`, in the form of SPIRE 1.0 and later, and in the older ones with a warning.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use spiffe_core::{SpiffeId, TrustDomain, Ttl};
use spire_config::Block;
use spire_types::{EndpointProfile, FederationRelationship};

use crate::config::{AcmeConfig, BundleEndpoint, BundleEndpointProfile, FederationConfig, WebCertificate};

pub(super) fn decode(server: &Block<'_>, own: Option<&TrustDomain>) -> FederationConfig {
    let Some(block) = server.block("federation") else { return FederationConfig::default() };
    let bundle_endpoint = block.block("bundle_endpoint").and_then(|endpoint| bundle_endpoint(&endpoint));
    let mut federates_with: Vec<FederationRelationship> = Vec::new();
    for (label, relationship) in block.labelled("federates_with") {
        let error = |message: String| block.error_at(label.position, "federates_with", message);
        let trust_domain = match TrustDomain::parse_name_or_id(&label.name) {
            Ok(trust_domain) => trust_domain,
            Err(err) => {
                relationship.known(&["bundle_endpoint_url", "bundle_endpoint_profile", "bundle_endpoint"]);
                error(format!("{:?} is no trust domain: {err}", label.name));
                continue;
            }
        };
        if own == Some(&trust_domain) {
            error(format!("{trust_domain} is the server's own trust domain"));
        }
        if federates_with.iter().any(|other| other.trust_domain == trust_domain) {
            error(format!("{trust_domain} is declared more than once"));
        }
        federates_with.extend(federates_with_one(&relationship, trust_domain));
    }
    FederationConfig { bundle_endpoint, federates_with }
}

fn bundle_endpoint(block: &Block<'_>) -> Option<BundleEndpoint> {
    let address = block
        .parsed("address", |text| {
            let address = text.parse::<IpAddr>();
            address.map_err(|_| "it must be an IP address; leave it out to listen on all")
        })
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = block.number::<u16>("port");
    if port.unwrap_or_default() == 0 {
        block.warning("port", "without a port, any free one is taken");
    }
    let refresh_hint = block.ttl("refresh_hint").unwrap_or(BundleEndpoint::DEFAULT_REFRESH_HINT);
    if refresh_hint < Ttl::from_minutes(1) || refresh_hint >= Ttl::from_hours(24) {
        let message = format!("{refresh_hint} is unusual: bundles are best refreshed every few minutes or hours");
        block.warning("refresh_hint", message);
    }
    let profile = profile(block)?;
    Some(BundleEndpoint { address: SocketAddr::new(address, port.unwrap_or_default()), refresh_hint, profile })
}

fn profile(block: &Block<'_>) -> Option<BundleEndpointProfile> {
    let profiles = block.labelled("profile");
    let old_acme = block.block("acme");
    match (profiles.as_slice(), old_acme) {
        ([], None) => {
            block.warning("profile", "deprecated without a profile: write profile \"https_spiffe\" {}");
            Some(BundleEndpointProfile::HttpsSpiffe)
        }
        ([], Some(acme)) => {
            block.warning("acme", "deprecated in this place: write profile \"https_web\" { acme { … } }");
            if acme.string("email").is_none() {
                acme.error("email", "email must be configured");
            }
            self::acme(&acme).map(|acme| BundleEndpointProfile::HttpsWeb(WebCertificate::Acme(acme)))
        }
        ([_], Some(acme)) => {
            let _ = self::acme(&acme);
            profiles.iter().for_each(|(_, profile)| profile.known(&["acme", "serving_cert_file"]));
            block.error("acme", "cannot be used together with profile: move it into profile \"https_web\"");
            None
        }
        ([(name, profile)], None) => match name.name.as_str() {
            "https_spiffe" => Some(BundleEndpointProfile::HttpsSpiffe),
            "https_web" => web_certificate(profile).map(BundleEndpointProfile::HttpsWeb),
            other => {
                block.error_at(name.position, "profile", format!("{other:?} must be https_spiffe or https_web"));
                None
            }
        },
        _ => {
            profiles.iter().for_each(|(_, profile)| profile.known(&["acme", "serving_cert_file"]));
            block.error("profile", "exactly one bundle endpoint profile is expected");
            None
        }
    }
}

fn web_certificate(block: &Block<'_>) -> Option<WebCertificate> {
    match (block.block("acme"), block.block("serving_cert_file")) {
        (Some(acme), None) => self::acme(&acme).map(WebCertificate::Acme),
        (None, Some(files)) => {
            let required = |key| {
                let path = files.path_at(key);
                if path.is_none() {
                    files.error(key, format!("{key} must be configured"));
                }
                path
            };
            let (certificate, key) = (required("cert_file_path"), required("key_file_path"));
            let sync_interval = files.ttl("file_sync_interval").unwrap_or_default();
            Some(WebCertificate::Files { certificate: certificate?, key: key?, sync_interval })
        }
        _ => {
            block.error("acme", "profile https_web takes either 'acme' or 'serving_cert_file'");
            None
        }
    }
}

fn acme(block: &Block<'_>) -> Option<AcmeConfig> {
    let domain_name = block.string("domain_name");
    if domain_name.is_none() {
        block.error("domain_name", "domain_name must be configured");
    }
    Some(AcmeConfig {
        directory_url: block.string("directory_url").unwrap_or_else(|| AcmeConfig::DEFAULT_DIRECTORY_URL.to_owned()),
        email: block.string("email").unwrap_or_default(),
        tos_accepted: block.boolean("tos_accepted").unwrap_or_default(),
        domain_name: domain_name?,
    })
}

fn federates_with_one(block: &Block<'_>, trust_domain: TrustDomain) -> Option<FederationRelationship> {
    let profiles = block.labelled("bundle_endpoint_profile");
    if let Some(old) = block.block("bundle_endpoint") {
        if profiles.is_empty() && !block.has("bundle_endpoint_url") {
            block.warning("bundle_endpoint", "deprecated: use bundle_endpoint_url and bundle_endpoint_profile");
            return federates_with_old(&old, trust_domain);
        }
        old.known(&["address", "port", "spiffe_id", "use_web_pki"]);
        block.error("bundle_endpoint", "cannot be used together with bundle_endpoint_url and bundle_endpoint_profile");
    }
    let url = endpoint_url(block, &trust_domain);
    let profile = match profiles.as_slice() {
        [(name, profile)] => match name.name.as_str() {
            "https_web" => Some(EndpointProfile::HttpsWeb),
            "https_spiffe" => {
                if profile.string("endpoint_spiffe_id").is_none() {
                    profile.error("endpoint_spiffe_id", "endpoint_spiffe_id must be configured");
                }
                let endpoint_id = profile.parsed("endpoint_spiffe_id", SpiffeId::parse);
                endpoint_id.map(|endpoint_id| EndpointProfile::HttpsSpiffe { endpoint_id })
            }
            other => {
                let message = format!("{other:?} must be https_spiffe or https_web");
                block.error_at(name.position, "bundle_endpoint_profile", message);
                None
            }
        },
        [] => {
            let message = "missing bundle endpoint configuration: write bundle_endpoint_profile \"https_spiffe\" { … }";
            block.error("bundle_endpoint_profile", message);
            None
        }
        _ => {
            profiles.iter().for_each(|(_, profile)| profile.known(&["endpoint_spiffe_id"]));
            block.error("bundle_endpoint_profile", "exactly one bundle endpoint profile is expected");
            None
        }
    };
    Some(FederationRelationship { trust_domain, bundle_endpoint_url: url?, profile: profile? })
}

fn endpoint_url(block: &Block<'_>, trust_domain: &TrustDomain) -> Option<String> {
    let name = format!("federation.federates_with[\"{trust_domain}\"].bundle_endpoint_url");
    let Some(url) = block.string("bundle_endpoint_url") else {
        block.error("bundle_endpoint_url", format!("{name} must be configured"));
        return None;
    };
    if !url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        block.error("bundle_endpoint_url", format!("{name} must use the HTTPS protocol; URL found: {url:?}"));
        return None;
    }
    Some(url)
}

/// The form of SPIRE 0.11: an address and a port, and the server's usual ID.
fn federates_with_old(block: &Block<'_>, trust_domain: TrustDomain) -> Option<FederationRelationship> {
    let address = block.string("address");
    if address.is_none() {
        block.error("address", "address must be configured");
    }
    let port = block.number::<u16>("port").filter(|port| *port != 0).unwrap_or(443);
    let id = block.parsed("spiffe_id", SpiffeId::parse);
    let profile = if block.boolean("use_web_pki").unwrap_or_default() {
        if block.has("spiffe_id") {
            block.error("use_web_pki", "cannot be used together with spiffe_id");
        }
        EndpointProfile::HttpsWeb
    } else {
        EndpointProfile::HttpsSpiffe { endpoint_id: id.or_else(|| trust_domain.join("/spire/server").ok())? }
    };
    let address = address?;
    let host = if address.contains(':') && !address.starts_with('[') { format!("[{address}]") } else { address };
    Some(FederationRelationship { trust_domain, bundle_endpoint_url: format!("https://{host}:{port}"), profile })
}
