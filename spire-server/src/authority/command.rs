//! What operators ask of the driver, and what it refuses.

use spire_ca::rotation::{Kind, Step};
use spire_ca::{Authority, AuthorityId};
use tokio::sync::watch;

use super::handle::{Change, Command};
use super::{AuthorityError, AuthorityState, AuthorityStates, Driver};

impl Driver {
    pub(super) async fn command(
        &mut self,
        command: Command,
        publisher: &watch::Sender<Authority>,
    ) -> Result<(), AuthorityError> {
        // Whoever asked may have gone: that is no reason to fail.
        match command {
            Command::States(kind, answer) => drop(answer.send(self.states(kind))),
            Command::Change(kind, change, answer) => {
                let outcome = match self.step_of(kind, &change) {
                    Err(refused) => Err(refused),
                    Ok(step) => match self.perform(step.clone()).await {
                        Ok(()) => {
                            self.publish(&step, publisher)?;
                            self.save_before_the_answer().await.map(|()| self.states(kind))
                        }
                        Err(err) => Err(err),
                    },
                };
                drop(answer.send(outcome));
            }
        }
        Ok(())
    }

    /// What was answered is still so after a restart. A journal that cannot be saved is tried again by the loop.
    async fn save_before_the_answer(&mut self) -> Result<(), AuthorityError> {
        let saved = self.perform(Step::SaveJournal).await;
        if let Err(err) = &saved {
            self.failed(&Step::SaveJournal, err);
        }
        saved
    }

    fn step_of(&self, kind: Kind, change: &Change) -> Result<Step, AuthorityError> {
        if kind == Kind::Jwt && !self.config.policy.jwt_svids {
            return Err(AuthorityError::JwtDisabled);
        }
        if kind == Kind::X509 && self.parts.upstream.is_some() {
            match change {
                Change::Taint(_) => return Err(AuthorityError::SignedUpstream { verb: "tainted" }),
                Change::Revoke(_) => return Err(AuthorityError::SignedUpstream { verb: "revoked" }),
                Change::Prepare | Change::Activate(_) | Change::TaintUpstream(_) | Change::RevokeUpstream(_) => {}
            }
        }
        Ok(match change {
            Change::Prepare => self.rotation.prepare(kind)?,
            Change::Activate(id) => self.rotation.activate(kind, id)?,
            Change::Taint(id) => self.rotation.taint(kind, id)?,
            Change::Revoke(id) => self.rotation.revoke(kind, id)?,
            Change::TaintUpstream(id) => Step::Taint { kind, authority_id: self.old_upstream(id)? },
            Change::RevokeUpstream(id) => Step::Revoke { kind, authority_id: self.old_upstream(id)? },
        })
    }

    /// An upstream authority that signed the old CA and does not sign the active one. Worded as SPIRE does.
    fn old_upstream(&self, id: &AuthorityId) -> Result<AuthorityId, AuthorityError> {
        let unfit = |reason| Err(AuthorityError::UpstreamUnfit { reason });
        if self.parts.upstream.is_none() {
            return Err(AuthorityError::NoUpstream);
        }
        let AuthorityStates { active, prepared, old } = self.states(Kind::X509);
        let signed_by = |state: &Option<AuthorityState>| {
            state.as_ref().is_some_and(|state| state.upstream_authority_id == id.as_str())
        };
        if signed_by(&active) {
            unfit("unable to use upstream authority singing current authority")
        } else if signed_by(&prepared) {
            unfit("only upstream authorities signing an old authority can be used")
        } else if signed_by(&old) {
            Ok(id.clone())
        } else {
            unfit("upstream authority didn't sign the old local authority")
        }
    }

    fn states(&self, kind: Kind) -> AuthorityStates {
        match kind {
            Kind::X509 => AuthorityStates::of(self.rotation.x509(), |ca| ca.upstream_authority_id.clone()),
            Kind::Jwt => AuthorityStates::of(self.rotation.jwt(), |_| String::new()),
        }
    }
}
