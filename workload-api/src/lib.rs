//! The SPIFFE Workload API, both ways: how a workload gets its identity without a secret to start with.
//!
//! Owns the protocol: the clients and the sources that follow rotation, the service over one's own
//! [`server::Identities`], and how callers are recognised. Does not decide who gets what, nor issue anything.
//! Start at [`X509Source`] and [`tls`] to use an endpoint, at [`server::Endpoint`] to serve one.
//! Standards: SPIFFE Workload Endpoint, SPIFFE Workload API.

#![forbid(unsafe_code)]

pub mod client;
pub mod proto;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "rustls")]
pub mod tls;

mod address;
mod claims;
mod codec;
mod context;
mod error;
mod validate;

pub use address::{Address, AddressError, ENDPOINT_SOCKET_VARIABLE};
pub use client::{Client, JwtBundleSource, JwtSource, Source, X509BundleSource, X509Source};
pub use context::{Identity, JwtToken, ValidatedJwt, X509Context};
pub use error::Error;
pub use validate::{JWT_LEEWAY, validate_jwt_svid};
