//! What can be wrong with WIT-SVIDs and their proofs.

use crate::jwt::JwtError;

/// Which rule a WIT-SVID or its proof breaks. No variant carries either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitError {
    /// WIT-SVID §3.8: there is no audience.
    #[error("token has an audience, which WIT-SVIDs do not")]
    Audience,
    /// WIT-SVID §5: the channel is not secure.
    #[error("WIT-SVIDs travel over https alone")]
    Channel,
    /// WIT-SVID §3.2: what is to be proven is missing, or no public key for the algorithm it names.
    #[error("claim \"cnf\": {what}")]
    Confirmation {
        /// What is wrong.
        what: &'static str,
    },
    /// WIT-SVID §4: there is no proof.
    #[error("WIT-SVID without a proof")]
    NoProof,
    /// The proof is not for this token, service or time (WIMSE Workload Proof Token).
    #[error("proof: {what}")]
    Proof {
        /// What is wrong.
        what: &'static str,
    },
    /// WIT-SVID §7.2: the proof lives longer than [`super::MAX_PROOF_LIFETIME`].
    #[error("proof lives too long")]
    ProofLifetime,
    /// WIT-SVID §4: the holder of the key did not sign the proof.
    #[error("proof is not signed by the key of the WIT-SVID")]
    ProofSignature,
    /// A rule that all tokens share.
    #[error(transparent)]
    Token(#[from] JwtError),
}

impl WitError {
    /// The clause that is broken; empty where the limit is ours.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Audience => "WIT-SVID §3.8",
            Self::Channel => "WIT-SVID §7.3",
            Self::Confirmation { .. } => "WIT-SVID §3.2",
            Self::NoProof | Self::ProofSignature => "WIT-SVID §4",
            Self::Proof { .. } => "WIMSE WPT",
            Self::ProofLifetime => "WIT-SVID §7.2",
            Self::Token(JwtError::Algorithm) => "WIT-SVID §2.3",
            Self::Token(JwtError::Claim { name: "sub" } | JwtError::WithoutPath) => "WIT-SVID §3.1",
            Self::Token(JwtError::Claim { name: "exp" } | JwtError::Expired { .. }) => "WIT-SVID §3.4",
            Self::Token(JwtError::MissingKeyId) => "WIT-SVID §2.1",
            Self::Token(JwtError::NoBundle { .. } | JwtError::UnknownKey { .. }) => "WIT-SVID §6.2",
            Self::Token(JwtError::NotYetValid { .. }) => "WIT-SVID §3.5",
            Self::Token(JwtError::Type) => "WIT-SVID §2.2",
            Self::Token(err) => err.clause(),
        }
    }
}
