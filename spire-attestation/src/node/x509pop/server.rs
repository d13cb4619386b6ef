//! The server's half: verifies the chain, challenges the holder of the key, names the node.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use spiffe_core::{
    SignatureAlgorithm, TrustDomain,
    key::PublicKeyKind,
    x509::{Certificate, KeyUsage, verify_chain},
};
use spire_types::Selector;
use x509_parser::{prelude::FromDer, public_key::PublicKey as ParsedKey, x509::SubjectPublicKeyInfo};

use super::{
    AttestationData, Challenge, NAME, NonceOnly, Response, chains, ecdsa, nonce, pss::RsaPublicKey, san,
    signed_message, to_json,
};
use crate::{
    Error, X509PopError,
    hex::hex,
    node::{
        AttestRequest, Attested, Challenger, NodeAttestorServer, Verified,
        agent_id::{AgentPathTemplate, agent_id},
    },
};

/// What the server accepts.
#[derive(Debug, Clone)]
pub struct X509PopConfig {
    /// Which roots count, and what the agent is called.
    pub mode: X509PopMode,
    /// `agent_path_template`; `None` or empty takes the mode's default. Fields are `PluginName`, `TrustDomain`,
    /// `Fingerprint`, `SerialNumberHex`, `Subject.CommonName`, `SVIDPathTrimmed` and `URISanSelectors.<key>`.
    pub agent_path_template: Option<String>,
    /// How many certificates may follow the leaf; at least 1.
    pub max_intermediates: usize,
    /// The longest RSA key in bits that is looked at; at least 1.
    pub max_rsa_key_size: usize,
    /// Whether the leaf has to name the address that the agent calls from.
    pub verify_client_ip: bool,
}

/// Which public key infrastructure nodes come from.
#[derive(Debug, Clone)]
pub enum X509PopMode {
    /// One of the operator's own: agents are named by the SHA-1 fingerprint of their leaf.
    ExternalPki {
        /// Where chains have to end; see [`load_roots`].
        roots: Vec<Certificate>,
    },
    /// The server's own trust domain: an agent is named by what follows `prefix` in its leaf's SPIFFE ID.
    Spiffe {
        /// The beginning of the path of SVIDs that may become agents; by default [`X509PopMode::DEFAULT_PREFIX`].
        prefix: String,
        /// Where the current bundle comes from.
        roots: Arc<dyn CurrentRoots>,
    },
}

impl X509PopMode {
    /// `spiffe_prefix` where the configuration has none.
    pub const DEFAULT_PREFIX: &str = "/spire-exchange/";
}

/// The X.509 authorities of the server's own trust domain, for spiffe mode.
#[async_trait]
pub trait CurrentRoots: fmt::Debug + Send + Sync {
    /// The authorities as they are now.
    ///
    /// # Errors
    /// A sentence that says why they cannot be had.
    async fn roots(&self) -> Result<Vec<Certificate>, String>;
}

impl X509PopConfig {
    /// The defaults of SPIRE: 4 intermediates, 8192 bits, any address.
    #[must_use]
    pub fn new(mode: X509PopMode) -> Self {
        Self { mode, agent_path_template: None, max_intermediates: 4, max_rsa_key_size: 8192, verify_client_ip: false }
    }
}

/// Reads the roots of external mode from PEM files (`ca_bundle_path`, `ca_bundle_paths`).
///
/// # Errors
/// When a file cannot be read or holds no certificate, or when there is no file at all.
pub async fn load_roots(paths: &[PathBuf]) -> Result<Vec<Certificate>, Error> {
    if paths.is_empty() {
        let reason = "one of ca_bundle_path or ca_bundle_paths must be configured".to_owned();
        return Err(X509PopError::Config(reason).into());
    }
    let mut roots = Vec::new();
    for path in paths {
        roots.extend(load_certificates(path).await?);
    }
    Ok(roots)
}

async fn load_certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let failed = |reason: String| X509PopError::Config(format!("unable to load trust bundle {path:?}: {reason}"));
    let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
    Certificate::from_pem_many(&text).map_err(|error| failed(error.to_string()).into())
}

/// Attests nodes by the certificates they hold.
#[derive(Debug)]
pub struct X509PopServer {
    trust_domain: TrustDomain,
    config: X509PopConfig,
    template: AgentPathTemplate,
}

impl X509PopServer {
    /// Names agents in `trust_domain`.
    ///
    /// # Errors
    /// [`X509PopError::Config`] and [`AgentIdError::Template`](crate::AgentIdError::Template) say which setting cannot be
    /// used.
    pub fn new(trust_domain: TrustDomain, mut config: X509PopConfig) -> Result<Self, Error> {
        let bad = |reason: &str| X509PopError::Config(reason.to_owned());
        if config.max_intermediates == 0 {
            return Err(bad("max_intermediates must be greater than 0").into());
        }
        if config.max_rsa_key_size == 0 {
            return Err(bad("max_rsa_key_size must be greater than 0").into());
        }
        let default = match &mut config.mode {
            X509PopMode::ExternalPki { roots } if roots.is_empty() => {
                return Err(bad("the trust bundle holds no certificate").into());
            }
            X509PopMode::ExternalPki { .. } => DEFAULT_TEMPLATE,
            X509PopMode::Spiffe { prefix, .. } => {
                if !prefix.ends_with('/') {
                    prefix.push('/');
                }
                SPIFFE_TEMPLATE
            }
        };
        let template = config.agent_path_template.as_deref().filter(|template| !template.is_empty());
        let template = AgentPathTemplate::parse(template.unwrap_or(default), is_field)?;
        Ok(Self { trust_domain, config, template })
    }

