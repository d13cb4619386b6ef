//! `token generate`.

use std::io::Write as _;

use clap::Args;
use spire_api::proto::agent::CreateJoinTokenRequest;

use super::client::{Api, parse_id};
use crate::command::Action;
use crate::error::Error;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Generate {
    #[command(flatten)]
    api: Api,
    /// How long the token can be used, in seconds
    #[arg(long = "ttl", value_name = "int", default_value = "600", value_parser = crate::go::parse_int)]
    ttl: i64,
    /// Another SPIFFE ID for the agent that uses the token (optional)
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
}

impl Action for Generate {
    const NAME: &'static str = "token generate";
    const SYNOPSIS: &'static str = "Generates a join token";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let agent_id = if self.spiffe_id.is_empty() { None } else { Some(parse_id(&self.spiffe_id)?) };
        let ttl = i32::try_from(self.ttl)
            .map_err(|_| Error::Refused(format!("invalid value for TTL: {} is out of range", self.ttl)))?;
        let request = CreateJoinTokenRequest { ttl, agent_id, token: String::new() };
        let token = self.api.agents(terminal)?.create_join_token(request).await?.into_inner();
        self.api.output.print(terminal, &token, |terminal, token| {
            writeln!(terminal.stdout, "Token: {}", token.value)?;
            if self.spiffe_id.is_empty() {
                writeln!(terminal.stdout, "Warning: Missing SPIFFE ID.")?;
            }
            Ok(())
        })
    }
}
