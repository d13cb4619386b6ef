//! Results: in words for people, in JSON for programs.

pub(crate) mod json;
pub(crate) mod logger;

use std::io::Write as _;

use clap::Args;
use prost::{Message, Name};

use crate::error::Error;
use crate::terminal::Terminal;

/// The flag that chooses the format.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Format of the output (pretty, json); default: pretty.
    #[arg(long = "output", value_name = "value", value_parser = parse_format)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Pretty,
    Json,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.output == Some(Format::Json)
    }

    /// Prints a message as JSON, or else what `pretty` makes of it. In JSON the failure of an item is only in the
    /// text: such a command succeeds.
    pub(crate) fn print<M: Message + Name>(
        self,
        terminal: &mut Terminal,
        message: &M,
        pretty: impl FnOnce(&mut Terminal, &M) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.is_json() {
            return pretty(terminal, message);
        }
        writeln!(terminal.stdout, "{}", json::of_message(message)?)?;
        Ok(())
    }
}

pub(crate) fn parse_format(text: &str) -> Result<Format, String> {
    match text.to_ascii_lowercase().as_str() {
        "pretty" | "prettyprint" => Ok(Format::Pretty),
        "json" => Ok(Format::Json),
        _ => Err(format!("bad formatter flag: unknown format option: {text:?}")),
    }
}
