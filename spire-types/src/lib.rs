//! SPIRE's nouns: registration entries, selectors, attested nodes, join tokens, federation relationships.
//!
//! Pure values that server, agent, store and attestors all speak. Does no I/O and knows no wire format; those live in
//! `spire-api` and `spire-datastore`. Start at [`RegistrationEntry`]. SPIFFE's own nouns are in `spiffe-core`.

#![forbid(unsafe_code)]

pub mod entry;
pub mod federation;
pub mod join_token;
pub mod kind;
pub mod node;
pub mod page;
pub mod selector;

pub use entry::{
    AdditionalAttributes, EntryFilter, EntryId, EntryMask, FederatesWithMatch, InvalidEntry, RegistrationEntry,
};
pub use federation::{BundleMask, DeleteMode, EndpointProfile, FederationRelationship, RelationshipMask};
pub use join_token::JoinToken;
pub use kind::ErrorKind;
pub use node::{AttestedNode, NodeFilter};
pub use page::{Page, PageRequest, Revision};
pub use selector::{InvalidSelector, MatchBehavior, Selector, SelectorMatch};
