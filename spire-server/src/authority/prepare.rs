//! New authorities: a key, a certificate, and a place in the bundle.

use std::sync::Arc;

use spiffe_core::{JwtAuthority, KeyType, Timestamp, X509Authority};
use spire_ca::rotation::{Done, JwtRecord, Kind, MIN_LIFETIME, Record as _, SlotId, X509Record};
use spire_ca::upstream::{self, UpstreamAuthority};
use spire_ca::{SelfSignedCaParams, ca_csr, mint_self_signed_ca, random_key_id};
use spire_keymanager::{KeyId, Signer};

use super::{AuthorityError, Driver, slot_name};

impl Driver {
    pub(super) async fn prepare_x509(&mut self, slot: SlotId) -> Result<Done, AuthorityError> {
        let key_id = KeyId::new(Kind::X509.key_id(slot))?;
        let signer = self.generate_key(&key_id, self.config.ca_key_type).await?;
        let now = self.parts.clock.now();
        let (record, roots) = match self.parts.upstream.clone() {
            None => self.self_signed(signer.as_ref(), now).await?,
            Some(upstream) => self.signed_upstream(upstream.as_ref(), signer, now).await?,
        };
        if record.not_after() < now + MIN_LIFETIME {
            return Err(AuthorityError::TooShort { not_after: record.not_after(), now });
        }
        // Published before it signs anything, so that nobody meets an SVID whose root is not known yet.
        self.parts.datastore.append_bundle(&self.config.trust_domain, roots, Vec::new()).await?;
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after(),
            self_signed = self.parts.upstream.is_none(),
            local_authority_id = %record.authority_id,
            upstream_authority_id = %record.upstream_authority_id,
            "X509 CA prepared"
        );
        Ok(Done::PreparedX509 { slot, record })
    }

    async fn self_signed(
        &mut self,
        signer: &dyn Signer,
        now: Timestamp,
    ) -> Result<(X509Record, Vec<X509Authority>), AuthorityError> {
        let params = SelfSignedCaParams {
            trust_domain: &self.config.trust_domain,
            subject: &self.config.ca_subject,
            ttl: self.config.policy.ca_ttl,
        };
        let certificate =
            mint_self_signed_ca(&params, &self.parts.composers, signer, now, self.parts.rng.as_mut()).await?;
        let root = X509Authority { certificate: certificate.clone(), tainted: false };
        Ok((X509Record::new(certificate, Vec::new(), now), vec![root]))
    }

    async fn signed_upstream(
        &mut self,
        upstream: &dyn UpstreamAuthority,
        signer: Arc<dyn Signer>,
        now: Timestamp,
    ) -> Result<(X509Record, Vec<X509Authority>), AuthorityError> {
        let trust_domain = &self.config.trust_domain;
        let rng = self.parts.rng.as_mut();
        let csr = ca_csr(trust_domain, &self.config.ca_subject, &self.parts.composers, signer.as_ref(), rng).await?;
        let answer = upstream.mint_x509_ca(&csr, self.config.policy.ca_ttl, now, rng).await?;
        // Asking may have taken a while.
        let now = self.parts.clock.now().max(now);
        upstream::chain::check(&answer, trust_domain, signer, now, rng).await?;
        let certificate = answer.chain.first().cloned().ok_or(AuthorityError::Bug("a checked chain is empty"))?;
        Ok((X509Record::new(certificate, answer.chain, now), answer.roots))
    }

    pub(super) async fn prepare_jwt(&mut self, slot: SlotId) -> Result<Done, AuthorityError> {
        let key_id = KeyId::new(Kind::Jwt.key_id(slot))?;
        let signer = self.generate_key(&key_id, self.config.jwt_key_type).await?;
        let now = self.parts.clock.now();
        let mut record = JwtRecord {
            authority_id: random_key_id(self.parts.rng.as_mut()),
            issued_at: now,
            not_after: now + self.config.policy.ca_ttl,
            public_key: signer.public_key().clone(),
        };
        let key = JwtAuthority {
            key_id: record.authority_id.as_str().to_owned(),
            public_key: record.public_key.clone(),
            expires_at: Some(record.not_after),
            tainted: false,
        };
        let published = match &self.parts.upstream {
            Some(upstream) => upstream.publish_jwt_key(&key).await?,
            None => None,
        };
        let keys = published.unwrap_or_else(|| vec![key]);
        self.parts.datastore.append_bundle(&self.config.trust_domain, Vec::new(), keys).await?;
        // Its readers' time begins once it is published.
        record.issued_at = self.parts.clock.now();
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after,
            local_authority_id = %record.authority_id,
            "JWT key prepared"
        );
        Ok(Done::PreparedJwt { slot, record })
    }

    async fn generate_key(
        &self,
        key_id: &KeyId,
        key_type: KeyType,
    ) -> Result<Arc<dyn Signer>, spire_keymanager::Error> {
        let (metrics, generating) = (&self.parts.metrics, self.parts.key_manager.generate_key(key_id, key_type));
        metrics.timed(&["server_key_manager", "generate_key"], &[], |_| "Internal", generating).await
    }
}
