//! Attested nodes: the agents a server knows.

use spiffe_core::{SpiffeId, Timestamp};

use crate::selector::{Selector, SelectorMatch};

/// An agent on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedNode {
    /// The agent's ID.
    pub spiffe_id: SpiffeId,
    /// The method it was attested by.
    pub attestation_type: String,
    /// Serial number of the SVID in use, decimal; `None` when the agent is banned.
    pub serial: Option<String>,
    /// When that SVID ends.
    pub not_after: Timestamp,
    /// Serial number of a renewed SVID that has not been used yet.
    pub new_serial: Option<String>,
    /// When the renewed SVID ends.
    pub new_not_after: Option<Timestamp>,
    /// Whether the agent attests again instead of renewing.
    pub can_reattest: bool,
    /// What attestation found out.
    pub selectors: Vec<Selector>,
    /// What the agent last said of itself.
    pub agent_version: String,
}

impl AttestedNode {
    /// Whether an administrator banned it.
    #[must_use]
    pub fn is_banned(&self) -> bool {
        self.serial.is_none()
    }
}

/// Which nodes are meant: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// By method.
    pub attestation_type: Option<String>,
    /// By selectors.
    pub selectors: Option<SelectorMatch>,
    /// By whether they are banned.
    pub banned: Option<bool>,
    /// By whether they attest again.
    pub can_reattest: Option<bool>,
    /// By whether their SVID ends before that time.
    pub expires_before: Option<Timestamp>,
}

impl NodeFilter {
    /// Whether `node` is meant.
    #[must_use]
    pub fn matches(&self, node: &AttestedNode) -> bool {
        self.attestation_type.as_ref().is_none_or(|kind| *kind == node.attestation_type)
            && self.banned.is_none_or(|banned| banned == node.is_banned())
            && self.can_reattest.is_none_or(|can| can == node.can_reattest)
            && self.expires_before.is_none_or(|time| node.not_after < time)
            && self.selectors.as_ref().is_none_or(|asked| {
                asked.behavior.matches(&asked.selectors.iter().collect(), &node.selectors.iter().collect())
            })
    }
}
