//! What operators ask for themselves: each request becomes a step, or is refused.

use spire_types::ErrorKind;

use super::Rotation;
use super::slot::{Record, Slots, Status};
use super::step::{Kind, Step};
use crate::authority::AuthorityId;

impl Rotation {
    /// The step that prepares an authority at an operator's request, over what is prepared or old.
    ///
    /// # Errors
    /// [`CommandError::NotReady`]
    pub fn prepare(&self, kind: Kind) -> Result<Step, CommandError> {
        let next = self.with_slots(kind, |slots| slots.active.is_some().then_some(slots.next_slot));
        next.map(|slot| Step::Prepare { kind, slot }).ok_or(CommandError::NotReady)
    }

    /// The step that activates the prepared authority of that name.
    ///
    /// # Errors
    /// [`CommandError::UnexpectedAuthority`], [`CommandError::NotPrepared`].
    pub fn activate(&self, kind: Kind, authority_id: &AuthorityId) -> Result<Step, CommandError> {
        self.other_in(kind, authority_id, Status::Prepared, CommandError::NotPrepared)?;
        Ok(Step::Activate { kind, authority_id: authority_id.clone() })
    }

    /// The step that taints the old authority of that name.
    ///
    /// # Errors
    /// [`CommandError::Current`], [`CommandError::UnexpectedAuthority`], [`CommandError::NotOld`].
    pub fn taint(&self, kind: Kind, authority_id: &AuthorityId) -> Result<Step, CommandError> {
        self.not_current(kind, authority_id, "taint")?;
        self.other_in(kind, authority_id, Status::Old, CommandError::NotOld { verb: "tainted" })?;
        Ok(Step::Taint { kind, authority_id: authority_id.clone() })
    }

    /// The step that revokes the old authority of that name. A JWT key that is in neither slot may be revoked, too:
    /// whether the bundle has it, and whether it is tainted, is for the datastore to say.
    ///
    /// # Errors
    /// [`CommandError::Current`], [`CommandError::UnexpectedAuthority`], [`CommandError::NotOld`].
    pub fn revoke(&self, kind: Kind, authority_id: &AuthorityId) -> Result<Step, CommandError> {
        self.not_current(kind, authority_id, "revoke")?;
        match self.other_in(kind, authority_id, Status::Old, CommandError::NotOld { verb: "revoked" }) {
            Err(CommandError::UnexpectedAuthority) if kind == Kind::Jwt => {}
            outcome => outcome?,
        }
        Ok(Step::Revoke { kind, authority_id: authority_id.clone() })
    }

    fn not_current(&self, kind: Kind, id: &AuthorityId, verb: &'static str) -> Result<(), CommandError> {
        let is_current = self.with_slots(kind, |slots| slots.active.as_ref() == Some(id));
        if is_current { Err(CommandError::Current { verb }) } else { Ok(()) }
    }

    fn other_in(
        &self,
        kind: Kind,
        id: &AuthorityId,
        status: Status,
        otherwise: CommandError,
    ) -> Result<(), CommandError> {
        match self.with_slots(kind, |slots| slots.other) {
            Some((other, found)) if other == *id => {
                if found == status {
                    Ok(())
                } else {
                    Err(otherwise)
                }
            }
            _ => Err(CommandError::UnexpectedAuthority),
        }
    }

    fn with_slots<T>(&self, kind: Kind, read: impl FnOnce(Names) -> T) -> T {
        match kind {
            Kind::X509 => read(Names::of(self.x509())),
            Kind::Jwt => read(Names::of(self.jwt())),
        }
    }
}

/// Who is in the slots of one kind.
struct Names {
    active: Option<AuthorityId>,
    other: Option<(AuthorityId, Status)>,
    next_slot: super::SlotId,
}

impl Names {
    fn of<R: Record>(slots: &Slots<R>) -> Self {
        Self {
            active: slots.active().map(|held| held.record.authority_id().clone()),
            other: slots.other().map(|held| (held.record.authority_id().clone(), held.status)),
            next_slot: slots.next_slot(),
        }
    }
}

/// Why an operator's request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It is the one that signs.
    #[error("unable to {verb} current local authority")]
    Current {
        /// What was asked for.
        verb: &'static str,
    },
    /// There is no active authority yet.
    #[error("server is initializing")]
    NotReady,
    /// It is not old.
    #[error("only Old local authorities can be {verb}")]
    NotOld {
        /// What was asked for.
        verb: &'static str,
    },
    /// It is not prepared.
    #[error("only Prepared authorities can be activated")]
    NotPrepared,
    /// It is in no slot.
    #[error("unexpected authority ID")]
    UnexpectedAuthority,
}

impl CommandError {
    /// What an API says it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady => ErrorKind::Unavailable,
            Self::NotPrepared => ErrorKind::Internal,
            Self::Current { .. } | Self::NotOld { .. } | Self::UnexpectedAuthority => ErrorKind::InvalidArgument,
        }
    }
}
