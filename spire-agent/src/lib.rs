//! (about to be written)
#![forbid(unsafe_code)]

pub mod config;
pub mod endpoints;
