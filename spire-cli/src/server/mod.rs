//! The commands of `spire-server`.

mod agent;
mod bundle;
mod client;
mod debug;
mod entry;
mod experimental;
mod federation;
mod healthcheck;
mod local_authority;
mod logger;
mod mint;
mod token;

use clap::{Args, FromArgMatches as _};

use crate::command::{Called, Command, Program};
use crate::{Outcome, Terminal};

/// Flags of `spire-server run` and `validate`. A flag that was not given is `None` or false, and leaves the
/// configuration file's value alone.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct RunFlags {
    /// Path to the configuration file of the server
    #[arg(long = "config", value_name = "string", default_value = RunFlags::DEFAULT_CONFIG)]
    pub config: String,
    /// Replace $VARIABLE and ${VARIABLE} in the configuration file by their values in the environment
    #[arg(long = "expandEnv")]
    pub expand_env: bool,
    /// IP address or DNS name to listen on
    #[arg(long = "bindAddress", value_name = "string")]
    pub bind_address: Option<String>,
    /// Port to listen on
    #[arg(long = "serverPort", value_name = "int", value_parser = crate::go::parse_int)]
    pub server_port: Option<i64>,
    /// Directory for what the server keeps
    #[arg(long = "dataDir", value_name = "string")]
    pub data_dir: Option<String>,
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
    /// Socket to serve the administrators' API on
    #[arg(long = "socketPath", value_name = "string")]
    pub socket_path: Option<String>,
    /// Trust domain that this server belongs to
    #[arg(long = "trustDomain", value_name = "string")]
    pub trust_domain: Option<String>,
}

impl RunFlags {
    /// The configuration file that is read when none is named; relative to the working directory.
    pub const DEFAULT_CONFIG: &'static str = "conf/server/server.conf";
}

/// Carries out a command line of `spire-server`, given the words after the program's name.
///
/// Results go to standard output, errors, usage and `version` to standard error. The exit code is 0 for success, 1
/// for failure, 127 when there is no such command. Needs a tokio runtime with I/O and time.
pub async fn main(version: &'static str, words: &[String], terminal: &mut Terminal) -> Outcome<RunFlags> {
    let program = Program { name: "spire-server", version, commands: commands(), error_prefix: |_| "Error: " };
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

fn commands() -> Vec<Command> {
    vec![
        Command::left_to_binary::<RunFlags>("run", "Runs the server"),
        Command::left_to_binary::<RunFlags>(VALIDATE, "Checks the server's configuration file"),
        Command::of::<healthcheck::Healthcheck>(),
        Command::of::<agent::Ban>(),
        Command::of::<agent::Count>(),
        Command::of::<agent::Evict>(),
        Command::of::<agent::List>(),
        Command::of::<agent::Purge>(),
        Command::of::<agent::Show>(),
        Command::of::<bundle::Count>(),
        Command::of::<bundle::Delete>(),
        Command::of::<bundle::List>(),
        Command::of::<bundle::Set>(),
        Command::of::<bundle::Show>(),
        Command::of::<debug::GetInfo>(),
        Command::of::<entry::Count>(),
        Command::of::<entry::Create>(),
        Command::of::<entry::Delete>(),
        Command::of::<entry::Show>(),
        Command::of::<entry::Update>(),
        Command::of::<experimental::Delete>().unlisted(),
        Command::of::<experimental::List>().unlisted(),
        Command::of::<experimental::Set>().unlisted(),
        Command::of::<experimental::Show>().unlisted(),
        Command::of::<federation::Create>(),
        Command::of::<federation::Delete>(),
        Command::of::<federation::List>(),
        Command::of::<federation::Refresh>(),
        Command::of::<federation::Show>(),
        Command::of::<federation::Update>(),
        Command::of::<mint::Jwt>(),
        Command::of::<mint::X509>(),
        Command::of::<local_authority::ActivateJwt>(),
        Command::of::<local_authority::ActivateX509>(),
        Command::of::<local_authority::PrepareJwt>(),
        Command::of::<local_authority::PrepareX509>(),
        Command::of::<local_authority::RevokeJwt>(),
        Command::of::<local_authority::RevokeX509>(),
        Command::of::<local_authority::ShowJwt>(),
        Command::of::<local_authority::ShowX509>(),
        Command::of::<local_authority::TaintJwt>(),
        Command::of::<local_authority::TaintX509>(),
        Command::of::<local_authority::RevokeUpstream>(),
        Command::of::<local_authority::TaintUpstream>(),
        Command::of::<logger::Get>(),
        Command::of::<logger::Reset>(),
        Command::of::<logger::Set>(),
        Command::of::<token::Generate>().called("generate"),
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
