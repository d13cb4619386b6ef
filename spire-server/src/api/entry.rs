//! Registration entries.
