//! (about to be written)
#![forbid(unsafe_code)]

pub mod endpoints;
