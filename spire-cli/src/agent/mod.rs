//! The commands of `spire-agent`.

mod client;
mod debug;
mod fetch;
mod healthcheck;
mod logger;
mod validate;
mod watch;
mod x509;

use clap::{Args, FromArgMatches as _};

use crate::command::{Called, Command, Program};
use crate::{Outcome, Terminal};

/// Flags of `spire-agent run` and `validate`. A flag that was not given is `None` or false, and leaves the
/// configuration file's value alone.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct RunFlags {
    /// Path to the configuration file of the agent
    #[arg(long = "config", value_name = "string", default_value = RunFlags::DEFAULT_CONFIG)]
    pub config: String,
    /// Replace $VARIABLE and ${VARIABLE} in the configuration file by their values in the environment
    #[arg(long = "expandEnv")]
    pub expand_env: bool,
    /// Let workloads without an identity validate JWT-SVIDs and fetch bundles
    #[arg(long = "allowUnauthenticatedVerifiers")]
    pub allow_unauthenticated_verifiers: bool,
    /// Directory for what the agent keeps
    #[arg(long = "dataDir", value_name = "string")]
    pub data_dir: Option<String>,
    /// Do not serve Envoy's secret discovery
    #[arg(long = "disableSDSAPI")]
    pub disable_sds_api: bool,
    /// Do not serve the Workload API
    #[arg(long = "disableWorkloadAPI")]
    pub disable_workload_api: bool,
    /// Trust whatever server answers the first time
    #[arg(long = "insecureBootstrap")]
    pub insecure_bootstrap: bool,
    /// Join token that the server has made for this agent
    #[arg(long = "joinToken", value_name = "string")]
    pub join_token: Option<String>,
    /// File with the join token
    #[arg(long = "joinTokenFile", value_name = "string")]
    pub join_token_file: Option<String>,
    /// File to write logs to
    #[arg(long = "logFile", value_name = "string")]
    pub log_file: Option<String>,
    /// Format of the logs: text or json
    #[arg(long = "logFormat", value_name = "string")]
    pub log_format: Option<String>,
    /// Lowest level that is logged: debug, info, warn or error
    #[arg(long = "logLevel", value_name = "string")]
    pub log_level: Option<String>,
    /// Log the place in the source as well
    #[arg(long = "logSourceLocation")]
    pub log_source_location: bool,
    /// How long the server has to be distrusted before the agent bootstraps again
    #[arg(long = "rebootstrapDelay", value_name = "string")]
    pub rebootstrap_delay: Option<String>,
    /// Whether the agent bootstraps again: never, auto or always
    #[arg(long = "rebootstrapMode", value_name = "string")]
    pub rebootstrap_mode: Option<String>,
    /// IP address or DNS name of the server
    #[arg(long = "serverAddress", value_name = "string")]
    pub server_address: Option<String>,
    /// Port of the server
    #[arg(long = "serverPort", value_name = "int", value_parser = crate::go::parse_int)]
    pub server_port: Option<i64>,
    /// Socket to serve the Workload API on
    #[arg(long = "socketPath", value_name = "string")]
    pub socket_path: Option<String>,
    /// File with the bundle that the server is first trusted by
    #[arg(long = "trustBundle", value_name = "string")]
    pub trust_bundle: Option<String>,
    /// Format of that bundle: pem or spiffe
    #[arg(long = "trustBundleFormat", value_name = "string")]
    pub trust_bundle_format: Option<String>,
    /// URL to download that bundle from
    #[arg(long = "trustBundleUrl", value_name = "string")]
    pub trust_bundle_url: Option<String>,
    /// Trust domain that this agent belongs to
    #[arg(long = "trustDomain", value_name = "string")]
    pub trust_domain: Option<String>,
}

impl RunFlags {
    /// The configuration file that is read when none is named; relative to the working directory.
    pub const DEFAULT_CONFIG: &'static str = "conf/agent/agent.conf";
}

/// Carries out a command line of `spire-agent`, given the words after the program's name.
///
/// Results go to standard output, errors, usage and `version` to standard error. The exit code is 0 for success, 1
/// for failure, 127 when there is no such command. Needs a tokio runtime with I/O and time.
pub async fn main(version: &'static str, words: &[String], terminal: &mut Terminal) -> Outcome<RunFlags> {
    let program = Program { name: "spire-agent", version, commands: commands(), error_prefix };
    match program.call(words, terminal).await {
        Called::Exit(code) => Outcome::Exit(code),
        Called::Binary(name, matches) => {
            // Reading what was just parsed by the same definition cannot fail.
            let flags = RunFlags::from_arg_matches(&matches).unwrap_or_default();
            if name == VALIDATE { Outcome::Validate(flags) } else { Outcome::Run(flags) }
        }
    }
}

const VALIDATE: &str = "validate";

/// Commands on the workloads' socket print their errors bare.
fn error_prefix(command: &Command) -> &'static str {
    if command.name.starts_with("logger ") || command.name.starts_with("debug ") { "Error: " } else { "" }
}

fn commands() -> Vec<Command> {
    vec![
        Command::left_to_binary::<RunFlags>("run", "Runs the agent"),
        Command::left_to_binary::<RunFlags>(VALIDATE, "Checks the agent's configuration file"),
        Command::of::<healthcheck::Healthcheck>().called("health"),
        Command::of::<fetch::Fetch>().called("fetch x509"),
        Command::of::<fetch::X509>().called("fetch x509"),
        Command::of::<fetch::Jwt>().called("fetch jwt"),
        Command::of::<validate::Jwt>().called("validate jwt"),
        Command::of::<watch::Watch>().called("watch"),
        Command::of::<debug::GetInfo>(),
        Command::of::<logger::Get>(),
        Command::of::<logger::Reset>(),
        Command::of::<logger::Set>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_hold_together_and_names_are_unique() {
        let commands = commands();
        commands.iter().for_each(Command::check);
        let names: std::collections::BTreeSet<_> = commands.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), commands.len());
    }
}
