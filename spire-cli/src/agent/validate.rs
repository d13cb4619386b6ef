//! `api validate jwt`.

use std::io::Write as _;

use clap::Args;
use tonic::Code;
use workload_api::proto::ValidateJwtsvidRequest;

use super::client::{Timeout, client};
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::print::{Output, json};
use crate::socket::WorkloadSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Jwt {
    #[command(flatten)]
    socket: WorkloadSocket,
    #[command(flatten)]
    timeout: Timeout,
    #[command(flatten)]
    output: Output,
    /// Audience that the JWT-SVID must be for
    #[arg(long = "audience", value_name = "string", default_value = "")]
    audience: String,
    /// The JWT-SVID
    #[arg(long = "svid", value_name = "string", default_value = "")]
    svid: String,
}

impl Action for Jwt {
    const NAME: &'static str = "api validate jwt";
    const SYNOPSIS: &'static str = "Has the Workload API validate a JWT-SVID";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.audience.is_empty() {
            return Err(Error::refused("audience must be specified"));
        }
        if self.svid.is_empty() {
            return Err(Error::refused("svid must be specified"));
        }
        let mut client = client(&self.socket, terminal)?;
        let request = ValidateJwtsvidRequest { audience: self.audience, svid: self.svid };
        let answer = match self.timeout.answer(client.validate_jwtsvid(request)).await {
            Ok(answer) => answer,
            Err(Error::Rpc(status)) if status.code() == Code::InvalidArgument => {
                return Err(Error::Refused(format!("SVID is not valid: {}", status.message())));
            }
            Err(err) => return Err(err).during("unable to validate JWT SVID"),
        };
        self.output.print(terminal, &answer, |terminal, answer| {
            let claims = json::field(answer, "claims")?;
            writeln!(terminal.stdout, "SVID is valid.\nSPIFFE ID : {}\nClaims    : {claims}", answer.spiffe_id)?;
            Ok(())
        })
    }
}
