//! The serving side: an endpoint over one's own [`Identities`].

mod identities;
mod peer;
mod security_header;

pub use identities::{Caller, Identities, IdentityError, Updates};
pub use peer::{Peer, PeerError, Process};
pub use security_header::{SECURITY_HEADER, require_security_header};
