//! Takes over what the upstream's bundle has.

use spiffe_core::Bundle;
use spire_ca::rotation::{Done, X509Record};
use spire_ca::upstream::follow::{self, Changes};

use super::{AuthorityError, Driver};

impl Driver {
    /// Takes over what the upstream's bundle has; a CA below something tainted is replaced.
    pub(super) async fn follow_upstream(&mut self) -> Result<Done, AuthorityError> {
        let upstream = self.parts.upstream.clone().ok_or(AuthorityError::NoUpstream)?;
        let theirs = upstream.fetch_bundle().await?;
        if !std::mem::replace(&mut self.follows, true) {
            tracing::info!("upstream bundle is followed again");
        }
        // Due now, whatever has become of it upstream.
        let was_held_back = !self.held_back.is_empty();
        if was_held_back {
            self.apply(self.held_back.clone()).await?;
            self.held_back = Changes::default();
        }
        let own = self.own_bundle().await?;
        let mut changes = Changes::between(&own, &theirs);
        let to_be = changes.with_taints(&own);
        let is_tainted = |ca: &X509Record| follow::is_below_tainted(&ca.upstream_chain, &to_be);
        // Agents that hear of a taint have everything below it replaced, at once: by a CA that is below it no more.
        if !was_held_back && self.rotation.x509().active().is_some_and(|active| is_tainted(active.record)) {
            self.held_back.taint_x509 = std::mem::take(&mut changes.taint_x509);
        }
        if !changes.is_empty() {
            self.apply(changes).await?;
        }
        self.rotation.x509_tainted(is_tainted);
        Ok(Done::FollowedUpstream)
    }

    async fn apply(&mut self, changes: Changes) -> Result<(), AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        tracing::info!(
            x509_authorities = changes.append_x509.len(),
            jwt_authorities = changes.append_jwt.len(),
            tainted = changes.taint_x509.len() + changes.taint_jwt.len(),
            revoked = changes.revoke_x509.len() + changes.revoke_jwt.len(),
            "upstream bundle changed"
        );
        datastore.append_bundle(trust_domain, changes.append_x509, changes.append_jwt).await?;
        for id in changes.taint_x509 {
            datastore.taint_x509_authority(trust_domain, &id).await?;
            tracing::info!(subject_key_id = hex(&id), "X.509 authority tainted");
            self.tainted = true;
        }
        for id in changes.taint_jwt {
            datastore.taint_jwt_authority(trust_domain, &id).await?;
            tracing::info!(local_authority_id = %id, "JWT authority tainted");
            self.tainted = true;
        }
        for id in changes.revoke_x509 {
            datastore.revoke_x509_authority(trust_domain, &id).await?;
            tracing::info!(subject_key_id = hex(&id), "X.509 authority revoked");
        }
        for id in changes.revoke_jwt {
            datastore.revoke_jwt_authority(trust_domain, &id).await?;
            tracing::info!(local_authority_id = %id, "JWT authority revoked");
        }
        Ok(())
    }

    async fn own_bundle(&self) -> Result<Bundle, AuthorityError> {
        let trust_domain = &self.config.trust_domain;
        let stored = self.parts.datastore.fetch_bundle(trust_domain).await?;
        Ok(stored.unwrap_or_else(|| Bundle::new(trust_domain.clone())))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
