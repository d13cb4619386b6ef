//! Authorities that nobody should use, and then none that anybody has.

use spire_ca::AuthorityId;
use spire_ca::rotation::{Done, Kind};

use super::{AuthorityError, Driver};

impl Driver {
    pub(super) async fn taint(&self, kind: Kind, id: &AuthorityId) -> Result<Done, AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        match kind {
            Kind::X509 => datastore.taint_x509_authority(trust_domain, &key_id_bytes(id)?).await?,
            Kind::Jwt => datastore.taint_jwt_authority(trust_domain, id.as_str()).await?,
        };
        tracing::debug!(local_authority_id = %id, ?kind, "Authority is tainted");
        Ok(Done::Tainted)
    }

    pub(super) async fn revoke(&self, kind: Kind, id: &AuthorityId) -> Result<Done, AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        match kind {
            Kind::X509 => datastore.revoke_x509_authority(trust_domain, &key_id_bytes(id)?).await?,
            Kind::Jwt => datastore.revoke_jwt_authority(trust_domain, id.as_str()).await?,
        };
        tracing::debug!(local_authority_id = %id, ?kind, "Authority is revoked");
        Ok(Done::Revoked)
    }
}

/// The subject key ID that an X.509 authority is named by.
fn key_id_bytes(id: &AuthorityId) -> Result<Vec<u8>, AuthorityError> {
    const BUG: AuthorityError = AuthorityError::Bug("a CA's name is not hex");
    let digits = id.as_str().as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BUG);
    }
    pairs
        .iter()
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(|_| BUG)?;
            u8::from_str_radix(text, 16).map_err(|_| BUG)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cas_are_hex() {
        assert_eq!(key_id_bytes(&AuthorityId::new("00ff")).unwrap(), [0, 0xff]);
        assert!(key_id_bytes(&AuthorityId::new("0")).is_err());
        assert!(key_id_bytes(&AuthorityId::new("zz")).is_err());
    }
}
