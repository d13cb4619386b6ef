//! JWT-SVIDs: tokens, verified against the bundle of the trust domain they name.
//!
//! Standard: JWT-SVID; RFC 7515, 7517, 7518 and 7519 below it.

pub mod alg;
mod bearer;
mod error;
pub mod jwk;
pub(crate) mod jws;
mod svid;

pub use alg::JwtAlgorithm;
pub use bearer::{from_authorization, to_authorization};
pub use error::JwtError;
pub use svid::{Claims, JwtSvid, parse_unverified};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_LENGTH: usize = 16 << 10;
/// Most keys that a token without key ID is tried against.
pub const MAX_KEYS_WITHOUT_ID: usize = 16;
