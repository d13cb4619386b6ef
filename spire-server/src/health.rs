//! What the server says of itself over HTTP: four parts, by SPIRE's names.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::{PrivateKey, PublicKey, SpiffeId, TrustDomain, Ttl};
use spire_api::channel;
use spire_api::proto::bundle::GetBundleRequest;
use spire_api::proto::bundle::bundle_client::BundleClient;
use spire_ca::{X509SvidParams, mint_x509_svid};
use spire_datastore::DataStore;
use spire_runtime::Clock;
use spire_runtime::health::{Health, HealthCheck};

use crate::authority::AuthorityHandle;
use crate::error::Error;

/// All parts.
///
/// # Errors
/// When there is no key to try signing with.
pub(crate) fn checks(
    socket_path: PathBuf,
    trust_domain: &TrustDomain,
    authority: &AuthorityHandle,
    store: Arc<dyn DataStore>,
    clock: Arc<dyn Clock>,
) -> Result<Vec<Arc<dyn HealthCheck>>, Error> {
    let failed = |err: &dyn std::fmt::Display| Error::ServerSvid(err.to_string());
    let id = trust_domain.join("/for/health/check/only").map_err(|err| failed(&err))?;
    let key = PrivateKey::generate(spiffe_core::KeyType::EcP256).map_err(|err| failed(&err))?;
    Ok(vec![
        Arc::new(Api { socket_path }),
        Arc::new(Signing { authority: authority.clone(), id, key: key.public_key().clone(), clock }),
        Arc::new(Rotation { authority: authority.clone() }),
        Arc::new(Store { store }),
    ])
}

/// Whether somebody who calls the administrators' socket gets the bundle.
#[derive(Debug)]
struct Api {
    socket_path: PathBuf,
}

#[async_trait]
impl HealthCheck for Api {
    fn name(&self) -> &'static str {
        "server"
    }

    async fn check(&self) -> Health {
        // Anew each time: what is asked is whether somebody can connect.
        let mut client = BundleClient::new(channel::unix(self.socket_path.clone()));
        let answer = client.get_bundle(GetBundleRequest::default()).await;
        let outcome = answer.map(drop).map_err(|status| status.message().to_owned());
        Health::of(outcome, "get_bundle_err")
    }
}

/// Whether an SVID can be signed.
#[derive(Debug)]
struct Signing {
    authority: AuthorityHandle,
    id: SpiffeId,
    key: PublicKey,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl HealthCheck for Signing {
    fn name(&self) -> &'static str {
        "server.ca"
    }

    async fn check(&self) -> Health {
        let params = X509SvidParams {
            spiffe_id: &self.id,
            public_key: &self.key,
            ttl: Ttl::ZERO,
            dns_names: &[],
            subject: None,
        };
        let authority = self.authority.current();
        let signed = mint_x509_svid(&authority, &params, self.clock.now(), &mut OsRng.unwrap_err()).await;
        Health::of(signed.map(drop).map_err(|err| err.to_string()), "sign_x509_svid_err")
    }
}

/// Whether authorities are replaced in time.
#[derive(Debug)]
struct Rotation {
    authority: AuthorityHandle,
}

#[async_trait]
impl HealthCheck for Rotation {
    fn name(&self) -> &'static str {
        "server.ca.rotator"
    }

    async fn check(&self) -> Health {
        let healthy = self.authority.is_healthy();
        let outcome = if healthy { Ok(()) } else { Err("rotation has failed again and again".to_owned()) };
        Health::of(outcome, "rotation_err")
    }
}

/// Whether the datastore answers.
#[derive(Debug)]
struct Store {
    store: Arc<dyn DataStore>,
}

#[async_trait]
impl HealthCheck for Store {
    fn name(&self) -> &'static str {
        "catalog.datastore"
    }

    async fn check(&self) -> Health {
        let counted = self.store.count_bundles().await;
        Health::of(counted.map(drop).map_err(|err| err.to_string()), "list_bundle_err")
    }
}
