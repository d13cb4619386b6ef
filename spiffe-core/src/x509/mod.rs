//! X.509: certificates, certificate requests, X.509-SVIDs and their verification.
//!
//! Standard: X509-SVID; RFC 5280 and RFC 2986 below it.

mod cert;
mod csr;
mod deviation;
mod error;
mod names;
mod path;
mod profile;
mod purpose;
mod svid;
mod verify;

pub use cert::{Certificate, KeyUsage};
pub use csr::{Csr, CsrTemplate};
pub use deviation::{Deviation, deviations};
pub use error::X509Error;
pub use profile::check_leaf;
pub use purpose::{ExtendedKeyUsage, Purpose};
pub use svid::X509Svid;
pub use verify::{verify_chain, verify_svid, verify_svid_for};

/// Longest chain that is looked at, the leaf included.
pub const MAX_CHAIN_LENGTH: usize = 16;
/// Largest certificate or request that is parsed, in bytes.
pub const MAX_CERTIFICATE_LENGTH: usize = 64 << 10;
