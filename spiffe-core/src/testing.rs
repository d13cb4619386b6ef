//! A throwaway authority for tests: real certificates and tokens, no ceremony.
//!
//! It panics on bad input, as a test wants it.
#![expect(clippy::expect_used, clippy::panic, reason = "a failing fixture should fail the test at once")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

use crate::bundle::{Bundle, BundleSet, JwtAuthority, X509Authority};
use crate::id::{SpiffeId, TrustDomain};
use crate::key::{KeyType, PrivateKey, PublicKey};
use crate::time::Timestamp;
use crate::x509::{Certificate, X509Svid};

/// The CA and JWT key of one trust domain.
pub struct TestAuthority {
    trust_domain: TrustDomain,
    root: Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
    jwt_key: PrivateKey,
}

impl TestAuthority {
    /// A self-signed root, valid from 1975 to 4096, and a JWT key.
    #[must_use]
    pub fn new(trust_domain: &str) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).expect("trust domain");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&trust_domain.id())];
        let key = KeyPair::generate().expect("key");
        let root = params.self_signed(&key).expect("root");
        Self {
            trust_domain,
            root: Certificate::from_der(root.der()).expect("root"),
            issuer: rcgen::Issuer::new(params, key),
            jwt_key: PrivateKey::generate(KeyType::EcP256).expect("key"),
        }
    }

    /// The same keys under another trust domain's name: an impostor.
    #[must_use]
    pub fn as_trust_domain(&self, name: &str) -> Self {
        let key = KeyPair::try_from(self.issuer.key().serialize_der()).expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self {
            trust_domain: TrustDomain::parse(name).expect("trust domain"),
            root: self.root.clone(),
            issuer: rcgen::Issuer::new(params, key),
            jwt_key: self.jwt_key.clone(),
        }
    }

    /// Whose authority it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// The bundle with both authorities.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        Bundle {
            x509_authorities: vec![X509Authority { certificate: self.root.clone(), tainted: false }],
            jwt_authorities: vec![JwtAuthority {
                key_id: self.key_id(),
                public_key: self.jwt_key.public_key().clone(),
                expires_at: None,
                tainted: false,
            }],
            ..Bundle::new(self.trust_domain.clone())
        }
    }

    /// A set with that bundle alone.
    #[must_use]
    pub fn bundles(&self) -> BundleSet {
        std::iter::once(self.bundle()).collect()
    }

    /// An SVID that never expires, with a new P-256 key; `path` begins with a slash.
    #[must_use]
    pub fn svid(&self, path: &str) -> Arc<X509Svid> {
        self.svid_valid(path, Timestamp::from_unix(0), Timestamp::from_unix(60_000_000_000))
    }

    /// An SVID with that validity.
    #[must_use]
    pub fn svid_valid(&self, path: &str, not_before: Timestamp, not_after: Timestamp) -> Arc<X509Svid> {
        let id = self.trust_domain.join(path).expect("path");
        let key = PrivateKey::generate(KeyType::EcP256).expect("key");
        let leaf = self.certify(&id, key.public_key(), not_before, not_after);
        Arc::new(X509Svid::new(vec![leaf], key).expect("SVID"))
    }

    /// A certificate for a P-256 key that somebody else holds, whatever the ID.
    #[must_use]
    pub fn certify(&self, id: &SpiffeId, key: &PublicKey, not_before: Timestamp, not_after: Timestamp) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date(not_before);
        params.not_after = date(not_after);
        let leaf = params.signed_by(&Point(key.spki_der()), &self.issuer).expect("leaf");
        Certificate::from_der(leaf.der()).expect("leaf")
    }

    /// A JWT-SVID; `path` begins with a slash.
    #[must_use]
    pub fn jwt_svid(&self, path: &str, audience: &[&str], expires_at: Timestamp) -> String {
        let id = self.trust_domain.join(path).expect("path");
        let header = serde_json::json!({ "alg": "ES256", "kid": self.key_id(), "typ": "JWT" });
        let claims = serde_json::json!({ "sub": id.as_str(), "aud": audience, "exp": expires_at.as_unix() });
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.jwt_key.sign_jws(signed.as_bytes()).expect("signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn key_id(&self) -> String {
        format!("{}-key", self.trust_domain.as_str())
    }
}

/// A P-256 key by its `SubjectPublicKeyInfo`, which ends with the point.
struct Point<'a>(&'a [u8]);

impl rcgen::PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.get(self.0.len() - 65..).expect("point")
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn uri(id: &SpiffeId) -> SanType {
    match id.as_str().try_into() {
        Ok(uri) => SanType::URI(uri),
        Err(err) => panic!("{id} is no IA5 string: {err}"),
    }
}

fn date(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.as_unix()).expect("date")
}
