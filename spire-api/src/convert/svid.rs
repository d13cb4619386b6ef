//! SVIDs on their way to agents and administrators.

use spiffe_core::x509::Certificate;
use spiffe_core::{SpiffeId, Timestamp};

use super::id;
use crate::proto::types;

/// An X.509-SVID to the wire, leaf first.
#[must_use]
pub fn x509_to_proto(spiffe_id: &SpiffeId, chain: &[Certificate], expires_at: Timestamp) -> types::X509svid {
    types::X509svid {
        cert_chain: chain.iter().map(|certificate| certificate.der().to_vec().into()).collect(),
        id: Some(id::to_proto(spiffe_id)),
        expires_at: expires_at.as_unix(),
        hint: String::new(),
    }
}

/// A JWT-SVID to the wire.
#[must_use]
pub fn jwt_to_proto(
    spiffe_id: &SpiffeId,
    token: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
) -> types::Jwtsvid {
    types::Jwtsvid {
        token,
        id: Some(id::to_proto(spiffe_id)),
        expires_at: expires_at.as_unix(),
        issued_at: issued_at.as_unix(),
        hint: String::new(),
    }
}
