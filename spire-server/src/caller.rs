//! Who is calling: an administrator on the local socket, a peer with a verified SVID, or nobody known.

use std::net::SocketAddr;
use std::sync::Arc;

use spiffe_core::SpiffeId;
use spiffe_core::x509::Certificate;

/// The caller of one RPC, as the transport knows it.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A process that could open the administrators' Unix socket.
    Local {
        /// User of the calling process, where the kernel told.
        uid: Option<u32>,
        /// Group of the calling process, where the kernel told.
        gid: Option<u32>,
        /// The calling process, where the kernel told.
        pid: Option<i32>,
    },
    /// A peer that presented no certificate.
    Unauthenticated {
        /// The peer's address.
        address: Option<SocketAddr>,
    },
    /// A peer whose X.509-SVID was verified during the TLS handshake.
    Identified {
        /// The SVID's SPIFFE ID.
        id: SpiffeId,
        /// The SVID itself.
        leaf: Certificate,
        /// Its serial number, decimal: agents are told apart by it.
        serial: Arc<str>,
        /// The peer's address.
        address: Option<SocketAddr>,
    },
}

impl Caller {
    /// The verified SPIFFE ID, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Identified { id, .. } => Some(id),
            Self::Local { .. } | Self::Unauthenticated { .. } => None,
        }
    }

    /// The network address, by which rate limits count; `None` on the local socket, which is not limited.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Local { .. } => None,
            Self::Unauthenticated { address } | Self::Identified { address, .. } => *address,
        }
    }
}
