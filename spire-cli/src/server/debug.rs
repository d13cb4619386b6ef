//! `debug getinfo`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use spire_api::proto::debug::GetInfoRequest;

use super::client::{Api, id_text};
use crate::command::Action;
use crate::error::Error;
use crate::go;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct GetInfo {
    #[command(flatten)]
    api: Api,
}

impl Action for GetInfo {
    const NAME: &'static str = "debug getinfo";
    const SYNOPSIS: &'static str = "Shows how the server is doing";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let info = self.api.debug(terminal)?.get_info(GetInfoRequest {}).await?.into_inner();
        self.api.output.print(terminal, &info, |terminal, info| {
            let out = &mut terminal.stdout;
            let uptime = Duration::from_secs(u64::try_from(info.uptime).unwrap_or_default());
            writeln!(out, "Server Debug Info:")?;
            writeln!(out, "  Uptime:                  {}", go::duration(uptime))?;
            writeln!(out, "  Registered Agents:       {}", info.agents_count)?;
            writeln!(out, "  Registration Entries:    {}", info.entries_count)?;
            writeln!(out, "  Federated Bundles:       {}", info.federated_bundles_count)?;
            if !info.svid_chain.is_empty() {
                writeln!(out, "  SVID Chain:")?;
            }
            for (i, certificate) in info.svid_chain.iter().enumerate() {
                let id = certificate.id.as_ref().map_or_else(|| "(none)".to_owned(), |id| id_text(Some(id)));
                writeln!(out, "    [{i}] SPIFFE ID:  {id}")?;
                writeln!(out, "        Subject:    {}", certificate.subject)?;
                writeln!(out, "        Expires At: {}", go::rfc3339(certificate.expires_at))?;
            }
            Ok(())
        })
    }
}
