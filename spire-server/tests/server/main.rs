//! Whole servers in this process, spoken to over their sockets as agents and administrators do.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod agents;
mod common;
mod hostile;
mod lifecycle;
mod nested;