    /// The chain of the payload, leaf first, within the limits and not yet verified.
    fn parse(&self, payload: &[u8]) -> Result<Vec<Certificate>, X509PopError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(X509PopError::PayloadTooLong { len: payload.len(), limit: MAX_PAYLOAD_BYTES });
        }
        let data: AttestationData = serde_json::from_slice(payload).map_err(X509PopError::Payload)?;
        let (leaf, intermediates) = data.certificates.split_first().ok_or(X509PopError::NoCertificate)?;
        if intermediates.len() > self.config.max_intermediates {
            return Err(X509PopError::TooManyIntermediates);
        }
        let leaf = Certificate::from_der(&leaf.0).map_err(|error| X509PopError::Leaf(error.to_string()))?;
        if self.key_is_too_large(&leaf) {
            return Err(X509PopError::LeafKeyTooLarge);
        }
        let mut chain = vec![leaf];
        for (index, der) in intermediates.iter().enumerate() {
            let certificate = Certificate::from_der(&der.0)
                .map_err(|error| X509PopError::Intermediate { index, reason: error.to_string() })?;
            if self.key_is_too_large(&certificate) {
                return Err(X509PopError::IntermediateKeyTooLarge { index });
            }
            chain.push(certificate);
        }
        Ok(chain)
    }

    fn key_is_too_large(&self, certificate: &Certificate) -> bool {
        matches!(certificate.public_key().kind(), PublicKeyKind::Rsa { bits } if bits > self.config.max_rsa_key_size)
    }

    async fn roots(&self) -> Result<Vec<Certificate>, X509PopError> {
        match &self.config.mode {
            X509PopMode::ExternalPki { roots } => Ok(roots.clone()),
            X509PopMode::Spiffe { roots, .. } => roots.roots().await.map_err(X509PopError::TrustBundle),
        }
    }

    fn check_client_ip(&self, leaf: &Certificate, client_ip: Option<IpAddr>) -> Result<(), X509PopError> {
        if !self.config.verify_client_ip {
            return Ok(());
        }
        let client_ip = client_ip.ok_or(X509PopError::NoClientIp)?.to_canonical();
        let matches = leaf.ip_sans().iter().filter_map(|bytes| ip_address(bytes)).any(|named| named == client_ip);
        if matches { Ok(()) } else { Err(X509PopError::ClientIp(client_ip)) }
    }

    /// The path of the agent's ID below `/spire/agent`.
    fn agent_path(&self, leaf: &Certificate) -> Result<String, Error> {
        let svid_path = match &self.config.mode {
            X509PopMode::ExternalPki { .. } => "",
            X509PopMode::Spiffe { prefix, .. } => {
                let path = san::spiffe_path(leaf).ok_or(X509PopError::NoSvid)?;
                path.strip_prefix(prefix.as_str()).ok_or(X509PopError::SvidPrefix)?
            }
        };
        self.template.render(|field| match field {
            "PluginName" => Some(NAME.to_owned()),
            "TrustDomain" => Some(self.trust_domain.to_string()),
            "Fingerprint" => Some(fingerprint(leaf)),
            "SerialNumberHex" => Some(serial_hex(leaf.serial())),
            "SVIDPathTrimmed" => Some(svid_path.to_owned()),
            COMMON_NAME => Some(leaf.subject_common_name().unwrap_or_default().to_owned()),
            _ => san::selectors(leaf, &self.trust_domain).remove(field.strip_prefix(SAN_FIELDS)?),
        })
    }

    fn selectors(&self, leaf: &Certificate, above: &[Certificate]) -> Vec<Selector> {
        let mut values = Vec::new();
        values.extend(
            leaf.subject_common_name().filter(|name| !name.is_empty()).map(|name| format!("subject:cn:{name}")),
        );
        values.extend(above.iter().map(|certificate| format!("ca:fingerprint:{}", fingerprint(certificate))));
        values.push(format!("serialnumber:{}", serial_hex(leaf.serial())));
        values.extend(
            san::selectors(leaf, &self.trust_domain).into_iter().map(|(key, value)| format!("san:{key}:{value}")),
        );
        values.into_iter().map(|value| Selector { kind: NAME.into(), value }).collect()
    }
}

