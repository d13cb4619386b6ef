//! What is prepared begins to sign.

use std::sync::Arc;

use spire_ca::rotation::{Done, JwtRecord, Kind, Record, SlotId, Slots, X509Record};
use spire_ca::{AuthorityId, JwtKey, X509Ca};
use spire_keymanager::{KeyId, Signer};

use super::{AuthorityError, Driver, slot_name};

impl Driver {
    pub(super) async fn activate(&mut self, kind: Kind, authority_id: AuthorityId) -> Result<Done, AuthorityError> {
        const NOT_PREPARED: AuthorityError = AuthorityError::Bug("what is to be activated is not prepared");
        match kind {
            Kind::X509 => {
                let held = prepared(self.rotation.x509(), &authority_id).ok_or(NOT_PREPARED)?;
                self.use_x509(held.0, &held.1).await?;
                self.activated_x509(held.0, &held.1);
            }
            Kind::Jwt => {
                let (slot, record) = prepared(self.rotation.jwt(), &authority_id).ok_or(NOT_PREPARED)?;
                self.use_jwt(slot, &record).await?;
                tracing::info!(
                    slot = slot_name(slot),
                    issued_at = %record.issued_at,
                    expiration = %record.not_after,
                    local_authority_id = %record.authority_id,
                    "JWT key activated"
                );
                self.parts.metrics.count(&["manager", "jwt_key", "activate"], &[]);
            }
        }
        Ok(Done::Activated { kind, authority_id })
    }

    fn activated_x509(&self, slot: SlotId, record: &X509Record) {
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after(),
            local_authority_id = %record.authority_id,
            upstream_authority_id = %record.upstream_authority_id,
            "X509 CA activated"
        );
        let ttl = record.not_after().since(self.parts.clock.now()).as_secs();
        let (metrics, labels) = (&self.parts.metrics, [("trust_domain_id", self.config.trust_domain.as_str())]);
        metrics.count(&["ca", "manager", "x509_ca", "activate"], &[]);
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let (expiration, left) = (record.not_after().as_unix() as f64, ttl as f64);
        metrics.gauge(&["manager", "x509_ca", "rotate", "expiration"], &labels, expiration);
        metrics.gauge(&["manager", "x509_ca", "rotate", "ttl"], &labels, left);
        tracing::debug!(trust_domain_id = %self.config.trust_domain.id(), ttl, "Successfully rotated X.509 CA");
    }

    pub(super) async fn use_x509(&mut self, slot: SlotId, record: &X509Record) -> Result<(), AuthorityError> {
        let signer = self.signer(Kind::X509, slot).await?;
        let ca = X509Ca::new(record.certificate.clone(), record.upstream_chain.clone(), signer)?;
        self.x509 = Some(Arc::new(ca));
        Ok(())
    }

    pub(super) async fn use_jwt(&mut self, slot: SlotId, record: &JwtRecord) -> Result<(), AuthorityError> {
        let signer = self.signer(Kind::Jwt, slot).await?;
        if *signer.public_key() != record.public_key {
            return Err(spire_ca::Error::KeyMismatch.into());
        }
        self.jwt = Some(Arc::new(JwtKey::new(record.authority_id.as_str(), record.not_after, signer)?));
        Ok(())
    }

    async fn signer(&self, kind: Kind, slot: SlotId) -> Result<Arc<dyn Signer>, AuthorityError> {
        let key_id = KeyId::new(kind.key_id(slot))?;
        self.parts.key_manager.get_key(&key_id).await?.ok_or(AuthorityError::KeyGone { key_id })
    }
}

fn prepared<R: Record>(slots: &Slots<R>, id: &AuthorityId) -> Option<(SlotId, R)> {
    let held = slots.other().filter(|held| held.record.authority_id() == id)?;
    Some((held.slot, held.record.clone()))
}
