//! Everything that can go wrong while attesting.

use spiffe_core::{SpiffeId, id::IdError};
use spire_types::ErrorKind;

/// Why an attestation did not succeed. Messages never hold tokens or keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The agent ID an attestor arrived at is not one.
    #[error(transparent)]
    AgentId(#[from] AgentIdError),
    /// The exchange of challenges with the other side broke off. The caller's transport knows why.
    #[error("{0}")]
    Exchange(String),
    /// A challenge arrived for a method that has none, or after its last answer.
    #[error("{attestor} does not expect a challenge here")]
    UnexpectedChallenge {
        /// The attestation method.
        attestor: &'static str,
    },
    /// The random number generator gave nothing.
    #[error("no randomness for a nonce")]
    Random,
    /// Join token attestation.
    #[error(transparent)]
    JoinToken(#[from] JoinTokenError),
    /// X.509 proof of possession.
    #[error(transparent)]
    X509Pop(#[from] X509PopError),
    /// A process could not be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The container of a process could not be told.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The unit of a process could not be told.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// A broken promise inside this crate or its caller.
    #[error("{0}")]
    Bug(&'static str),
}

impl Error {
    /// The kind of failure, as an API reports it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AgentId(_) | Self::Exchange(_) | Self::Random | Self::Bug(_) => ErrorKind::Internal,
            Self::UnexpectedChallenge { .. } => ErrorKind::InvalidArgument,
            Self::JoinToken(error) => error.kind(),
            Self::X509Pop(error) => error.kind(),
            Self::Process(_) | Self::Systemd(_) => ErrorKind::Internal,
            Self::Container(error) => error.kind(),
        }
    }
}

/// Why no agent ID could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentIdError {
    /// The path that was rendered is not a SPIFFE path.
    #[error("invalid agent path {path:?}: {source}")]
    Path {
        /// The path below `/spire/agent`.
        path: String,
        /// The rule it breaks.
        source: IdError,
    },
    /// The ID would be the server's own.
    #[error("agent ID {0} cannot collide with the server ID")]
    Collides(SpiffeId),
    /// A template that is not understood.
    #[error(
        "agent_path_template {template:?}: {what:?} is not supported; templates here are text and fields, as in \
         {{{{ .PluginName }}}}"
    )]
    Template {
        /// The template as configured.
        template: String,
        /// The part that is not understood.
        what: String,
    },
    /// A field of the template has no value for this node.
    #[error("agent_path_template: this node has no value for .{field}")]
    NoValue {
        /// The field.
        field: String,
    },
}

/// Why a join token did not attest a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinTokenError {
    /// The agent has none.
    #[error("join token was not provided")]
    NotProvided,
    /// Never made, or redeemed before.
    #[error("failed to attest: join token does not exist or has already been used")]
    Unknown,
    /// Shown after its time.
    #[error("join token expired")]
    Expired,
    /// The tokens could not be read.
    #[error("failed to fetch join token: {0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
}

impl JoinTokenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotProvided | Self::Unknown | Self::Expired => ErrorKind::InvalidArgument,
            Self::Store(_) => ErrorKind::Internal,
        }
    }
}

