//! `federation create` and `federation update`.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use spiffe_core::SpiffeId;
use spire_api::proto::trustdomain::{
    BatchCreateFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
};
use spire_api::proto::types;
use spire_api::proto::types::federation_relationship::BundleEndpointProfile;

use super::block;
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::files;
use crate::server::bundle::{self, Format};
use crate::server::client::{Api, code_and_message, succeeded};
use crate::terminal::Terminal;

pub(super) const HTTPS_WEB: &str = "https_web";
pub(super) const HTTPS_SPIFFE: &str = "https_spiffe";

#[derive(Args, Debug)]
pub(in crate::server) struct Create {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    flags: Flags,
}

impl Action for Create {
    const NAME: &'static str = "federation create";
    const SYNOPSIS: &'static str = "Creates a federation relationship with another trust domain";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let asked = self.flags.relationships(terminal)?;
        let request =
            BatchCreateFederationRelationshipRequest { federation_relationships: asked.clone(), output_mask: None };
        let answer = self.api.trust_domains(terminal)?.batch_create_federation_relationship(request).await;
        let answer = answer.during("request failed")?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let results = answer.results.iter().map(|r| (r.status.as_ref(), r.federation_relationship.as_ref()));
            report(terminal, "create", results, &asked)
        })
    }
}

#[derive(Args, Debug)]
pub(in crate::server) struct Update {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    flags: Flags,
}

impl Action for Update {
    const NAME: &'static str = "federation update";
    const SYNOPSIS: &'static str = "Updates a federation relationship with another trust domain";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let asked = self.flags.relationships(terminal)?;
        let request = BatchUpdateFederationRelationshipRequest {
            federation_relationships: asked.clone(),
            input_mask: None,
            output_mask: None,
        };
        let answer = self.api.trust_domains(terminal)?.batch_update_federation_relationship(request).await;
        let answer = answer.during("request failed")?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            let results = answer.results.iter().map(|r| (r.status.as_ref(), r.federation_relationship.as_ref()));
            report(terminal, "update", results, &asked)
        })
    }
}

/// Successes to standard output, failures to standard error and into the exit code.
fn report<'a>(
    terminal: &mut Terminal,
    verb: &str,
    results: impl Iterator<Item = (Option<&'a types::Status>, Option<&'a types::FederationRelationship>)>,
    asked: &'a [types::FederationRelationship],
) -> Result<(), Error> {
    // The server does not repeat what it has refused.
    let (good, bad): (Vec<_>, Vec<_>) = results
        .enumerate()
        .map(|(i, (status, answered))| (status, answered.filter(|_| succeeded(status)).or(asked.get(i))))
        .partition(|(status, _)| succeeded(*status));
    for (_, relationship) in good {
        write!(terminal.stdout, "\n{}", relationship.map(block).unwrap_or_default())?;
    }
    for (status, relationship) in &bad {
        let (code, message) = code_and_message(*status);
        writeln!(terminal.stdout)?;
        writeln!(
            terminal.stderr,
            "Failed to {verb} the following federation relationship (code: {code}, msg: {message:?}):"
        )?;
        write!(terminal.stderr, "{}", relationship.map(block).unwrap_or_default())?;
    }
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!("failed to {verb} one or more federation relationships")))
}

/// What a relationship consists of.
#[derive(Args, Debug)]
struct Flags {
    /// File with relationships in JSON (optional); - is standard input
    #[arg(long = "data", value_name = "string", default_value = "")]
    data: String,
    /// Name of the trust domain to federate with
    #[arg(long = "trustDomain", value_name = "string", default_value = "")]
    trust_domain: String,
    /// URL of its bundle endpoint, which must be of the https scheme
    #[arg(long = "bundleEndpointURL", value_name = "string", default_value = "")]
    bundle_endpoint_url: String,
    /// How the endpoint is authenticated: "https_web" or "https_spiffe"
    #[arg(long = "bundleEndpointProfile", value_name = "string", default_value = "")]
    bundle_endpoint_profile: String,
    /// SPIFFE ID of the endpoint, for the profile https_spiffe
    #[arg(long = "endpointSpiffeID", value_name = "string", default_value = "")]
    endpoint_spiffe_id: String,
    /// File with the bundle of the trust domain (optional)
    #[arg(long = "trustDomainBundlePath", value_name = "string", default_value = "")]
    trust_domain_bundle_path: String,
    /// Format of that bundle: "pem" or "spiffe"
    #[arg(long = "trustDomainBundleFormat", value_name = "string", default_value = "pem")]
    trust_domain_bundle_format: String,
}

