//! Two federated trust domains on this machine, with a page to open: two servers, two agents and two programs, as
//! processes of their own. Every step is shown as the command that was run, and its result.
//!
//! ```sh
//! cargo run --release --bin quickstart
//! ```
//!
//! With `--grpc` after it the programs speak gRPC, and with `--https-web` one server's endpoint is certified by the Web PKI.
//! With `nested`, one trust domain with a server above two others instead:
//!
//! ```sh
//! cargo run --release --bin quickstart -- nested
//! ```

mod config;
mod nested;
mod page;
mod process;
mod programs;
mod site;
mod steps;
mod web;

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::process::Processes;
use crate::programs::Programs;
use crate::site::Site;
use crate::steps::{Steps, complain, say};
use crate::web::Web;

/// Starts two federated trust domains on this machine: broker.example, whose web application shows a page of stock
/// quotes, and stockmarket.example, whose service it asks for them over mutual TLS.
#[derive(Parser)]
struct Flags {
    /// Leave the files (configurations, databases, logs) where they are
    #[arg(long)]
    keep: bool,
    /// Have the Web PKI certify the broker's bundle endpoint: by ACME against pebble where that is installed, by a local
    /// root otherwise
    #[arg(long)]
    https_web: bool,
    /// Have the web application ask for the quotes by gRPC, not HTTPS
    #[arg(long)]
    grpc: bool,
    /// Port of the page; without it 8080, or a free one where that is taken
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Subcommand)]
enum Scenario {
    /// Start one trust domain instead: a server above two others, whose tokens are valid at each other's agents
    Nested,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often what has been started is looked at.
const GLANCE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain(&*err);
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let mut stop = Stop::new()?;
    let names = if flags.scenario.is_some() { programs::SPIRE } else { programs::WITH_WORKLOADS };
    let programs = tokio::select! {
        programs = Programs::find_or_build(names) => programs?,
        () = stop.requested() => return Ok(()),
    };
    let directory = tempfile::Builder::new()
        .prefix("spire-quickstart-")
        .permissions(fs::Permissions::from_mode(0o700))
        .disable_cleanup(flags.keep)
        .tempdir()?;
    let mut processes = Processes::default();
    let outcome = tokio::select! {
        outcome = scenario(flags, &programs, directory.path(), &mut processes) => outcome,
        () = stop.requested() => Ok(()),
    };
    say("\nEnding what was started.");
    processes.shutdown().await;
    if flags.keep {
        say(&format!("The files are in {}", directory.path().display()));
    }
    outcome
}

