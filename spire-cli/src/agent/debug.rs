//! `debug getinfo`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use spire_api::proto::agent_debug::GetInfoRequest;
use spire_api::proto::agent_debug::debug_client::DebugClient;

use crate::command::Action;
use crate::error::Error;
use crate::go;
use crate::print::Output;
use crate::socket::AgentAdminSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct GetInfo {
    #[command(flatten)]
    socket: AgentAdminSocket,
    #[command(flatten)]
    output: Output,
}

impl Action for GetInfo {
    const NAME: &'static str = "debug getinfo";
    const SYNOPSIS: &'static str = "Shows how the agent is doing";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let info = DebugClient::new(self.socket.open()).get_info(GetInfoRequest {}).await?.into_inner();
        self.output.print(terminal, &info, |terminal, info| {
            let out = &mut terminal.stdout;
            let uptime = Duration::from_secs(u64::try_from(info.uptime).unwrap_or_default());
            let last_sync = match info.last_sync_success {
                0 => "(never)".to_owned(),
                time => go::rfc3339(time),
            };
            writeln!(out, "Agent Debug Info:")?;
            writeln!(out, "  Uptime:                          {}", go::duration(uptime))?;
            writeln!(out, "  Last Sync Success:               {last_sync}")?;
            writeln!(out, "  Cached X.509 SVIDs:              {}", info.cached_x509_svids_count)?;
            writeln!(out, "  Cached JWT SVIDs:                {}", info.cached_jwt_svids_count)?;
            writeln!(out, "  Cached SVID Store X.509 SVIDs:   {}", info.cached_svidstore_x509_svids_count)?;
            if !info.svid_chain.is_empty() {
                writeln!(out, "  SVID Chain:")?;
            }
            for (i, certificate) in info.svid_chain.iter().enumerate() {
                let id = certificate.id.as_ref();
                let id =
                    id.map_or_else(|| "(none)".to_owned(), |id| format!("spiffe://{}{}", id.trust_domain, id.path));
                writeln!(out, "    [{i}] SPIFFE ID:  {id}")?;
                writeln!(out, "        Subject:    {}", certificate.subject)?;
                writeln!(out, "        Expires At: {}", go::rfc3339(certificate.expires_at))?;
            }
            Ok(())
        })
    }
}
