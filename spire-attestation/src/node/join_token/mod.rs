//! Attestation by a token that the server made and an operator carried to the agent. Each token works once.
//!
//! The payload is the token itself, in UTF-8; there is no challenge. The node has no selectors and may not re-attest.

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "agent")]
pub use agent::JoinTokenAgent;
#[cfg(feature = "server")]
pub use server::{JoinTokenServer, StoreError, TokenStore};

/// The method's name on the wire and in configurations.
pub const NAME: &str = "join_token";
