//! `federation create`, `delete`, `list`, `refresh`, `show`, `update`.

mod change;

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use spire_api::proto::trustdomain::{
    BatchDeleteFederationRelationshipRequest, GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
    RefreshBundleRequest,
};
use spire_api::proto::types;
use spire_api::proto::types::federation_relationship::BundleEndpointProfile;
use tonic::Code;

use super::client::{Api, counted, succeeded};
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::terminal::Terminal;

pub(super) use change::{Create, Update};

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    api: Api,
}

impl Action for List {
    const NAME: &'static str = "federation list";
    const SYNOPSIS: &'static str = "Lists federation relationships";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let request = ListFederationRelationshipsRequest::default();
        let answer = self.api.trust_domains(terminal)?.list_federation_relationships(request).await;
        let list = answer.during("error listing federation relationship")?.into_inner();
        self.api.output.print(terminal, &list, |terminal, list| {
            let relationships = &list.federation_relationships;
            let found = counted(relationships.len(), "federation relationship", "federation relationships");
            writeln!(terminal.stdout, "Found {found}")?;
            for relationship in relationships {
                write!(terminal.stdout, "\n{}", block(relationship))?;
            }
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    api: Api,
    /// Trust domain of the relationship
    #[arg(long = "trustDomain", value_name = "string", default_value = "")]
    trust_domain: String,
}

impl Action for Show {
    const NAME: &'static str = "federation show";
    const SYNOPSIS: &'static str = "Shows a federation relationship";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.trust_domain.is_empty() {
            return Err(Error::refused("a trust domain name is required"));
        }
        let request = GetFederationRelationshipRequest { trust_domain: self.trust_domain.clone(), output_mask: None };
        let answer = self.api.trust_domains(terminal)?.get_federation_relationship(request).await;
        let relationship = answer.during("error showing federation relationship")?.into_inner();
        self.api.output.print(terminal, &relationship, |terminal, relationship| {
            let (name, block) = (&self.trust_domain, block(relationship));
            write!(terminal.stdout, "Found a federation relationship with trust domain {name}:\n\n{block}")?;
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    #[command(flatten)]
    api: Api,
    /// Trust domain of the relationship
    #[arg(long = "id", value_name = "string", default_value = "")]
    id: String,
}

impl Action for Delete {
    const NAME: &'static str = "federation delete";
    const SYNOPSIS: &'static str = "Deletes a federation relationship";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.id.is_empty() {
            return Err(Error::refused("id is required"));
        }
        let request = BatchDeleteFederationRelationshipRequest { trust_domains: vec![self.id] };
        let answer = self.api.trust_domains(terminal)?.batch_delete_federation_relationship(request).await;
        let answer = answer.during("failed to delete federation relationship")?.into_inner();
        self.api.output.print(terminal, &answer, |terminal, answer| {
            if let Some(failed) = answer.results.iter().find(|result| !succeeded(result.status.as_ref())) {
                let message = failed.status.as_ref().map_or("", |status| &status.message);
                let name = &failed.trust_domain;
                return Err(Error::Refused(format!("failed to delete federation relationship {name:?}: {message}")));
            }
            writeln!(terminal.stdout, "federation relationship deleted.")?;
            Ok(())
        })
    }
}

#[derive(Args, Debug)]
pub(super) struct Refresh {
    #[command(flatten)]
    api: Api,
    /// Trust domain whose bundle to fetch now
    #[arg(long = "id", value_name = "string", default_value = "")]
    id: String,
}

impl Action for Refresh {
    const NAME: &'static str = "federation refresh";
    const SYNOPSIS: &'static str = "Fetches the bundle of another trust domain now";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.id.is_empty() {
            return Err(Error::refused("id is required"));
        }
        let request = RefreshBundleRequest { trust_domain: self.id.clone() };
        if let Err(status) = self.api.trust_domains(terminal)?.refresh_bundle(request).await {
            if status.code() == Code::NotFound {
                let text = format!("there is no federation relationship with trust domain {:?}", self.id);
                return Err(Error::Refused(text));
            }
            return Err(Error::from(status)).during("failed to refresh bundle");
        }
        let done = types::Status { code: 0, message: "OK".to_owned() };
        self.api.output.print(terminal, &done, |terminal, _| {
            writeln!(terminal.stdout, "Bundle refreshed")?;
            Ok(())
        })
    }
}

/// A relationship in words, a line per fact.
fn block(relationship: &types::FederationRelationship) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<26}: {value}");
    };
    line("Trust domain", &relationship.trust_domain);
    line("Bundle endpoint URL", &relationship.bundle_endpoint_url);
    match &relationship.bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(_)) => line("Bundle endpoint profile", change::HTTPS_WEB),
        Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
            line("Bundle endpoint profile", change::HTTPS_SPIFFE);
            line("Endpoint SPIFFE ID", &profile.endpoint_spiffe_id);
        }
        None => {}
    }
    text
}
