//! What a request for secrets is answered with.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use prost_types::Any;
use prost_types::value::Kind;
use spiffe_core::x509::X509Svid;
use spiffe_core::{Bundle, TrustDomain};
use spire_api::proto::envoy::core::data_source::Specifier;
use spire_api::proto::envoy::core::node::UserAgentVersionType;
use spire_api::proto::envoy::core::{DataSource, Node, TypedExtensionConfig};
use spire_api::proto::envoy::tls::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate, secret,
    spiffe_cert_validator_config,
};
use tonic::Status;
use workload_api::X509Context;

/// Names that Envoy's configuration may use without knowing SPIFFE IDs, and the form of bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdsConfig {
    /// The agent's own trust domain.
    pub trust_domain: TrustDomain,
    /// Names the first identity.
    pub default_svid_name: String,
    /// Names the own bundle.
    pub default_bundle_name: String,
    /// Names all bundles together.
    pub default_all_bundles_name: String,
    /// Sends bundles as plain certificates, which verify SVIDs of any trust domain; a node may override it.
    pub disable_spiffe_cert_validation: bool,
}

impl SdsConfig {
    /// With SPIRE's names.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            default_svid_name: "default".to_owned(),
            default_bundle_name: "ROOTCA".to_owned(),
            default_all_bundles_name: "ALL".to_owned(),
            disable_spiffe_cert_validation: false,
        }
    }
}

/// The resources of these names, or all where no name is given.
///
/// # Errors
/// `InvalidArgument` with the names that stand for nothing the caller may have.
pub(super) fn resources(
    config: &SdsConfig,
    names: &[String],
    node: Option<&Node>,
    context: &X509Context,
) -> Result<Vec<Any>, Status> {
    let mut left: BTreeSet<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let all = left.is_empty();
    let form = Form::of(config, node);
    let mut resources = Vec::new();

    let own_id = config.trust_domain.id();
    if let Some(own) = context.bundles.get(&config.trust_domain) {
        // Of the own bundle's names one request is given only the first.
        if left.remove(own_id.as_str()) || all {
            resources.push(form.one(own_id.as_str(), own));
        } else if left.remove(config.default_bundle_name.as_str()) {
            resources.push(form.one(&config.default_bundle_name, own));
        } else if left.remove(config.default_all_bundles_name.as_str()) {
            resources.push(form.all(&config.default_all_bundles_name, context)?);
        }
    }
    for bundle in context.bundles.iter().filter(|bundle| bundle.trust_domain != config.trust_domain) {
        let id = bundle.trust_domain.id();
        if left.remove(id.as_str()) || all {
            resources.push(form.one(id.as_str(), bundle));
        }
    }
    for (index, identity) in context.identities.iter().enumerate() {
        let id = identity.svid.id().as_str();
        if left.remove(id) || all {
            resources.push(certificate(id, &identity.svid));
        } else if index == 0 && left.remove(config.default_svid_name.as_str()) {
            resources.push(certificate(&config.default_svid_name, &identity.svid));
        }
    }

    if left.is_empty() {
        return Ok(resources);
    }
    let left: Vec<String> = left.iter().map(|name| format!("{name:?}")).collect();
    let left = left.join(" ");
    Err(Status::invalid_argument(format!("workload is not authorized for the requested identities [{left}]")))
}

/// How an Envoy is told what to verify peers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Envoy's SPIFFE validator, which holds each trust domain to its own bundle.
    Spiffe,
    /// Certificates alone, for those that do not have it or do not want it.
    RootCa,
}

impl Form {
    fn of(config: &SdsConfig, node: Option<&Node>) -> Self {
        let wanted = node.and_then(disables_validator).unwrap_or(config.disable_spiffe_cert_validation);
        if wanted || !node.is_none_or(has_validator) { Self::RootCa } else { Self::Spiffe }
    }

    fn one(self, name: &str, bundle: &Bundle) -> Any {
        match self {
            Self::RootCa => validation(
                name,
                CertificateValidationContext {
                    trusted_ca: Some(inline(bundle.x509_roots_pem())),
                    custom_validator_config: None,
                },
            ),
            Self::Spiffe => validation(name, spiffe_validator(std::iter::once(bundle))),
        }
    }

    fn all(self, name: &str, context: &X509Context) -> Result<Any, Status> {
        match self {
            Self::RootCa => Err(Status::internal("unable to use \"SPIFFE validator\" on Envoy below 1.17")),
            Self::Spiffe => Ok(validation(name, spiffe_validator(context.bundles.iter().map(Arc::as_ref)))),
        }
    }
}

/// What a node says about itself; what cannot be read does not count.
fn disables_validator(node: &Node) -> Option<bool> {
    match node.metadata.as_ref()?.fields.get("disable_spiffe_cert_validation")?.kind.as_ref()? {
        Kind::BoolValue(value) => Some(*value),
        Kind::StringValue(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// From Envoy 1.18 on; one that does not tell its version is taken to be new.
fn has_validator(node: &Node) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else { return true };
    let (major, minor) = build.version.as_ref().map_or((0, 0), |version| (version.major_number, version.minor_number));
    (major, minor) >= (1, 18)
}

fn spiffe_validator<'a>(bundles: impl Iterator<Item = &'a Bundle>) -> CertificateValidationContext {
    let trust_domains = bundles
        .map(|bundle| spiffe_cert_validator_config::TrustDomain {
            name: bundle.trust_domain.as_str().to_owned(),
            trust_bundle: Some(inline(bundle.x509_roots_pem())),
        })
        .collect();
    let config = Any {
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig".to_owned(),
        value: SpiffeCertValidatorConfig { trust_domains }.encode_to_vec(),
    };
    CertificateValidationContext {
        trusted_ca: None,
        custom_validator_config: Some(TypedExtensionConfig {
            name: "envoy.tls.cert_validator.spiffe".to_owned(),
            typed_config: Some(config),
        }),
    }
}

fn validation(name: &str, context: CertificateValidationContext) -> Any {
    resource(name, secret::Type::ValidationContext(context))
}

fn certificate(name: &str, svid: &X509Svid) -> Any {
    let chain: String = svid.chain().iter().map(spiffe_core::x509::Certificate::to_pem).collect();
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(chain)),
        private_key: Some(inline(svid.private_key().to_pkcs8_pem().as_str())),
    };
    resource(name, secret::Type::TlsCertificate(certificate))
}

fn resource(name: &str, secret: secret::Type) -> Any {
    Any {
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".to_owned(),
        value: Secret { name: name.to_owned(), r#type: Some(secret) }.encode_to_vec(),
    }
}

fn inline(pem: impl AsRef<str>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(pem.as_ref().as_bytes().to_vec().into())) }
}