impl Flags {
    fn relationships(&self, terminal: &mut Terminal) -> Result<Vec<types::FederationRelationship>, Error> {
        if self.data.is_empty() {
            return Ok(vec![self.relationship()?]);
        }
        let others = [
            &self.trust_domain,
            &self.bundle_endpoint_url,
            &self.bundle_endpoint_profile,
            &self.endpoint_spiffe_id,
            &self.trust_domain_bundle_path,
        ];
        if others.iter().any(|value| !value.is_empty()) || self.trust_domain_bundle_format != "pem" {
            let text = "cannot use other flags to specify relationship fields when 'data' flag is set";
            return Err(Error::refused(text));
        }
        from_file(&files::read_or_stdin(terminal, &self.data)?)
    }

    fn relationship(&self) -> Result<types::FederationRelationship, Error> {
        let written = Written {
            trust_domain: self.trust_domain.clone(),
            bundle_endpoint_url: self.bundle_endpoint_url.clone(),
            bundle_endpoint_profile: self.bundle_endpoint_profile.clone(),
            endpoint_spiffe_id: self.endpoint_spiffe_id.clone(),
            ..Written::default()
        };
        let (mut relationship, bundle_of) = written.without_bundle()?;
        if !self.trust_domain_bundle_path.is_empty() {
            let data = files::read(Path::new(&self.trust_domain_bundle_path)).during("cannot read bundle file")?;
            let format = bundle_format(&self.trust_domain_bundle_format)?;
            let bundle = bundle::parse(&data, format, &bundle_of).during("cannot parse bundle file")?;
            relationship.trust_domain_bundle = Some(bundle);
        }
        Ok(relationship)
    }
}

/// A file for `-data`; names count in any case, unknown ones are ignored.
fn from_file(json: &[u8]) -> Result<Vec<types::FederationRelationship>, Error> {
    let refuse = |err: serde_json::Error| Error::Refused(format!("failed to parse JSON: {err}"));
    let file: Value = serde_json::from_slice(json).map_err(refuse)?;
    let list = file.as_object().and_then(|fields| field(fields, "federationRelationships"));
    let list = list.map(|list| serde_json::from_value::<Vec<Value>>(list.clone())).transpose().map_err(refuse)?;
    let parse = |(i, item): (usize, Value)| {
        let fields = item.as_object().cloned().unwrap_or_default();
        Written::of(&fields).and_then(Written::relationship).during(format!("could not parse item {i}"))
    };
    list.unwrap_or_default().into_iter().enumerate().map(parse).collect()
}

fn field<'a>(fields: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null()).map(|(_, value)| value)
}

fn bundle_format(text: &str) -> Result<Format, Error> {
    match text {
        "pem" => Ok(Format::Pem),
        "spiffe" => Ok(Format::Spiffe),
        other => Err(Error::Refused(format!("bundle format {other:?} is unsupported"))),
    }
}

/// A relationship as flags or files have it.
#[derive(Default)]
struct Written {
    trust_domain: String,
    bundle_endpoint_url: String,
    bundle_endpoint_profile: String,
    endpoint_spiffe_id: String,
    bundle: Option<Value>,
    bundle_format: String,
}

