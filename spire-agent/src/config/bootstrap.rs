//! Whom the agent trusts before it has a bundle of its own.

use std::path::PathBuf;
use std::time::Duration;

/// Where the bundle comes from that the server is first verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// `insecure_bootstrap`: whoever answers is trusted. For trials.
    Insecure,
    /// `trust_bundle_path`, read at each attempt.
    File {
        /// The file.
        path: PathBuf,
        /// `trust_bundle_format`
        format: BundleFormat,
    },
    /// `trust_bundle_url`, fetched at each attempt.
    Url {
        /// `https://` with the machine's roots; `http://` where it is fetched over a socket.
        url: String,
        /// `trust_bundle_format`
        format: BundleFormat,
        /// `trust_bundle_unix_socket`: dialled whatever host the URL names.
        unix_socket: Option<PathBuf>,
    },
    /// `trust_bundle_spiffe_workload_api`: the bundle that another agent serves.
    WorkloadApi {
        /// The endpoint's address, as in `SPIFFE_ENDPOINT_SOCKET`.
        address: String,
    },
}

/// `trust_bundle_format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BundleFormat {
    /// Certificates.
    #[default]
    Pem,
    /// A SPIFFE bundle document.
    Spiffe,
}

/// Whether the agent may begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebootstrap {
    /// `rebootstrap_mode`
    pub mode: RebootstrapMode,
    /// `rebootstrap_delay`: how long the server has to be distrusted before.
    pub delay: Duration,
}

impl Default for Rebootstrap {
    fn default() -> Self {
        Self { mode: RebootstrapMode::Never, delay: Duration::from_secs(10 * 60) }
    }
}

/// `rebootstrap_mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RebootstrapMode {
    /// It waits until it trusts the server again.
    #[default]
    Never,
    /// Only where it can attest again.
    Auto,
    /// In any case; where it cannot attest again, the process ends.
    Always,
}
