//! JWT-SVIDs: tokens, verified against the bundle of the trust domain they name.
//!
//! Standard: JWT-SVID; RFC 7515, 7517, 7518 and 7519 below it.

pub mod alg;
pub mod jwk;
mod svid;

pub use alg::JwtAlgorithm;
pub use svid::{Claims, JwtError, JwtSvid, MAX_TOKEN_LENGTH, parse_unverified};
