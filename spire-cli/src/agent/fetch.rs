//! `api fetch x509` (which is also `api fetch`) and `api fetch jwt`.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use workload_api::proto::{JwtBundlesRequest, JwtsvidRequest, X509svidRequest};

use super::client::{Timeout, client};
use super::x509::Svids;
use crate::command::Action;
use crate::error::Error;
use crate::print::{Format, Output, json, parse_format};
use crate::socket::WorkloadSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct X509 {
    #[command(flatten)]
    socket: WorkloadSocket,
    #[command(flatten)]
    timeout: Timeout,
    #[command(flatten)]
    output: Output,
    /// Print nothing but what is written
    #[arg(long = "silent")]
    silent: bool,
    /// Directory to write SVIDs, keys and bundles to (optional; for pretty output only)
    #[arg(long = "write", value_name = "string", default_value = "")]
    write: String,
}

impl Action for X509 {
    const NAME: &'static str = "api fetch x509";
    const SYNOPSIS: &'static str = "Fetches X509-SVIDs from the Workload API";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let mut client = client(&self.socket, terminal)?;
        let start = Instant::now();
        let fetch = async { first(client.fetch_x509svid(X509svidRequest {}).await?.into_inner()).await };
        let answer = self.timeout.wait(fetch).await?;
        let after = start.elapsed();
        self.output.print(terminal, &answer, |terminal, answer| {
            let svids = Svids::of(answer, terminal.now)?;
            if !self.silent {
                write!(terminal.stdout, "{}", svids.text(after, str::to_owned, true))?;
            }
            if !self.write.is_empty() {
                svids.write(terminal, Path::new(&self.write))?;
            }
            Ok(())
        })
    }
}

/// `api fetch` alone.
#[derive(Args, Debug)]
pub(super) struct Fetch {
    #[command(flatten)]
    fetch: X509,
}

impl Action for Fetch {
    const NAME: &'static str = "api fetch";
    const SYNOPSIS: &'static str = X509::SYNOPSIS;

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        self.fetch.run(terminal).await
    }
}

#[derive(Args, Debug)]
pub(super) struct Jwt {
    #[command(flatten)]
    socket: WorkloadSocket,
    #[command(flatten)]
    timeout: Timeout,
    #[command(flatten)]
    output: Output,
    /// The same as -output, which is to be preferred
    #[arg(long = "format", value_name = "value", value_parser = parse_format)]
    format: Option<Format>,
    /// Audiences of the JWT-SVID, with commas between them
    #[arg(long = "audience", value_name = "value", default_value = "")]
    audience: String,
    /// SPIFFE ID of the JWT-SVID (optional)
    #[arg(long = "spiffeID", value_name = "string", default_value = "")]
    spiffe_id: String,
}

impl Action for Jwt {
    const NAME: &'static str = "api fetch jwt";
    const SYNOPSIS: &'static str = "Fetches a JWT-SVID from the Workload API";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        if self.audience.is_empty() {
            return Err(Error::refused("audience must be specified"));
        }
        let mut client = client(&self.socket, terminal)?;
        let bundles = async { first(client.fetch_jwt_bundles(JwtBundlesRequest {}).await?.into_inner()).await };
        let bundles = self.timeout.wait(bundles).await?;
        let audience = self.audience.split(',').map(str::to_owned).collect();
        let request = JwtsvidRequest { audience, spiffe_id: self.spiffe_id.clone() };
        let svids = self.timeout.answer(client.fetch_jwtsvid(request)).await?;
        if self.output.is_json() || self.format == Some(Format::Json) {
            let both = vec![json::value(&svids)?, json::value(&bundles)?];
            writeln!(terminal.stdout, "{}", json::of_values(both))?;
            return Ok(());
        }
        for svid in &svids.svids {
            writeln!(terminal.stdout, "token({}):\n\t{}", svid.spiffe_id, svid.svid)?;
            if !svid.hint.is_empty() {
                writeln!(terminal.stdout, "hint({}):\n\t{}", svid.spiffe_id, svid.hint)?;
            }
        }
        for (trust_domain, jwks) in &bundles.bundles {
            let jwks: &Bytes = jwks;
            writeln!(terminal.stdout, "bundle({trust_domain}):\n\t{}", String::from_utf8_lossy(jwks))?;
        }
        Ok(())
    }
}

/// The first message of a stream.
async fn first<T>(mut stream: Streaming<T>) -> Result<T, Status> {
    stream.message().await?.ok_or_else(|| Status::new(Code::Unknown, "EOF"))
}
