//! The SPIRE server as a library: it attests agents, keeps the registry, and signs SVIDs.
//!
//! Owns the composition ([`Server`]), the two endpoints with their table of who may call what ([`authz`]), the gRPC
//! services, and the long-running loops around decisions that other crates take. Does not mint, store, attest or
//! schedule by itself: those are `spire-ca`, `spire-datastore`, `spire-attestation` and `spire-federation`. Several
//! servers run in one process; nothing here is global. Start at [`Server::builder`].

#![forbid(unsafe_code)]

mod api;
pub mod attestation;
mod audit;
pub mod authority;
pub mod authz;
pub mod caller;
mod catalog;
pub mod config;
mod endpoints;
pub mod entries;
mod error;
pub mod federation;
mod health;
mod metered_store;
mod prune;
pub mod ratelimit;
mod server;

pub use error::Error;
pub use server::{Server, ServerBuilder};
