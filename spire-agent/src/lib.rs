//! The agent: attests to a server, keeps the identities of its machine's workloads fresh, and serves them.
//!
//! Owns the agent's life: the first trust bundle, attestation, its own SVID, what is synced from the server, and the
//! sockets. Does not mint, and does not find out who a process is by itself: that is `spire-attestation`. Start at
//! [`Agent::builder`]; endpoints serve from a [`Manager`], and what that holds is decided in [`cache`].
//! Standards: SPIFFE Workload API on its socket; towards the server SPIRE 1.15's APIs and files.

#![forbid(unsafe_code)]

mod agent;
mod attest;
mod bootstrap;
pub mod cache;
mod catalog;
pub mod client;
pub mod config;
pub mod endpoints;
mod error;
mod follow;
mod health;
mod identity;
mod manager;
mod remote;
pub mod storage;
mod sync;
mod telemetry;
pub mod workload;

pub use agent::{Agent, AgentBuilder};
pub use cache::{Counts, JwtSvid, WorkloadIdentity, WorkloadUpdate};
pub use error::{Denial, Error};
pub use manager::Manager;
