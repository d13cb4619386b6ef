//! Tells who is asking: node attestation (an agent proves to a server which machine it runs on) and workload
//! attestation (an agent finds out which process called it).
//!
//! Owns the two seams, [`node`] and [`workload`], the payloads that cross the wire, and the built-in methods. It does
//! not mint identities, store nodes or tokens, open streams, or decide what an attested party may do.
//! Start at [`node::NodeAttestorServer`] for the one side of node attestation, [`node::NodeAttestorAgent`] for the
//! other, and [`workload::WorkloadAttestor`] for processes. A method's two halves live side by side in one folder,
//! with what they share (payloads, challenge mathematics) in its `mod.rs`.
//!
//! No standard governs attestation: what is here is compatible with SPIRE 1.15, byte for byte on the wire.
#![forbid(unsafe_code)]

mod error;
#[cfg(any(feature = "agent", feature = "server"))]
mod hex;
pub mod node;
#[cfg(feature = "agent")]
pub mod workload;

pub use error::{AgentIdError, ContainerError, Error, JoinTokenError, ProcessError, SystemdError, X509PopError};