impl Written {
    fn of(fields: &serde_json::Map<String, Value>) -> Result<Self, Error> {
        let text = |name: &str| match field(fields, name) {
            None => Ok(String::new()),
            Some(value) => String::deserialize(value).map_err(|err| Error::Refused(format!("{name}: {err}"))),
        };
        Ok(Self {
            trust_domain: text("trustDomain")?,
            bundle_endpoint_url: text("bundleEndpointURL")?,
            bundle_endpoint_profile: text("bundleEndpointProfile")?,
            endpoint_spiffe_id: text("endpointSPIFFEID")?,
            bundle: field(fields, "trustDomainBundle").cloned(),
            bundle_format: text("trustDomainBundleFormat")?,
        })
    }

    fn relationship(self) -> Result<types::FederationRelationship, Error> {
        let (mut relationship, bundle_of) = self.without_bundle()?;
        if let Some(bundle) = &self.bundle {
            let parse = || {
                let format = bundle_format(&self.bundle_format)?;
                let data = match (format, bundle) {
                    (Format::Pem, Value::String(pem)) => pem.clone(),
                    (Format::Pem, _) => return Err(Error::refused("a bundle in PEM must be a string")),
                    (Format::Spiffe, document) => document.to_string(),
                };
                bundle::parse(data.as_bytes(), format, &bundle_of)
            };
            relationship.trust_domain_bundle = Some(parse().during("cannot parse bundle raw message")?);
        }
        Ok(relationship)
    }

    /// The relationship, and the trust domain that a bundle given along with it belongs to.
    fn without_bundle(&self) -> Result<(types::FederationRelationship, String), Error> {
        if self.trust_domain.is_empty() {
            return Err(Error::refused("trust domain is required"));
        }
        if self.bundle_endpoint_url.is_empty() {
            return Err(Error::refused("bundle endpoint URL is required"));
        }
        let (profile, bundle_of) = match self.bundle_endpoint_profile.as_str() {
            HTTPS_WEB => (BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}), self.trust_domain.clone()),
            HTTPS_SPIFFE => {
                if self.endpoint_spiffe_id.is_empty() {
                    let text = "endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set";
                    return Err(Error::refused(text));
                }
                let id = SpiffeId::parse(&self.endpoint_spiffe_id)
                    .map_err(|err| Error::Refused(format!("cannot parse bundle endpoint SPIFFE ID: {err}")))?;
                let profile = types::HttpsspiffeProfile { endpoint_spiffe_id: self.endpoint_spiffe_id.clone() };
                (BundleEndpointProfile::HttpsSpiffe(profile), id.trust_domain().to_string())
            }
            other => return Err(Error::Refused(format!("unknown bundle endpoint profile type: {other:?}"))),
        };
        let relationship = types::FederationRelationship {
            trust_domain: self.trust_domain.clone(),
            bundle_endpoint_url: self.bundle_endpoint_url.clone(),
            bundle_endpoint_profile: Some(profile),
            trust_domain_bundle: None,
        };
        Ok((relationship, bundle_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_relationships_is_read() {
        let json = br#"{"federationRelationships": [{"trustDomain": "a.example", "bundleEndpointUrl": "https://a/b",
            "bundleEndpointProfile": "https_spiffe", "endpointSPIFFEID": "spiffe://b.example/server",
            "trustDomainBundle": {"keys": []}, "trustDomainBundleFormat": "spiffe"}]}"#;
        let relationships = from_file(json).unwrap();
        assert_eq!(relationships[0].trust_domain, "a.example");
        // Filed under the trust domain of the endpoint, as SPIRE does.
        assert_eq!(relationships[0].trust_domain_bundle.as_ref().unwrap().trust_domain, "b.example");
    }

    #[test]
    fn malformed_files_are_refused_with_the_item() {
        for (json, error) in [
            ("{", "failed to parse JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"federationRelationships": [{}]}"#, "could not parse item 0: trust domain is required"),
            (
                r#"{"federationRelationships": [{"trustDomain": "a", "bundleEndpointURL": "u", "bundleEndpointProfile": "x"}]}"#,
                "could not parse item 0: unknown bundle endpoint profile type: \"x\"",
            ),
        ] {
            assert_eq!(from_file(json.as_bytes()).unwrap_err().to_string(), error);
        }
    }
}
