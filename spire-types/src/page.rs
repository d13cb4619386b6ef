//! Lists in pages, and the revisions of the registry.

use std::fmt;

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Most members of the page; `None` asks for the whole list, whatever the token.
    pub size: Option<usize>,
    /// Where the last page ended; empty for the first.
    pub token: String,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The members, in the order in which they were created.
    pub items: Vec<T>,
    /// Where the next page begins; empty after a page without members, and where no pages were asked for.
    pub next_token: String,
}

/// The number of a change to what identities depend on: strictly increasing, without holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
