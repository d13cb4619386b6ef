//! Time, randomness, tasks and logs: what drivers hold, and nobody else asks for.
//!
//! The one crate that may read the system's clock. Start at [`Clock`] and [`Tasks`]. The feature `sim` adds a clock
//! that runs on tokio's paused time, so that a simulated year takes milliseconds.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
#[cfg(feature = "config-file")]
pub mod config_file;
pub mod crowd;
pub mod health;
#[cfg(feature = "listeners")]
mod http_endpoint;
pub mod log;
pub mod process;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tasks;
pub mod telemetry;
mod tls_time;

pub use backoff::Backoff;
pub use clock::{Clock, SystemClock};
pub use crowd::{Crowd, Place};
pub use log::{LogFormat, LogLevel, Logging, MoreFields};
#[cfg(feature = "sim")]
pub use sim::SimClock;
pub use tasks::Tasks;
pub use tls_time::rustls_time;
