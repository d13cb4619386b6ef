//! Mutual TLS between SVIDs, as configurations for rustls.
//!
//! A peer is accepted when its X.509-SVID verifies against the bundle of its own trust domain and the [`Authorizer`]
//! accepts its SPIFFE ID. Host names, SNI and the Web PKI play no part. Bundles and the own SVID are asked for at
//! every handshake, so that rotation reaches open configurations; sessions are never resumed, because a resumed one
//! would skip the check and outlive a change of bundles.
//!
//! Start at [`client_config`], [`server_config`] and [`Live`]; [`peer_id`] names the peer once the handshake is over.
//! Standard: X509-SVID §5.

mod authorizer;
mod config;
mod identity;
mod source;
mod verifier;

pub use authorizer::{Authorizer, authorize_any, authorize_id, authorize_member_of, authorize_one_of};
pub use config::{ALPN_H2, ALPN_HTTP_1_1, ClientAuth, Settings, client_config, server_config, server_name};
pub use identity::TlsIdentity;
pub use source::{Live, TlsSource};
pub use verifier::{PeerRefused, peer_id};

#[cfg(test)]
mod tests;
