//! What can go wrong in an agent.

use std::path::PathBuf;

use spiffe_core::Timestamp;
use spire_api::proto::types::permission_denied_details::Reason;
use spire_api::status::permission_denied_reason;
use spire_types::EntryId;
use tonic::{Code, Status};

use crate::client::describe;

/// Why the agent cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refuses the agent for good, and the SVID has been removed; a supervisor may start the agent anew.
    #[error("agent is banned")]
    Banned,
    /// The server wants the agent to attest anew, which it could not do while it runs; the SVID has been removed.
    #[error("agent needs to re-attest: {reason}")]
    MustAttest {
        /// What the server said, or what attestation failed with.
        reason: String,
    },
    /// The server has been distrusted for so long that the agent has forgotten it; a supervisor starts the agent anew.
    #[error("Agent needs to rebootstrap. shutting down")]
    Rebootstrap,
    /// Where a server that cannot be trusted any more may be forgotten, the agent has to be able to attest again.
    #[error(
        "you have requested rebootstrap support but the NodeAttestor plugin or the spire server configuration is not \
         allowing it"
    )]
    RebootstrapNotAllowed,
    /// The first bundle cannot be had.
    #[error("failed to get trust bundle: {0}")]
    Bootstrap(String),
    /// The evidence cannot be had, or what the server made of it cannot be used.
    #[error("failed to attest: {0}")]
    Attestation(String),
    /// There is an SVID from before, and nothing to verify the server with.
    #[error("SVID loaded but no bundle in cache")]
    NoBundle,
    /// The agent's own SVID is not valid any more.
    #[error("current SVID has already expired and {attempt} failed: {reason}")]
    SvidExpired {
        /// What was tried.
        attempt: &'static str,
        /// What it failed with.
        reason: String,
    },
    /// What the server answered, or why it did not.
    #[error("{attempt}{reason}")]
    Server {
        /// What was tried, with a colon and a blank behind it; may be empty.
        attempt: &'static str,
        /// The code; `Unavailable` when it could not be reached.
        code: Code,
        /// The words.
        reason: String,
        /// What a PermissionDenied means for the agent.
        denial: Option<Denial>,
        /// Whether it was not recognised as the server.
        untrusted: bool,
    },
    /// SVIDs that are asked for are not there, and the server does not answer.
    #[error("SPIRE Server is unreachable since {since}: {reason}")]
    ServerUnreachable {
        /// When the first of the failed attempts was.
        since: Timestamp,
        /// What the last one failed with.
        reason: String,
    },
    /// The entry is not among the agent's.
    #[error("entry {id} is not authorized")]
    UnknownEntry {
        /// Which one.
        id: EntryId,
    },
    /// A workload attestor cannot be configured so.
    #[error("workload attestor {name:?} cannot be configured: {reason}")]
    WorkloadAttestor {
        /// Which one.
        name: &'static str,
        /// Why not.
        reason: String,
    },
    /// `agent-data.json` cannot be read, written or understood.
    #[error("failed to open storage: {path:?}: {reason}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The agent's keys cannot be had.
    #[error(transparent)]
    Keys(#[from] spire_keymanager::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A part of the configuration cannot be used.
    #[error("{section}: {reason}")]
    Config {
        /// Which part.
        section: &'static str,
        /// Why.
        reason: String,
    },
    /// A task of the agent failed, and the agent with it.
    #[error("{0}")]
    Ended(String),
    /// The agent is on its way out.
    #[error("agent is shutting down")]
    ShuttingDown,
}

/// What a PermissionDenied with details asks of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Attest anew.
    Attest,
    /// Go.
    Banned,
}

impl Denial {
    fn of(status: &Status) -> Option<Self> {
        match permission_denied_reason(status)? {
            Reason::AgentExpired | Reason::AgentNotAttested | Reason::AgentNotActive | Reason::AgentMustReattest => {
                Some(Self::Attest)
            }
            Reason::AgentBanned => Some(Self::Banned),
            Reason::Unknown => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Server {
            attempt: "",
            code: status.code(),
            reason: describe(&status),
            denial: Denial::of(&status),
            untrusted: is_distrust(&status),
        }
    }
}

impl Error {
    /// The same, saying what was tried.
    pub(crate) fn attempting(self, what: &'static str) -> Self {
        match self {
            Self::Server { code, reason, denial, untrusted, .. } => {
                Self::Server { attempt: what, code, reason, denial, untrusted }
            }
            other => other,
        }
    }

    /// What the server's refusal asks of the agent.
    pub(crate) fn denial(&self) -> Option<Denial> {
        match self {
            Self::Server { denial, .. } => *denial,
            _ => None,
        }
    }

    /// Whether the server did not show a certificate that it is to be trusted by.
    pub(crate) fn is_distrust(&self) -> bool {
        matches!(self, Self::Server { untrusted: true, .. })
    }

    /// Whether it says nothing about the agent: the server was not there, or was not recognised.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.is_distrust() || self.code() == Some(Code::Unavailable)
    }

    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn is_distrust(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(err) = cause {
        let tls = match err.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            None => err.downcast_ref::<rustls::Error>(),
        };
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = err.source();
    }
    false
}
