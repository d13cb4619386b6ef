//! The SPIFFE standards as types: IDs, X.509- and JWT-SVIDs, bundles.
//!
//! Owns what the standards say: parsing, printing, verification. Does no I/O, knows no clock (time is an argument),
//! holds no global state. Start at [`SpiffeId`], [`x509::verify_svid`], [`jwt::JwtSvid::verify`] and [`Bundle`].
//! Standards: SPIFFE-ID, X509-SVID, JWT-SVID, SPIFFE Trust Domain and Bundle.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod id;
pub mod jwt;
pub mod key;
pub mod pem;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
#[cfg(feature = "rustls")]
pub mod tls;
#[cfg(all(feature = "wit", any(feature = "ring", feature = "aws-lc-rs")))]
pub mod wit;
pub mod x509;

mod asn1;
mod json;

pub use bundle::{Bundle, BundleSet, JwtAuthority, X509Authority};
pub use id::{IdError, IdMatcher, SpiffeId, TrustDomain};
pub use key::{KeyError, KeyType, PrivateKey, PublicKey, SignatureAlgorithm};
pub use time::{Timestamp, Ttl};
