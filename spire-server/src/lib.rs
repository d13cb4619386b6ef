//! (about to be written)
#![forbid(unsafe_code)]

pub mod attestation;
pub mod authority;
pub mod entries;
pub mod federation;
