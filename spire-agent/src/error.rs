//! What can go wrong in an agent.

use spiffe_core::Timestamp;
use spire_types::EntryId;

/// Why the agent cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// SVIDs that are asked for are not there, and the server does not answer.
    #[error("SPIRE Server is unreachable since {since}: {reason}")]
    ServerUnreachable {
        /// When the first of the failed attempts was.
        since: Timestamp,
        /// What the last one failed with.
        reason: String,
    },
    /// The entry is not among the agent's.
    #[error("entry {id} is not authorized")]
    UnknownEntry {
        /// Which one.
        id: EntryId,
    },
    /// A workload attestor cannot be configured so.
    #[error("workload attestor {name:?} cannot be configured: {reason}")]
    WorkloadAttestor {
        /// Which one.
        name: &'static str,
        /// Why not.
        reason: String,
    },
    /// The agent is on its way out.
    #[error("agent is shutting down")]
    ShuttingDown,
}