#[async_trait]
impl NodeAttestorServer for X509PopServer {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(
        &self,
        request: AttestRequest<'_>,
        challenger: &mut dyn Challenger,
    ) -> Result<Verified<Attested>, Error> {
        let chain = self.parse(request.payload)?;
        let (leaf, intermediates) = chain.split_first().ok_or(X509PopError::NoCertificate)?;
        let roots = self.roots().await?;
        verify_chain(&chain, &roots, request.now).map_err(|error| X509PopError::Chain(error.to_string()))?;
        self.check_client_ip(leaf, request.client_ip)?;

        let (key, challenge) = Key::challenge(leaf, request.rng)?;
        let answer = challenger.challenge(&to_json(&challenge)?).await?;
        let response: Response = serde_json::from_slice(&answer).map_err(X509PopError::Response)?;
        key.check(leaf, &challenge, &response).map_err(X509PopError::Possession)?;

        let agent_id = agent_id(&self.trust_domain, &self.agent_path(leaf)?)?;
        let above = chains::above(leaf, intermediates, &roots, request.now);
        let selectors = self.selectors(leaf, &above);
        Ok(Verified::vouch(Attested { agent_id, selectors, can_reattest: true, join_token: None }))
    }
}

/// The leaf's key, as far as it can be challenged.
enum Key {
    Rsa(RsaPublicKey),
    Ec,
}

impl Key {
    fn challenge(
        leaf: &Certificate,
        rng: &mut (dyn rand_core::CryptoRng + Send),
    ) -> Result<(Self, Challenge), X509PopError> {
        if !leaf.key_usage().is_some_and(KeyUsage::digital_signature) {
            return Err(X509PopError::NotForSignatures);
        }
        let nonce = Some(NonceOnly { nonce: nonce(rng) });
        match leaf.public_key().kind() {
            PublicKeyKind::Rsa { .. } => {
                let key = rsa_key(leaf).ok_or(X509PopError::UnsupportedKey("this RSA key"))?;
                Ok((Self::Rsa(key), Challenge { rsa_signature: nonce, ecdsa_signature: None }))
            }
            PublicKeyKind::EcP256 | PublicKeyKind::EcP384 => {
                Ok((Self::Ec, Challenge { rsa_signature: None, ecdsa_signature: nonce }))
            }
            PublicKeyKind::EcP521 => Err(X509PopError::UnsupportedKey("elliptic curve P-521")),
            _ => Err(X509PopError::UnsupportedKey("neither RSA nor ECDSA")),
        }
    }

    fn check(&self, leaf: &Certificate, challenge: &Challenge, response: &Response) -> Result<(), &'static str> {
        match self {
            Self::Rsa(key) => {
                let challenge = challenge.rsa_signature.as_ref().ok_or("expecting RSA challenge")?;
                let response = response.rsa_signature.as_ref().ok_or("expecting RSA response")?;
                let message = signed_message(&challenge.nonce, &response.nonce)?;
                if key.verifies(&message, &response.signature.0) { Ok(()) } else { Err("RSA signature verify failed") }
            }
            Self::Ec => {
                let challenge = challenge.ecdsa_signature.as_ref().ok_or("expecting ECDSA challenge")?;
                let response = response.ecdsa_signature.as_ref().ok_or("expecting ECDSA response")?;
                let message = signed_message(&challenge.nonce, &response.nonce)?;
                let signature = ecdsa::to_der(&response.r.0, &response.s.0).ok_or("ECDSA signature verify failed")?;
                leaf.public_key()
                    .verify(SignatureAlgorithm::EcdsaSha256, &message, &signature)
                    .map_err(|_| "ECDSA signature verify failed")
            }
        }
    }
}

fn is_field(name: &str) -> bool {
    let simple = ["PluginName", "TrustDomain", "Fingerprint", "SerialNumberHex", "SVIDPathTrimmed", COMMON_NAME];
    simple.contains(&name) || name.strip_prefix(SAN_FIELDS).is_some_and(|key| !key.contains('.'))
}

fn rsa_key(leaf: &Certificate) -> Option<RsaPublicKey> {
    let (_, info) = SubjectPublicKeyInfo::from_der(leaf.public_key().spki_der()).ok()?;
    match info.parsed().ok()? {
        ParsedKey::RSA(key) => RsaPublicKey::new(key.modulus, key.exponent),
        _ => None,
    }
}

fn fingerprint(certificate: &Certificate) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der()).as_ref())
}

/// A serial number in as few whole bytes as hold it.
fn serial_hex(big_endian: &[u8]) -> String {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    match big_endian.get(zeros..).unwrap_or_default() {
        [] => "00".to_owned(),
        digits => hex(digits),
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::from(octets).to_canonical());
    v4.or(v6).ok()
}

/// The path of an agent below `/spire/agent` in external mode.
pub const DEFAULT_TEMPLATE: &str = "/{{ .PluginName }}/{{ .Fingerprint }}";
/// The path of an agent below `/spire/agent` in spiffe mode.
pub const SPIFFE_TEMPLATE: &str = "/{{ .PluginName }}/{{ .SVIDPathTrimmed }}";

const COMMON_NAME: &str = "Subject.CommonName";
const SAN_FIELDS: &str = "URISanSelectors.";

/// The longest payload that is read.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
