//! Who gets which entries: the registry in memory, at one revision.
//!
//! [`EntryIndex`] is an immutable value that answers without the database; [`EntryCache`] holds the newest one and
//! follows the store's ordered log. A new index shares all but what changed with the one before.

mod aliases;
mod cache;
mod history;
mod index;
mod packed;
mod trie;
mod view;

#[cfg(test)]
mod tests;

pub use cache::EntryCache;
pub use history::{Step, Touched};
pub use index::EntryIndex;
pub use view::{Delta, View};
