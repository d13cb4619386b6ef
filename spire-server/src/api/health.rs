//! Whether the server works.