/// Why X.509 proof of possession did not attest a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum X509PopError {
    /// The payload is not the JSON it has to be.
    #[error("failed to unmarshal data: {0}")]
    Payload(serde_json::Error),
    /// The payload is longer than this implementation reads.
    #[error("attestation data has {len} bytes, at most {limit} are accepted")]
    PayloadTooLong {
        /// Bytes received.
        len: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// An empty list of certificates.
    #[error("no certificate to attest")]
    NoCertificate,
    /// More certificates than `max_intermediates`.
    #[error("too many intermediate certificates")]
    TooManyIntermediates,
    /// The first certificate does not parse.
    #[error("unable to parse leaf certificate: {0}")]
    Leaf(String),
    /// A further certificate does not parse.
    #[error("unable to parse intermediate certificate {index}: {reason}")]
    Intermediate {
        /// Its place after the leaf, from 0.
        index: usize,
        /// What the parser said.
        reason: String,
    },
    /// The leaf's RSA key is longer than `max_rsa_key_size`.
    #[error("leaf certificate key size too large")]
    LeafKeyTooLarge,
    /// An intermediate's RSA key is longer than `max_rsa_key_size`.
    #[error("intermediate certificate {index} key size too large")]
    IntermediateKeyTooLarge {
        /// Its place after the leaf, from 0.
        index: usize,
    },
    /// The roots of spiffe mode could not be had.
    #[error("failed to get trust bundle: {0}")]
    TrustBundle(String),
    /// The chain does not lead to a configured root.
    #[error("certificate verification failed: {0}")]
    Chain(String),
    /// `verify_client_ip` is set and the transport gave no address.
    #[error("client IP not available for verification")]
    NoClientIp,
    /// The caller's address is not in the certificate.
    #[error("client IP {0} does not match any certificate IP SAN")]
    ClientIp(std::net::IpAddr),
    /// The certificate may not sign.
    #[error("unable to generate challenge: certificate not intended for digital signature use")]
    NotForSignatures,
    /// The certificate's key is of a kind that has no challenge.
    #[error("unable to generate challenge: unsupported public key: {0}")]
    UnsupportedKey(&'static str),
    /// The answer is not the JSON it has to be.
    #[error("unable to unmarshal challenge response: {0}")]
    Response(serde_json::Error),
    /// The answer does not prove possession of the key.
    #[error("challenge response verification failed: {0}")]
    Possession(&'static str),
    /// Spiffe mode: the certificate names no SPIFFE ID.
    #[error("valid SVID x509 cert not found")]
    NoSvid,
    /// Spiffe mode: the SPIFFE ID is outside `spiffe_prefix`.
    #[error("x509 cert doesnt match SVID prefix")]
    SvidPrefix,
    /// Server configuration that cannot be used.
    #[error("{0}")]
    Config(String),
    /// Agent: the key pair cannot be used.
    #[error("unable to load keypair: {0}")]
    KeyPair(String),
    /// Agent: a file cannot be read.
    #[error("unable to read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Agent: the server's challenge is not one.
    #[error("unable to unmarshal challenge: {0}")]
    Challenge(serde_json::Error),
    /// Agent: the server's challenge is for another kind of key, or malformed.
    #[error("failed to calculate challenge response: {0}")]
    CannotAnswer(&'static str),
}

impl X509PopError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Payload(_)
            | Self::PayloadTooLong { .. }
            | Self::NoCertificate
            | Self::TooManyIntermediates
            | Self::Leaf(_)
            | Self::Intermediate { .. }
            | Self::LeafKeyTooLarge
            | Self::IntermediateKeyTooLarge { .. }
            | Self::Response(_)
            | Self::Config(_)
            | Self::KeyPair(_)
            | Self::File { .. } => ErrorKind::InvalidArgument,
            Self::Chain(_) | Self::ClientIp(_) | Self::Possession(_) | Self::NoSvid | Self::SvidPrefix => {
                ErrorKind::PermissionDenied
            }
            Self::TrustBundle(_)
            | Self::NoClientIp
            | Self::NotForSignatures
            | Self::UnsupportedKey(_)
            | Self::Challenge(_)
            | Self::CannotAnswer(_) => ErrorKind::Internal,
        }
    }
}

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It ended, or its number belongs to another process now.
    #[error("process {pid} is gone or is not the one that called")]
    Gone {
        /// The process number.
        pid: u32,
    },
    /// A file below its `/proc` directory cannot be read.
    #[error("{what} of process {pid}: {source}")]
    Io {
        /// The process number.
        pid: u32,
        /// What was being looked up.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel's answer is not understood.
    #[error("{what} of process {pid}: {reason}")]
    Malformed {
        /// The process number.
        pid: u32,
        /// What was being looked up.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The executable is longer than `workload_size_limit`.
    #[error("SHA256 digest: workload {path} exceeds size limit ({size} > {limit})")]
    TooLarge {
        /// The path that was opened.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The thread that looked at it died.
    #[error("lookup of process {pid} was interrupted")]
    Interrupted {
        /// The process number.
        pid: u32,
    },
}

/// Why it could not be told which container a process runs in, or what that is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The process's control groups do not agree.
    #[error("multiple {what} found ({one:?}, {other:?})")]
    Ambiguous {
        /// What there is more than one of.
        what: &'static str,
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The engine does not answer, or not as it should.
    #[error("container engine at {socket}: {reason}")]
    Engine {
        /// The path of its socket.
        socket: String,
        /// What went wrong.
        reason: String,
    },
    /// The control group bears a container's name, and the container's own processes are elsewhere.
    #[error("control group {path:?} has the name of a container and is not that container's")]
    Forged {
        /// The path of the control group.
        path: String,
    },
}

impl ContainerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Ambiguous { .. } | Self::Forged { .. } => ErrorKind::FailedPrecondition,
            Self::Config(_) => ErrorKind::InvalidArgument,
            Self::Engine { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Why it could not be told which unit of systemd a process belongs to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// There is no way to the system bus.
    #[error("failed to open dbus connection: {0}")]
    Connect(String),
    /// The process belongs to no unit, or systemd does not answer.
    #[error("failed to get unit by process {pid}: {reason}")]
    Unit {
        /// The process number.
        pid: u32,
        /// What systemd said.
        reason: String,
    },
    /// A property of the unit cannot be had.
    #[error("failed to get {property} of unit {unit}: {reason}")]
    Property {
        /// The property's name.
        property: &'static str,
        /// The unit's object.
        unit: String,
        /// What systemd said.
        reason: String,
    },
}
