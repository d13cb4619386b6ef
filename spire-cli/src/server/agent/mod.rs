//! `agent ban`, `count`, `evict`, `list`, `purge`, `show`.

mod find;
mod purge;

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use spire_api::proto::agent::{BanAgentRequest, DeleteAgentRequest, GetAgentRequest};
use spire_api::proto::types;

use super::client::{Api, id_text, parse_id};
use crate::command::Action;
use crate::error::Error;
use crate::go;
use crate::terminal::Terminal;

pub(super) use find::{Count, List};
pub(super) use purge::Purge;

/// The one agent that a command is about.
#[derive(Args, Debug)]
struct Chosen {
    #[command(flatten)]
    api: Api,
    /// SPIFFE ID of the agent
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
}

impl Chosen {
    fn id(&self) -> Result<types::Spiffeid, Error> {
        if self.spiffe_id.is_empty() {
            return Err(Error::refused("a SPIFFE ID is required"));
        }
        parse_id(&self.spiffe_id)
    }

    /// Says that it is done; the answer itself says nothing.
    fn done(&self, terminal: &mut Terminal, pretty: &str) -> Result<(), Error> {
        writeln!(terminal.stdout, "{}", if self.api.output.is_json() { "{}" } else { pretty })?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub(super) struct Ban {
    #[command(flatten)]
    chosen: Chosen,
}

impl Action for Ban {
    const NAME: &'static str = "agent ban";
    const SYNOPSIS: &'static str = "Bans an agent: it cannot attest again until it is evicted";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let id = self.chosen.id()?;
        self.chosen.api.agents(terminal)?.ban_agent(BanAgentRequest { id: Some(id) }).await?;
        self.chosen.done(terminal, "Agent banned successfully")
    }
}

#[derive(Args, Debug)]
pub(super) struct Evict {
    #[command(flatten)]
    chosen: Chosen,
}

impl Action for Evict {
    const NAME: &'static str = "agent evict";
    const SYNOPSIS: &'static str = "Evicts an agent: it has to attest again";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let id = self.chosen.id()?;
        self.chosen.api.agents(terminal)?.delete_agent(DeleteAgentRequest { id: Some(id) }).await?;
        self.chosen.done(terminal, "Agent evicted successfully")
    }
}

#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    chosen: Chosen,
}

impl Action for Show {
    const NAME: &'static str = "agent show";
    const SYNOPSIS: &'static str = "Shows an agent";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let request = GetAgentRequest { id: Some(self.chosen.id()?), output_mask: None };
        let agent = self.chosen.api.agents(terminal)?.get_agent(request).await?.into_inner();
        self.chosen.api.output.print(terminal, &agent, |terminal, agent| {
            write!(terminal.stdout, "Found an attested agent given its SPIFFE ID\n\n{}", block(agent))?;
            for selector in &agent.selectors {
                writeln!(terminal.stdout, "Selectors         : {}:{}", selector.r#type, selector.value)?;
            }
            Ok(())
        })
    }
}

/// An agent in words, a line per fact, a blank line after them.
fn block(agent: &types::Agent) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{label:<18}: {value}");
    };
    line("SPIFFE ID", &id_text(agent.id.as_ref()));
    line("Attestation type", &agent.attestation_type);
    line("Expiration time", &go::time(agent.x509svid_expires_at));
    if agent.banned {
        line("Banned", &true);
    } else {
        line("Serial number", &agent.x509svid_serial_number);
    }
    line("Can re-attest", &agent.can_reattest);
    if !agent.agent_version.is_empty() {
        line("Agent version", &agent.agent_version);
    }
    text.push('\n');
    text
}
