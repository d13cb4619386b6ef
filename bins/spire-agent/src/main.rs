//! `spire-agent`: reads the command line and runs the agent, or leaves the rest to `spire-cli`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use spire_agent::Agent;
use spire_agent::config::Config;
use spire_agent::config::file::{self, Overrides, Variables};
use spire_cli::agent::RunFlags;
use spire_cli::{Outcome, Terminal};
use spire_runtime::config_file::LogFlags;
use spire_runtime::process::{self, Signals};
use spire_runtime::{Clock as _, Logging, SystemClock};
use tokio_util::sync::CancellationToken;

/// How long calls under way may take once the agent is told to end.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut terminal = Terminal::of_process(SystemClock.now());
    // A command waits for one answer; the threads of an agent are made when it runs.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return failed(&mut terminal, &err),
    };
    let outcome = runtime.block_on(spire_cli::agent::main(env!("CARGO_PKG_VERSION"), &words, &mut terminal));
    drop(runtime);
    match outcome {
        Outcome::Exit(code) => ExitCode::from(code),
        Outcome::Validate(flags) => validate(&flags, &mut terminal),
        Outcome::Run(flags) => match load(&flags, &terminal) {
            Ok((config, warnings)) => run(config, &warnings, &mut terminal),
            Err(err) => failed(&mut terminal, err.as_ref()),
        },
    }
}

/// The configuration, and what an operator should know about it.
fn load(flags: &RunFlags, terminal: &Terminal) -> Result<(Config, Vec<String>), Box<dyn Error>> {
    let flags = flags.clone();
    let log = LogFlags {
        level: flags.log_level,
        format: flags.log_format,
        file: flags.log_file,
        source_location: flags.log_source_location,
    };
    let overrides = Overrides {
        allow_unauthenticated_verifiers: flags.allow_unauthenticated_verifiers,
        data_dir: flags.data_dir,
        disable_sds_api: flags.disable_sds_api,
        disable_workload_api: flags.disable_workload_api,
        insecure_bootstrap: flags.insecure_bootstrap,
        join_token: flags.join_token,
        join_token_file: flags.join_token_file,
        rebootstrap_delay: flags.rebootstrap_delay,
        rebootstrap_mode: flags.rebootstrap_mode,
        server_address: flags.server_address,
        server_port: flags.server_port,
        socket_path: flags.socket_path,
        trust_bundle_format: flags.trust_bundle_format,
        trust_bundle_path: flags.trust_bundle,
        trust_bundle_url: flags.trust_bundle_url,
        trust_domain: flags.trust_domain,
        log,
        proc_root: (terminal.environment)("HOST_PROC").filter(|path| !path.is_empty()).map(PathBuf::from),
    };
    let environment: Variables<'_> = &*terminal.environment;
    let variables = flags.expand_env.then_some(environment);
    let (config, warnings) = file::load(Path::new(&flags.config), variables, &overrides)?;
    Ok((config, warnings.iter().map(ToString::to_string).collect()))
}

fn validate(flags: &RunFlags, terminal: &mut Terminal) -> ExitCode {
    match load(flags, terminal) {
        Ok((_, warnings)) => {
            for warning in warnings {
                let _ = writeln!(terminal.stderr, "warning: {warning}");
            }
            let _ = writeln!(terminal.stdout, "SPIRE agent configuration file is valid.");
            ExitCode::SUCCESS
        }
        Err(err) => {
            let _ = writeln!(terminal.stderr, "SPIRE agent configuration file is invalid: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, warnings: &[String], terminal: &mut Terminal) -> ExitCode {
    let to_a_file = config.log.file.is_some();
    let logging = match Logging::open_as(&config.log, Arc::new(SystemClock)) {
        Ok(logging) => logging,
        Err(err) => return failed(terminal, &format!("unable to open the log file: {err}")),
    };
    if let Err(err) = logging.install() {
        return failed(terminal, &err);
    }
    // Workloads of every user must get to the socket; nobody else to what is made after this.
    if let Some(directory) = config.workload_api.socket_path.parent()
        && let Err(err) = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)
    {
        return failed(terminal, &format!("unable to create the socket's directory {}: {err}", directory.display()));
    }
    process::restrict_new_files();
    process::raise_descriptor_limit();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let ended = process::runtime().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(serve(config, logging));
        // What still blocks is not waited for: nothing that was answered depends on it.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => {
            tracing::info!("Agent stopped gracefully");
            ExitCode::SUCCESS
        }
        Err(err) => {
            tracing::error!(%err, "Agent crashed");
            if to_a_file { failed(terminal, err.as_ref()) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs the agent until a signal, or until a part of it fails.
async fn serve(config: Config, logging: Logging) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::catch()?;
    let ending = CancellationToken::new();
    let _end = ending.clone().drop_guard();
    process::answer_signals(logging.clone(), ending)?;
    let start = Agent::builder(config).logging(logging).start();
    let agent = tokio::select! {
        started = start => started?,
        () = signals.ended() => return Ok(()),
    };
    tokio::select! {
        () = agent.ended() => {}
        () = signals.ended() => {}
    }
    Ok(agent.shutdown(SHUTDOWN_DEADLINE).await?)
}

fn failed(terminal: &mut Terminal, err: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    let _ = writeln!(terminal.stderr, "{err}");
    ExitCode::FAILURE
}
