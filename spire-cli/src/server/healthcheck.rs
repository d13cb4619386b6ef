//! `healthcheck`.

use std::io::Write as _;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::command::Action;
use crate::error::{During as _, Error};
use crate::socket::ServerSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    socket: ServerSocket,
    /// Look less closely
    #[arg(long = "shallow")]
    shallow: bool,
    /// Say what is being done, and why it failed
    #[arg(long = "verbose")]
    verbose: bool,
}

impl Action for Healthcheck {
    const NAME: &'static str = "healthcheck";
    const SYNOPSIS: &'static str = "Asks whether the server is healthy";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let channel = self.socket.open(terminal)?;
        if self.verbose {
            writeln!(terminal.stdout, "Checking server health...")?;
        }
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        let status = match answer {
            Ok(answer) => answer.into_inner().status(),
            Err(status) => {
                if self.verbose {
                    writeln!(terminal.stderr, "Failed to check health: {}", Error::from(status))?;
                }
                return Err(Error::refused("unable to determine health")).during("server is unhealthy");
            }
        };
        if status != ServingStatus::Serving {
            return Err(Error::Refused(format!("server returned status {:?}", status.as_str_name())))
                .during("server is unhealthy");
        }
        writeln!(terminal.stdout, "Server is healthy.")?;
        Ok(())
    }
}
