//! Federation: fetches other trust domains' bundles, and serves one's own.
//!
//! Owns the schedule of fetches ([`schedule`]). It does not store bundles or relationships, and decides nothing about
//! who federates with whom. Standard: SPIFFE Federation; SPIFFE Trust Domain and Bundle for the documents.
#![forbid(unsafe_code)]

pub mod schedule;
