//! The agent: attests to a server, keeps the identities of its machine's workloads fresh, and serves them.
//!
//! Owns the agent's life: the first trust bundle, attestation, its own SVID, what is synced from the server, and the
//! sockets. Does not mint, and does not find out who a process is by itself: that is `spire-attestation`. Start at
//! [`Manager`], which is what endpoints serve from; what it holds is decided in [`cache`].
//! Standards: SPIFFE Workload API on its socket; towards the server SPIRE 1.15's APIs and files.

#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
pub mod endpoints;
mod error;
mod manager;
pub mod workload;

pub use cache::{Counts, JwtSvid, WorkloadIdentity, WorkloadUpdate};
pub use error::Error;
pub use manager::Manager;
