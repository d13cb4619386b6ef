//! `logger get`, `reset`, `set`.

use clap::Args;
use spire_api::proto::logger::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};

use super::client::Api;
use crate::command::Action;
use crate::error::{During as _, Error};
use crate::print::logger;
use crate::terminal::Terminal;

#[derive(Args, Debug)]
pub(super) struct Get {
    #[command(flatten)]
    api: Api,
}

impl Action for Get {
    const NAME: &'static str = "logger get";
    const SYNOPSIS: &'static str = "Shows the level of the server's log";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let answer = self.api.logger(terminal)?.get_logger(GetLoggerRequest {}).await;
        let answer = answer.during("error fetching logger")?.into_inner();
        self.api.output.print(terminal, &answer, logger::print)
    }
}

#[derive(Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    api: Api,
    /// New level: panic, fatal, error, warn, info, debug or trace
    #[arg(long = "level", value_name = "string", default_value = "")]
    level: String,
}

impl Action for Set {
    const NAME: &'static str = "logger set";
    const SYNOPSIS: &'static str = "Sets the level of the server's log";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let request = SetLogLevelRequest { new_level: logger::parse_level(&self.level)?.into() };
        let answer = self.api.logger(terminal)?.set_log_level(request).await;
        let answer = answer.during("failed to set log level")?.into_inner();
        self.api.output.print(terminal, &answer, logger::print)
    }
}

#[derive(Args, Debug)]
pub(super) struct Reset {
    #[command(flatten)]
    api: Api,
}

impl Action for Reset {
    const NAME: &'static str = "logger reset";
    const SYNOPSIS: &'static str = "Sets the level of the server's log to what it was at its start";

    async fn run(self, terminal: &mut Terminal) -> Result<(), Error> {
        let answer = self.api.logger(terminal)?.reset_log_level(ResetLogLevelRequest {}).await;
        let answer = answer.during("failed to reset logger")?.into_inner();
        self.api.output.print(terminal, &answer, logger::print)
    }
}
