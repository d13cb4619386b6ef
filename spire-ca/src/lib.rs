//! Mints X.509- and JWT-SVIDs and decides when the keys that sign them are replaced.
//!
//! Does not store anything, listen on anything, or know the time: `now` and randomness are arguments, keys come from a
//! key manager. Start at [`rotation::Rotation`] for *when*, [`template`] for *what*, and [`mint_x509_svid`] and
//! [`mint_jwt_svid`] for the two credentials. Whatever is signed went through [`lint`] before.
//! Standards: X509-SVID §2–4 and appendix A, JWT-SVID §2–3, RFC 5280 and RFC 7515 below them.

#![forbid(unsafe_code)]

pub mod composer;
pub mod jwt;
pub mod lint;
pub mod rotation;
pub mod template;
pub mod upstream;
pub mod x509;

mod asn1;
mod authority;
mod error;
mod name;

pub use authority::{Authority, AuthorityId, JwtKey, X509Ca, random_key_id};
pub use composer::{Composers, CredentialComposer};
pub use error::Error;
pub use jwt::{JwtSvidParams, MintedJwtSvid, mint_jwt_svid};
pub use name::DistinguishedName;
pub use x509::{
    DownstreamCaParams, MintedX509Ca, MintedX509Svid, SelfSignedCaParams, Serial, X509SvidParams, ca_csr,
    mint_downstream_ca, mint_self_signed_ca, mint_x509_svid,
};
