//! Where the server listens.

pub(crate) mod tcp;
pub(crate) mod uds;