/// Ctrl-C, a request to terminate, a terminal that was closed.
struct Stop([tokio::signal::unix::Signal; 3]);

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind);
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    async fn requested(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Returns only when something fails.
async fn scenario(flags: &Flags, programs: &Programs, directory: &Path, processes: &mut Processes) -> Result<()> {
    let steps = Steps { programs, directory };
    say(&format!("cd {}\nPATH={}:$PATH", directory.display(), programs.directory().display()));
    match flags.scenario {
        None => federated(flags, &steps, processes).await?,
        Some(Scenario::Nested) => nested::scenario(&steps, processes).await?,
    }
    say("Ctrl-C ends all.");
    loop {
        tokio::time::sleep(GLANCE).await;
        for ended in processes.ended() {
            say(&format!("\n{ended}"));
        }
    }
}

async fn federated(flags: &Flags, steps: &Steps<'_>, processes: &mut Processes) -> Result<()> {
    let directory = steps.directory;
    let begin = Instant::now();
    let [broker, stockmarket] = Site::pair()?;
    let page = SocketAddr::from((Ipv4Addr::LOCALHOST, site::page_port(flags.port)?));

    let web = match flags.https_web {
        true => Some(Web::prepare(steps, processes, &broker).await?),
        false => None,
    };
    steps.title("Start the servers, each with a federation endpoint and the address of the other's");
    for (site, other) in [(&broker, &stockmarket), (&stockmarket, &broker)] {
        fs::create_dir(directory.join(site.name))?;
        fs::write(directory.join(site.file("server.conf")), config::server(site, other, web.as_ref()))?;
        let environment = web.as_ref().map(|web| web.environment(site));
        let run = ["run", "-config", &site.file("server.conf")];
        steps.start_with(environment, processes, site, "server", "spire-server", &run)?;
    }
    for site in [&broker, &stockmarket] {
        steps.until_healthy(processes, site, "spire-server", &site.server_socket()).await?;
    }

    steps.title("Start the agents: each proves itself with a token that can be used once");
    for site in [&broker, &stockmarket] {
        start_agent(steps, processes, site).await?;
    }
    for site in [&broker, &stockmarket] {
        steps.until_healthy(processes, site, "spire-agent", &site.agent_socket()).await?;
    }

    steps.title("Bootstrap federation: each server gets the other's bundle once, and refreshes it itself from then on");
    for (from, to) in [(&broker, &stockmarket), (&stockmarket, &broker)] {
        if web.is_some() && from.is_broker() {
            // Believed by its certificate: nothing needs to be set.
            Web::fetch(steps, processes, to, from).await?;
            continue;
        }
        let bundle = format!("{}.bundle", from.trust_domain);
        let show = ["bundle", "show", "-format", "spiffe", "-socketPath", &from.server_socket()];
        steps.command_into(from, "spire-server", &show, &bundle).await?;
        let id = format!("spiffe://{}", from.trust_domain);
        let set = ["bundle", "set", "-format", "spiffe", "-id", &id, "-path", &bundle];
        steps.command(to, "spire-server", &[&set[..], &["-socketPath", &to.server_socket()]].concat()).await?;
    }

    steps.title("Register the workloads");
    register(steps, &broker, "webapp", "broker-webapp", &stockmarket).await?;
    register(steps, &stockmarket, "quotes-service", "stock-quotes-service", &broker).await?;

    steps.title("Start the quotes service and the web application");
    let quotes = stockmarket.workload_address.to_string();
    let form: &[&str] = if flags.grpc { &["--grpc"] } else { &[] };
    let service = [&["--listen", &quotes, "--client", "spiffe://broker.example/webapp"], form].concat();
    let pid = steps.start_workload(processes, &stockmarket, "stock-quotes-service", &service)?;
    let (listen, server) = (page.to_string(), "spiffe://stockmarket.example/quotes-service");
    let webapp = [&["--listen", &listen, "--quotes", &quotes, "--service", server], form].concat();
    steps.start_workload(processes, &broker, "broker-webapp", &webapp)?;
    page::until_live(page, processes).await?;

    let took = begin.elapsed().as_secs_f32();
    say(&format!("\nThe page was there after {took:.1} s. Open\n\n    http://{page}/quotes\n"));
    say(&format!("Stop the quotes service and see what the page says: kill {pid}"));
    say(&format!("Start it again: {}", steps.workload_line(&stockmarket, "stock-quotes-service", &service)));
    Ok(())
}

async fn start_agent(steps: &Steps<'_>, processes: &mut Processes, site: &Site) -> Result<()> {
    let socket = site.server_socket();
    let (bundle, host) = (site.file("bundle.pem"), site.host_id());
    steps.command_into(site, "spire-server", &["bundle", "show", "-socketPath", &socket], &bundle).await?;
    let generate = ["token", "generate", "-spiffeID", &host, "-socketPath", &socket];
    let printed = steps.command(site, "spire-server", &generate).await?;
    let token = printed
        .lines()
        .find_map(|line| line.strip_prefix("Token: "))
        .ok_or_else(|| format!("spire-server token generate printed no token: {printed}"))?;
    fs::write(steps.directory.join(site.file("agent.conf")), config::agent(site))?;
    let run = ["run", "-config", &site.file("agent.conf"), "-joinToken", token.trim()];
    steps.start(processes, site, "agent", "spire-agent", &run)
}

/// The workload is recognised by its user and by the program that it runs.
async fn register(steps: &Steps<'_>, site: &Site, workload: &str, program: &str, federated: &Site) -> Result<()> {
    let user = format!("unix:uid:{}", rustix::process::getuid().as_raw());
    let path = format!("unix:path:{}", steps.programs.path(program).display());
    let (parent, id) = (site.host_id(), format!("spiffe://{}/{workload}", site.trust_domain));
    let federates_with = format!("spiffe://{}", federated.trust_domain);
    let arguments = [
        ["entry", "create"].as_slice(),
        &["-parentID", &parent, "-spiffeID", &id, "-selector", &user, "-selector", &path],
        &["-federatesWith", &federates_with, "-socketPath", &site.server_socket()],
    ];
    steps.command(site, "spire-server", &arguments.concat()).await?;
    Ok(())
}
