//! JWT: claims and tokens.

mod mint;

pub use mint::{JwtSvidParams, MintedJwtSvid, mint_jwt_svid};

pub(crate) use mint::Header;
