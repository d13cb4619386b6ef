//! X.509: to-be-signed bytes, serial numbers, signatures.

mod csr;
mod mint;
mod serial;
mod tbs;

pub use csr::ca_csr;
pub use mint::{
    DownstreamCaParams, MintedX509Ca, MintedX509Svid, SelfSignedCaParams, X509SvidParams, mint_downstream_ca,
    mint_self_signed_ca, mint_x509_svid,
};
pub use serial::Serial;
pub use tbs::{Extension, Issuer, Profile, Tbs};

pub(crate) use mint::mint_requested_ca;
