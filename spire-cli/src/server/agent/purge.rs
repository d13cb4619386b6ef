//! `agent purge`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use spiffe_core::Timestamp;
use spire_api::proto::agent::{DeleteAgentRequest, ListAgentsRequest, list_agents_request};
use spire_api::proto::types;

use crate::command::Action;
use crate::error::{During as _, Error};
use crate::print::json;
use crate::server::client::{Api, counted, id_text};
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(in crate::server) struct Purge {
    #[command(flatten)]
    api: Api,
    /// How long the SVIDs of the agents must have been expired
    #[arg(
        long = "expiredFor",
        value_name = "duration",
        default_value = "720h0m0s",
        value_parser = crate::go::parse_duration
    )]
    expired_for: Duration,
    /// Only say which agents would be deleted
    #[arg(long = "dryRun")]
    dry_run: bool,
}

#[derive(Serialize)]
struct Expired {
    agent_id: String,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Purged {
    expired_agents: Vec<Expired>,
}

impl Action for Purge {
    const NAME: &'static str = "agent purge";
    const SYNOPSIS: &'static str = "Deletes agents that expired long ago and can attest again";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let mut client = self.api.agents(terminal)?;
        let filter = list_agents_request::Filter { by_can_reattest: Some(true), ..Default::default() };
        let output_mask = types::AgentMask { x509svid_expires_at: true, ..Default::default() };
        let request = ListAgentsRequest { filter: Some(filter), output_mask: Some(output_mask), ..Default::default() };
        let agents = client.list_agents(request).await.during("failed to list agents")?.into_inner().agents;
        let mut expired_agents = Vec::new();
        for agent in agents {
            let since = terminal.now.since(Timestamp::from_unix(agent.x509svid_expires_at));
            if Duration::from(since) <= self.expired_for {
                continue;
            }
            let agent_id = id_text(agent.id.as_ref());
            let deleted = if self.dry_run {
                Ok(false)
            } else {
                client.delete_agent(DeleteAgentRequest { id: agent.id }).await.map(|_| true).map_err(Error::from)
            };
            let (deleted, error) = deleted.map_or_else(|err| (false, Some(err.to_string())), |done| (done, None));
            expired_agents.push(Expired { agent_id, deleted, error });
        }
        let purged = Purged { expired_agents };
        if self.api.output.is_json() {
            writeln!(terminal.stdout, "{}", json::text(&purged))?;
            return Ok(());
        }
        write!(terminal.stdout, "{}", self.report(&purged.expired_agents))?;
        Ok(())
    }
}

impl Purge {
    fn report(&self, expired: &[Expired]) -> String {
        if expired.is_empty() {
            return "No agents to purge.\n".to_owned();
        }
        let line = |agent: &Expired| format!("SPIFFE ID         : {}\n", agent.agent_id);
        let mut text = format!("Found {}\n\n", counted(expired.len(), "expired agent", "expired agents"));
        if self.dry_run {
            text.push_str("\nAgents that can be purged:\n");
            text.extend(expired.iter().map(line));
            return text;
        }
        let (purged, kept): (Vec<_>, Vec<_>) = expired.iter().partition(|agent| agent.deleted);
        if !purged.is_empty() {
            text.push_str("Agents purged:\n");
            text.extend(purged.into_iter().map(line));
        }
        if !kept.is_empty() {
            text.push_str("Agents not purged:\n");
            for agent in kept {
                text.push_str(&line(agent));
                text.push_str(&format!("Error             : {}\n", agent.error.as_deref().unwrap_or_default()));
            }
        }
        text
    }
}
