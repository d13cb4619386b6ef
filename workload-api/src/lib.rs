//! The SPIFFE Workload API, both ways: how a workload gets its identity without a secret to start with.
//!
//! Owns the protocol: the service over one's own [`server::Identities`], the clients and the sources that follow
//! rotation, and how callers are recognised. Does not decide who gets what, nor issue anything.
//! Start at [`server::Identities`] to serve.
//! Standards: SPIFFE Workload Endpoint, SPIFFE Workload API.

#![forbid(unsafe_code)]

pub mod proto;
pub mod server;

mod address;
mod claims;
mod context;
mod validate;

pub use address::{Address, AddressError, ENDPOINT_SOCKET_VARIABLE};
pub use context::{Identity, JwtToken, ValidatedJwt, X509Context};
pub use validate::{JWT_LEEWAY, validate_jwt_svid};
