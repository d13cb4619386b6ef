//! Where a server keeps its registry: entries, agents, bundles, tokens, relationships, CA journals.
//!
//! Every write that affects an identity gets the next [`Revision`] in the transaction that makes it, in commit order
//! and without holes ([`changes`]). Bookkeeping (last-seen versions, tokens, journals) never touches that log. An
//! answered write is on disk. Does not decide who may do what. Start at [`DataStore`]; [`SqliteStore`] is the
//! embedded implementation.

#![forbid(unsafe_code)]

pub mod bundles;
pub mod changes;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod entries;
mod error;
pub mod federation;
pub mod join_tokens;
pub mod journals;
pub mod nodes;
pub mod sqlite;

pub use bundles::Bundles;
pub use changes::{Change, Changes, Log, Snapshot, TakeEntry};
pub use entries::{Created, Entries};
pub use error::Error;
pub use federation::FederationRelationships;
pub use join_tokens::JoinTokens;
pub use journals::{CaJournal, CaJournals};
pub use nodes::Nodes;
pub use spire_types::Revision;
pub use sqlite::SqliteStore;

/// Everything a server keeps. Methods may be called concurrently.
pub trait DataStore:
    Entries + Nodes + Bundles + JoinTokens + FederationRelationships + CaJournals + Log + std::fmt::Debug + Send + Sync
{
}

impl<T> DataStore for T where
    T: Entries
        + Nodes
        + Bundles
        + JoinTokens
        + FederationRelationships
        + CaJournals
        + Log
        + std::fmt::Debug
        + Send
        + Sync
{
}
