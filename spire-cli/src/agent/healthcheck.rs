//! `healthcheck`.

use std::io::Write as _;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::command::Action;
use crate::error::{During as _, Error};
use crate::socket::WorkloadSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// Look less closely
    #[arg(long = "shallow")]
    shallow: bool,
    /// Say what is being done, and why it failed
    #[arg(long = "verbose")]
    verbose: bool,
}

impl Action for Healthcheck {
    const NAME: &'static str = "healthcheck";
    const SYNOPSIS: &'static str = "Asks whether the agent is healthy";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.verbose {
            writeln!(terminal.stdout, "Checking agent health...")?;
        }
        self.check(terminal).await.during("Agent is unhealthy")?;
        writeln!(terminal.stdout, "Agent is healthy.")?;
        Ok(())
    }
}

impl Healthcheck {
    async fn check(&self, terminal: &mut Terminal) -> Result<(), Error> {
        let channel = self.socket.open(terminal)?;
        let status = match HealthClient::new(channel).check(HealthCheckRequest::default()).await {
            Ok(answer) => answer.into_inner().status(),
            Err(status) => {
                if self.verbose {
                    writeln!(terminal.stderr, "Failed to check health: {}", Error::from(status))?;
                }
                return Err(Error::refused("unable to determine health"));
            }
        };
        if status != ServingStatus::Serving {
            return Err(Error::Refused(format!("agent returned status {:?}", status.as_str_name())));
        }
        Ok(())
    }
}
