//! `api watch`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use tonic::{Code, Status};
use workload_api::proto::X509svidRequest;

use super::client::{Client, client};
use super::x509::Svids;
use crate::command::Action;
use crate::error::Error;
use crate::socket::WorkloadSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Watch {
    #[command(flatten)]
    socket: WorkloadSocket,
}

/// The wait before the first new attempt; each further one in a row waits that much longer.
const BACKOFF_STEP: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

impl Action for Watch {
    const NAME: &'static str = "api watch";
    const SYNOPSIS: &'static str = "Prints the X509-SVIDs of the Workload API whenever they change";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let mut client = client(&self.socket, terminal)?;
        let began = Instant::now();
        tokio::select! {
            outcome = follow(&mut client, terminal, began) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Status::cancelled("context canceled").into()),
        }
    }
}

/// Prints every state, until an error that will not go away.
async fn follow(client: &mut Client, terminal: &mut Terminal, began: Instant) -> Result<(), Error> {
    let (start, mut last, mut failures) = (terminal.now, began, 0);
    loop {
        let ended = async {
            let mut stream = client.fetch_x509svid(X509svidRequest {}).await?.into_inner();
            while let Some(answer) = stream.message().await? {
                failures = 0;
                let elapsed = spiffe_core::Ttl::from_secs(began.elapsed().as_secs());
                let after = last.elapsed();
                last = Instant::now();
                let name = |id: &str| id.trim_start_matches("spiffe://").to_owned();
                match Svids::of(&answer, start + elapsed) {
                    Ok(svids) => write!(terminal.stdout, "{}", svids.text(after, name, false))?,
                    Err(err) => writeln!(terminal.stderr, "{err}")?,
                }
                terminal.stdout.flush()?;
            }
            Err::<(), Error>(Status::new(Code::Unavailable, "EOF").into())
        };
        match ended.await {
            Ok(()) => {}
            Err(Error::Rpc(status)) if !is_permanent(status.code()) => {
                writeln!(terminal.stderr, "{}", Error::Rpc(status))?;
            }
            Err(err) => return Err(err),
        }
        failures += 1;
        tokio::time::sleep((BACKOFF_STEP * failures).min(BACKOFF_MAX)).await;
    }
}

/// Errors that an endpoint would answer with again.
fn is_permanent(code: Code) -> bool {
    matches!(code, Code::Cancelled | Code::InvalidArgument)
}
