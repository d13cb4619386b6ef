//! SPIRE's gRPC APIs: the messages and services, and how they turn into our types and back.
//!
//! Owns the wire: definitions of our own writing with SPIRE's packages, names and numbers ([`proto`]), the one place
//! where requests are parsed ([`convert`]), the one place where errors become codes ([`status`]), and channels to local
//! sockets and to servers ([`channel`]). Decides nothing about who may do what. Start at [`proto`].

#![forbid(unsafe_code)]

pub mod authorized_entries;
pub mod channel;
pub mod convert;
pub mod proto;
pub mod status;
