//! `logger get`, `reset`, `set`.

use clap::Args;
use spire_api::proto::agent_logger::logger_client::LoggerClient;
use spire_api::proto::agent_logger::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};

use crate::command::Action;
use crate::error::{During as _, Error};
use crate::print::{Output, logger};
use crate::socket::AgentAdminSocket;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Get {
    #[command(flatten)]
    socket: AgentAdminSocket,
    #[command(flatten)]
    output: Output,
}

impl Action for Get {
    const NAME: &'static str = "logger get";
    const SYNOPSIS: &'static str = "Shows the level of the agent's log";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let answer = LoggerClient::new(self.socket.open()).get_logger(GetLoggerRequest {}).await;
        self.output.print(terminal, &answer.during("error fetching logger")?.into_inner(), logger::print)
    }
}

#[derive(Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    socket: AgentAdminSocket,
    #[command(flatten)]
    output: Output,
    /// New level: panic, fatal, error, warn, info, debug or trace
    #[arg(long = "level", value_name = "string", default_value = "")]
    level: String,
}

impl Action for Set {
    const NAME: &'static str = "logger set";
    const SYNOPSIS: &'static str = "Sets the level of the agent's log";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let request = SetLogLevelRequest { new_level: logger::parse_level(&self.level)?.into() };
        let answer = LoggerClient::new(self.socket.open()).set_log_level(request).await;
        self.output.print(terminal, &answer.during("failed to set log level")?.into_inner(), logger::print)
    }
}

#[derive(Args, Debug)]
pub(super) struct Reset {
    #[command(flatten)]
    socket: AgentAdminSocket,
    #[command(flatten)]
    output: Output,
}

impl Action for Reset {
    const NAME: &'static str = "logger reset";
    const SYNOPSIS: &'static str = "Sets the level of the agent's log to what it was at its start";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let answer = LoggerClient::new(self.socket.open()).reset_log_level(ResetLogLevelRequest {}).await;
        self.output.print(terminal, &answer.during("failed to reset logger")?.into_inner(), logger::print)
    }
}
