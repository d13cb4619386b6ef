//! What the bundle of an upstream means for the own one: pure.
//!
//! Authorities are taken over as they appear and tainted as they are there. One that is absent there is removed here
//! only if it was tainted: all else leaves by expiring, and a bundle that is told short of something takes nothing away.

use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, JwtAuthority, Ttl, X509Authority};

/// How often an upstream's bundle is looked at, as in SPIRE.
pub const EVERY: Ttl = Ttl::from_secs(5);

/// What is to be done to the own bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Roots to be added, not tainted yet.
    pub append_x509: Vec<X509Authority>,
    /// JWT keys to be added, not tainted yet.
    pub append_jwt: Vec<JwtAuthority>,
    /// Roots to be tainted, by subject key ID.
    pub taint_x509: Vec<Vec<u8>>,
    /// JWT keys to be tainted, by key ID.
    pub taint_jwt: Vec<String>,
    /// Tainted roots to be removed, by subject key ID.
    pub revoke_x509: Vec<Vec<u8>>,
    /// Tainted JWT keys to be removed, by key ID.
    pub revoke_jwt: Vec<String>,
}

impl Changes {
    /// What makes `own` follow `upstream`.
    #[must_use]
    pub fn between(own: &Bundle, upstream: &Bundle) -> Self {
        let mut changes = Self::default();
        for theirs in &upstream.x509_authorities {
            let ours = x509(own, &theirs.certificate);
            if ours.is_none() {
                changes.append_x509.push(X509Authority { tainted: false, ..theirs.clone() });
            }
            if theirs.tainted && !ours.is_some_and(|ours| ours.tainted) {
                changes.taint_x509.extend(theirs.certificate.subject_key_id().map(<[u8]>::to_vec));
            }
        }
        for theirs in &upstream.jwt_authorities {
            let ours = own.jwt_authority(&theirs.key_id);
            if ours.is_none() {
                changes.append_jwt.push(JwtAuthority { tainted: false, ..theirs.clone() });
            }
            if theirs.tainted && !ours.is_some_and(|ours| ours.tainted) {
                changes.taint_jwt.push(theirs.key_id.clone());
            }
        }
        let gone =
            own.x509_authorities.iter().filter(|ours| ours.tainted && x509(upstream, &ours.certificate).is_none());
        changes.revoke_x509 = gone.filter_map(|ours| ours.certificate.subject_key_id().map(<[u8]>::to_vec)).collect();
        let gone =
            own.jwt_authorities.iter().filter(|ours| ours.tainted && upstream.jwt_authority(&ours.key_id).is_none());
        changes.revoke_jwt = gone.map(|ours| ours.key_id.clone()).collect();
        changes
    }

    /// The X.509 authorities of `own` and those to be added, with the taints that are to be.
    #[must_use]
    pub fn with_taints(&self, own: &Bundle) -> Bundle {
        let mut bundle = own.clone();
        bundle.x509_authorities.extend(self.append_x509.iter().cloned());
        for authority in &mut bundle.x509_authorities {
            let id = authority.certificate.subject_key_id();
            authority.tainted |= self.taint_x509.iter().any(|tainted| Some(tainted.as_slice()) == id);
        }
        bundle
    }

    /// Whether `own` follows already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether something tainted in `bundle` has signed one of `chain`.
#[must_use]
pub fn is_below_tainted(chain: &[Certificate], bundle: &Bundle) -> bool {
    let tainted = |id: &[u8]| {
        bundle.x509_authorities.iter().any(|root| root.tainted && root.certificate.subject_key_id() == Some(id))
    };
    chain.iter().filter_map(Certificate::authority_key_id).any(tainted)
}

fn x509<'a>(bundle: &'a Bundle, certificate: &Certificate) -> Option<&'a X509Authority> {
    bundle.x509_authorities.iter().find(|authority| authority.certificate == *certificate)
}

#[cfg(test)]
mod tests {
    use spiffe_core::{PrivateKey, TrustDomain};
    use spire_keymanager::testing;

    use super::*;
    use crate::{Composers, DistinguishedName, SelfSignedCaParams, mint_self_signed_ca};

    fn trust_domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    async fn root(key: &PrivateKey) -> X509Authority {
        use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
        let (trust_domain, subject) = (trust_domain(), DistinguishedName::default_ca());
        let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24) };
        let now = spiffe_core::Timestamp::from_unix(1_790_000_000);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let certificate = mint_self_signed_ca(&params, &Composers::default(), key, now, &mut rng).await.unwrap();
        X509Authority { certificate, tainted: false }
    }

    fn key(number: usize) -> JwtAuthority {
        let public_key = testing::key(number).public_key().clone();
        JwtAuthority { key_id: format!("key-{number}"), public_key, expires_at: None, tainted: false }
    }

    /// Of three authorities, some.
    struct World(Vec<X509Authority>);

    impl World {
        async fn new() -> Self {
            let mut roots = Vec::new();
            for number in 0..3 {
                roots.push(root(&testing::key(number)).await);
            }
            Self(roots)
        }

        fn bundle(&self, numbers: &[usize]) -> Bundle {
            let mut bundle = Bundle::new(trust_domain());
            bundle.x509_authorities = numbers.iter().map(|number| self.0[*number].clone()).collect();
            bundle.jwt_authorities = numbers.iter().map(|number| key(*number)).collect();
            bundle
        }
    }

    fn tainted(mut bundle: Bundle, index: usize) -> Bundle {
        bundle.x509_authorities[index].tainted = true;
        bundle.jwt_authorities[index].tainted = true;
        bundle
    }

    #[tokio::test]
    async fn what_appears_is_added_and_what_is_absent_stays() {
        let world = World::new().await;
        let changes = Changes::between(&world.bundle(&[0, 1]), &world.bundle(&[1, 2]));
        assert_eq!(changes.append_x509, [world.0[2].clone()]);
        assert_eq!(changes.append_jwt, [key(2)]);
        assert_eq!(
            changes,
            Changes { append_x509: changes.append_x509.clone(), append_jwt: vec![key(2)], ..Changes::default() }
        );
        assert!(
            Changes::between(&world.bundle(&[0, 1]), &world.bundle(&[])).is_empty(),
            "an upstream that has lost all"
        );
    }

    #[tokio::test]
    async fn a_taint_is_followed_once_and_its_absence_revokes() {
        let world = World::new().await;
        let (own, upstream) = (world.bundle(&[0, 1]), tainted(world.bundle(&[0, 1]), 0));
        let changes = Changes::between(&own, &upstream);
        assert_eq!((changes.taint_x509.len(), changes.taint_jwt.len()), (1, 1));
        let own = tainted(own, 0);
        assert!(Changes::between(&own, &upstream).is_empty());
        let changes = Changes::between(&own, &world.bundle(&[1]));
        assert_eq!((changes.revoke_x509.len(), changes.revoke_jwt.len()), (1, 1));
        assert!(changes.taint_x509.is_empty() && changes.append_x509.is_empty());
    }

    #[tokio::test]
    async fn what_is_tainted_before_it_is_known_is_known_and_tainted() {
        let world = World::new().await;
        let changes = Changes::between(&world.bundle(&[]), &tainted(world.bundle(&[0]), 0));
        assert!(!changes.append_x509[0].tainted);
        assert_eq!((changes.taint_x509.len(), changes.taint_jwt.len()), (1, 1));
    }
}
