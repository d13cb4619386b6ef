//! (about to be written)
#![forbid(unsafe_code)]

pub mod authority;
pub mod federation;
