//! The command lines of `spire-server` and `spire-agent`, except for running them.
//!
//! Owns words, flags, output and exit codes, which are SPIRE's; every command is a client of the administrators' or
//! the workloads' socket. Does not read configuration files, and leaves `run` and `validate` to the binaries: their
//! flags come back as values in [`Outcome`].
//! Start at [`server::main`] and [`agent::main`].
//! Standard: none; the behaviour of SPIRE 1.15's commands.

#![forbid(unsafe_code)]

pub mod agent;
pub mod server;

mod command;
mod error;
mod files;
mod flags;
mod go;
mod print;
mod socket;
mod terminal;

pub use terminal::{Environment, Terminal};

/// What is left to do once the command line has been looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome<F> {
    /// Nothing: the command is done, and this is the exit code of the process.
    Exit(u8),
    /// Run, with these flags.
    Run(F),
    /// Check the configuration that `run` would use.
    Validate(F),
}
