//! One order, from account to certificate.

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, Key, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use spiffe_core::{KeyType, PrivateKey, Timestamp, x509::CsrTemplate};
use tokio::time::timeout;

use super::{
    AcmeCertificate, AcmeSettings,
    client::AcmeHttp,
    issued::{Issued, chain_from_pem},
    store,
};
use crate::Error;

/// Orders a certificate for the name in the settings. The answer to the challenge is shown while it is open.
pub(super) async fn place(certificate: &AcmeCertificate, now: Timestamp) -> Result<Issued, Error> {
    let directory_url = &certificate.0.settings.directory_url;
    timeout(ORDER_DEADLINE, Placing { certificate, directory_url }.run(now)).await.map_err(|_| Error::Acme {
        directory_url: directory_url.clone(),
        attempt: "obtain a certificate",
        reason: format!("it took more than {} s", ORDER_DEADLINE.as_secs()),
    })?
}

struct Placing<'a> {
    certificate: &'a AcmeCertificate,
    directory_url: &'a str,
}

impl Placing<'_> {
    async fn run(&self, now: Timestamp) -> Result<Issued, Error> {
        let settings = &self.certificate.0.settings;
        let http = AcmeHttp(self.certificate.0.client.clone());
        self.agree_to_terms(settings, &http).await?;
        let account = self.account(settings, http).await?;
        let name = [Identifier::Dns(settings.domain_name.clone())];
        let mut order =
            account.new_order(&NewOrder::new(&name)).await.map_err(|error| self.failed("place an order", &error))?;
        self.prove_name(&mut order).await?;
        self.collect(&mut order, now).await
    }

    async fn agree_to_terms(&self, settings: &AcmeSettings, http: &AcmeHttp) -> Result<(), Error> {
        if settings.tos_accepted {
            return Ok(());
        }
        let attempt = "read the directory";
        let directory = http.get(self.directory_url).await.map_err(|error| self.refused(attempt, error.to_string()))?;
        let directory: Directory =
            serde_json::from_slice(&directory).map_err(|error| self.refused(attempt, error.to_string()))?;
        match directory.meta.terms_of_service {
            Some(terms) => Err(self.refused(
                "register",
                format!("its terms of service, {terms:?}, are not agreed to: set tos_accepted = true"),
            )),
            None => Ok(()),
        }
    }

    /// The account of the stored key, or of one that is made and stored now.
    ///
    /// It is asked for with every order, so that a server that has forgotten it makes it again.
    async fn account(&self, settings: &AcmeSettings, http: AcmeHttp) -> Result<Account, Error> {
        let path = settings.account_path();
        let key = match store::read(&path).await? {
            Some(pem) => PrivateKey::from_pem(&pem).map_err(|error| Error::ServingCertificate {
                path: path.clone(),
                reason: format!("holds no account key: {error}; remove it to register anew"),
            })?,
            None => {
                let key = generate(KeyType::EcP256).map_err(|reason| self.refused("make an account key", reason))?;
                store::write(&path, key.to_pkcs8_pem()).await?;
                key
            }
        };
        let failed = |error: instant_acme::Error| self.failed("register", &error);
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec());
        let signing = Key::from_pkcs8_der(pkcs8.clone_key()).map_err(failed)?;
        let builder = Account::builder_with_http(Box::new(http));
        let (account, _) = builder
            .create_from_key((signing, PrivateKeyDer::Pkcs8(pkcs8)), self.directory_url.to_owned())
            .await
            .map_err(failed)?;
        if !settings.email.is_empty() {
            account.update_contacts(&[&format!("mailto:{}", settings.email)]).await.map_err(failed)?;
        }
        Ok(account)
    }

    async fn prove_name(&self, order: &mut Order) -> Result<(), Error> {
        let attempt = "prove the name";
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| self.failed(attempt, &error))?;
            self.answer(authorization).await?;
        }
        match order.poll_ready(&patience()).await {
            Ok(OrderStatus::Invalid) => Err(self.refused(attempt, self.why_invalid(order).await)),
            Ok(_) => Ok(()),
            // The order's own error may say less than its authorizations do.
            Err(instant_acme::Error::Api(problem)) => {
                let why = self.why_invalid(order).await;
                Err(self.refused(attempt, if why.is_empty() { problem.to_string() } else { why }))
            }
            Err(error) => Err(self.failed(attempt, &error)),
        }
    }

    async fn answer(&self, mut authorization: AuthorizationHandle<'_>) -> Result<(), Error> {
        let attempt = "prove the name";
        if authorization.status == AuthorizationStatus::Valid {
            return Ok(());
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| self.refused(attempt, "it offers no challenge tls-alpn-01".to_owned()))?;
        let shown = self
            .challenge_certificate(challenge.key_authorization().digest().as_ref())
            .map_err(|reason| self.refused(attempt, reason))?;
        self.certificate.show(|all| all.challenge = Some(shown));
        challenge.set_ready().await.map_err(|error| self.failed(attempt, &error))
    }

    /// A certificate for the name that holds `digest` (RFC 8737 §3).
    fn challenge_certificate(&self, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
        let inner = &self.certificate.0;
        let make = || {
            let mut params = CertificateParams::new([inner.settings.domain_name.clone()])?;
            params.distinguished_name = DistinguishedName::new();
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
            let key = KeyPair::generate()?;
            Ok::<_, rcgen::Error>((params.self_signed(&key)?, key))
        };
        let (certificate, key) = make().map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = inner.provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
        // Without the check that the two belong together: it stumbles over the extension, which is critical.
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
    }

    /// What the server has to say about each of the order's challenges.
    async fn why_invalid(&self, order: &mut Order) -> String {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await {
                reasons.extend(state.challenges.iter().filter_map(|one| Some(one.error.as_ref()?.to_string())));
            }
        }
        reasons.join("; ")
    }

    /// Finalizes the order with a key of its own, and follows the order until the certificate is there.
    async fn collect(&self, order: &mut Order, now: Timestamp) -> Result<Issued, Error> {
        let inner = &self.certificate.0;
        let (attempt, domain_name) = ("finalize the order", &inner.settings.domain_name);
        let key = generate(KeyType::EcP256).map_err(|reason| self.refused(attempt, reason))?;
        let template = CsrTemplate { dns_sans: vec![domain_name.clone()], ..CsrTemplate::default() };
        let csr = template.sign(&key).map_err(|error| self.refused(attempt, error.to_string()))?;
        order.finalize_csr(&csr).await.map_err(|error| self.failed(attempt, &error))?;

        let attempt = "collect the certificate";
        let pem = order.poll_certificate(&patience()).await.map_err(|error| self.failed(attempt, &error))?;
        let chain = chain_from_pem(&pem).map_err(|reason| self.refused(attempt, reason))?;
        let issued = Issued::new(chain, key, domain_name, &inner.provider)
            .map_err(|error| self.refused(attempt, error.to_string()))?;
        if issued.validity().1 <= now {
            return Err(self.refused(attempt, format!("it has expired at {}", issued.validity().1)));
        }
        Ok(issued)
    }

    fn failed(&self, attempt: &'static str, error: &instant_acme::Error) -> Error {
        self.refused(attempt, error.to_string())
    }

    fn refused(&self, attempt: &'static str, reason: String) -> Error {
        Error::Acme { directory_url: self.directory_url.to_owned(), attempt, reason }
    }
}

fn generate(key_type: KeyType) -> Result<PrivateKey, String> {
    PrivateKey::generate(key_type).map_err(|error| error.to_string())
}

/// The part of a directory that the ACME client does not show.
#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(rename = "termsOfService")]
    terms_of_service: Option<String>,
}

/// How long the server may take to look at a name, or to issue.
fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(Duration::from_secs(90))
}

/// For a whole order.
const ORDER_DEADLINE: Duration = Duration::from_secs(300);
