//! Only the CA: authorities in memory that rotate, and an SVID and a token minted with them. No server, no store, and
//! a week that passes at once.
//!
//! ```sh
//! cargo run --example ca-only
//! ```

use std::error::Error;
use std::sync::Arc;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::x509::{Certificate, verify_svid};
use spiffe_core::{Bundle, KeyType, PrivateKey, Timestamp, TrustDomain, Ttl, X509Authority};
use spire_ca::rotation::{Done, Kind, Policy, Rotation, Step, X509Record};
use spire_ca::{
    Authority, Composers, DistinguishedName, SelfSignedCaParams, X509Ca, X509SvidParams, mint_self_signed_ca,
    mint_x509_svid,
};
use spire_keymanager::{KeyId, KeyManager, MemoryKeyManager};

/// What a server's driver does with files and a database, done in memory.
struct Driver {
    rotation: Rotation,
    keys: MemoryKeyManager,
    bundle: Bundle,
    active: Option<Authority>,
}

impl Driver {
    fn new(trust_domain: &TrustDomain, now: Timestamp) -> Self {
        let policy = Policy { ca_ttl: Ttl::from_hours(24), jwt_svids: false };
        Self {
            rotation: Rotation::new(policy, now),
            keys: MemoryKeyManager::new(),
            bundle: Bundle::new(trust_domain.clone()),
            active: None,
        }
    }

    /// Does what is due at `now`, and answers when to be called again.
    async fn run(&mut self, now: Timestamp) -> Result<Timestamp, Box<dyn Error>> {
        while let Some(step) = self.rotation.next_step(now) {
            let done = self.perform(step, now).await?;
            self.rotation.completed(now, done);
        }
        Ok(self.rotation.next_wakeup())
    }

    async fn perform(&mut self, step: Step, now: Timestamp) -> Result<Done, Box<dyn Error>> {
        match step {
            Step::Prepare { kind, slot } => {
                let signer = self.keys.generate_key(&KeyId::new(kind.key_id(slot))?, KeyType::EcP256).await?;
                let subject = DistinguishedName::default_ca();
                let ttl = self.rotation.policy().ca_ttl;
                let params = SelfSignedCaParams { trust_domain: &self.bundle.trust_domain, subject: &subject, ttl };
                let mut rng = OsRng.unwrap_err();
                let ca = mint_self_signed_ca(&params, &Composers::default(), signer.as_ref(), now, &mut rng).await?;
                self.bundle.merge(vec![X509Authority { certificate: ca.clone(), tainted: false }], Vec::new());
                Ok(Done::PreparedX509 { slot, record: X509Record::new(ca, Vec::new(), now) })
            }
            Step::Activate { kind, authority_id } => {
                let held = self.rotation.x509().other().ok_or("nothing is prepared")?;
                let signer = self.keys.get_key(&KeyId::new(Kind::X509.key_id(held.slot))?).await?;
                let ca = X509Ca::new(held.record.certificate.clone(), Vec::new(), signer.ok_or("the key is gone")?)?;
                let trust_domain = self.bundle.trust_domain.clone();
                self.active = Some(Authority::new(trust_domain, Arc::new(ca), None, Composers::default()));
                Ok(Done::Activated { kind, authority_id })
            }
            Step::SaveJournal => Ok(Done::SavedJournal { generation: self.rotation.generation() }),
            Step::PruneBundle => {
                self.bundle.x509_authorities.retain(|root| root.certificate.not_after() >= now);
                Ok(Done::PrunedBundle)
            }
            Step::PruneJournals => Ok(Done::PrunedJournals),
            other => Err(format!("nobody asked for {other:?}").into()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    for line in week().await? {
        show(&line);
    }
    Ok(())
}

/// Lets a week pass, and mints and verifies an SVID whenever anything has been done.
async fn week() -> Result<Vec<String>, Box<dyn Error>> {
    let trust_domain = TrustDomain::parse("example.org")?;
    let (start, id, key) =
        (Timestamp::from_unix(1_790_000_000), trust_domain.join("/web")?, PrivateKey::generate(KeyType::EcP256)?);
    let mut driver = Driver::new(&trust_domain, start);
    let mut lines = Vec::new();
    let mut now = start;
    while now < start + Ttl::from_hours(7 * 24) {
        let wakeup = driver.run(now).await?;
        let authority = driver.active.as_ref().ok_or("no authority")?;
        let params = X509SvidParams {
            spiffe_id: &id,
            public_key: key.public_key(),
            ttl: Ttl::from_hours(1),
            dns_names: &[],
            subject: None,
        };
        let minted = mint_x509_svid(authority, &params, now, &mut OsRng.unwrap_err()).await?;
        let bundles = std::iter::once(driver.bundle.clone()).collect();
        let verified = verify_svid(&[Certificate::from_der(&minted.leaf)?], &bundles, now)?;
        let (ca, roots) = (authority.x509().id(), driver.bundle.x509_authorities.len());
        lines.push(format!("{now}  {verified} signed by {ca}, {roots} roots in the bundle"));
        now = wakeup;
    }
    Ok(lines)
}

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn show(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_week_of_svids_verifies() {
        assert!(super::week().await.unwrap().len() > 7);
    }
}
