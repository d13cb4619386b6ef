//! The serving side: an endpoint over one's own [`Identities`].

mod authority;
mod connection;
mod endpoint;
mod identities;
mod limits;
mod listen;
mod peer;
mod security_header;
mod service;

pub use authority::Authority;
pub use connection::Connection;
pub use endpoint::{Endpoint, ServeError};
pub use identities::{Caller, Identities, IdentityError, Updates, constant, following};
pub use limits::{Gate, Limits, Ticket};
pub use listen::{ADMIN_SOCKET_MODE, ListenError, PUBLIC_SOCKET_MODE, UnixSocket, serve, tcp_incoming};
pub use peer::{Peer, PeerError, Process};
pub use security_header::{SECURITY_HEADER, require_security_header};
pub use service::{Interceptor, Service, WorkloadApiService, workload_api_service};
