//! Levels of a log, which the commands of server and agent print alike.

use std::io::Write as _;

use spire_api::proto::types;
use spire_api::proto::types::LogLevel;

use crate::error::Error;
use crate::terminal::Terminal;

/// The level of a flag.
pub(crate) fn parse_level(text: &str) -> Result<LogLevel, Error> {
    match text.to_lowercase().as_str() {
        "" => Err(Error::refused("a value (-level) must be set")),
        "panic" => Ok(LogLevel::Panic),
        "fatal" => Ok(LogLevel::Fatal),
        "error" => Ok(LogLevel::Error),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err(Error::Refused(format!("the value {text:?} is not a valid setting"))),
    }
}

pub(crate) fn print(terminal: &mut Terminal, logger: &types::Logger) -> Result<(), Error> {
    let (current, launch) = (name(logger.current_level(), "current")?, name(logger.launch_level(), "launch")?);
    write!(terminal.stdout, "Logger Level : {current}\nLaunch Level : {launch}\n\n")?;
    Ok(())
}

fn name(level: LogLevel, which: &str) -> Result<&'static str, Error> {
    match level {
        LogLevel::Unspecified => Err(Error::Refused(format!("the {which} log level that was returned is undefined"))),
        LogLevel::Panic => Ok("panic"),
        LogLevel::Fatal => Ok("fatal"),
        LogLevel::Error => Ok("error"),
        LogLevel::Warn => Ok("warning"),
        LogLevel::Info => Ok("info"),
        LogLevel::Debug => Ok("debug"),
        LogLevel::Trace => Ok("trace"),
    }
}
