//! The server's authorities, by hand.
