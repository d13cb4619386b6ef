//! Federation: fetches other trust domains' bundles, and serves one's own.
//!
//! Owns the endpoint of a bundle ([`serve`]), its client ([`fetch`]) and when the client asks ([`schedule`]). It does
//! not store bundles or relationships, and does not decide who federates with whom.
//! Start at [`fetch::Fetcher`] for the one side, [`serve::BundleEndpoint`] for the other.
//!
//! Standard: SPIFFE Federation; SPIFFE Trust Domain and Bundle for the documents.
#![forbid(unsafe_code)]

mod error;
pub mod fetch;
pub mod schedule;
pub mod serve;

pub use error::{Error, Stage};
