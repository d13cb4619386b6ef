//! Every command, from its words to its output and exit code.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod agent;
mod server;
mod support;
