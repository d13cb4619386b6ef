//! The sockets that the agent serves.

pub mod sds;
