//! A bundle as it is stored: JSON, with DER in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spiffe_core::key::PublicKey;
use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, JwtAuthority, Timestamp, TrustDomain, Ttl, X509Authority};

use super::fail::Fail;

#[derive(Serialize, Deserialize)]
struct Stored {
    x509_authorities: Vec<StoredX509>,
    jwt_authorities: Vec<StoredJwt>,
    refresh_hint: Option<u64>,
    sequence_number: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredX509 {
    certificate: String,
    tainted: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredJwt {
    key_id: String,
    public_key: String,
    expires_at: Option<i64>,
    tainted: bool,
}

/// Writes a bundle.
pub(super) fn encode(bundle: &Bundle) -> Result<String, Fail> {
    let stored = Stored {
        x509_authorities: bundle
            .x509_authorities
            .iter()
            .map(|authority| StoredX509 {
                certificate: STANDARD.encode(authority.certificate.der()),
                tainted: authority.tainted,
            })
            .collect(),
        jwt_authorities: bundle
            .jwt_authorities
            .iter()
            .map(|authority| StoredJwt {
                key_id: authority.key_id.clone(),
                public_key: STANDARD.encode(authority.public_key.spki_der()),
                expires_at: authority.expires_at.map(Timestamp::as_unix),
                tainted: authority.tainted,
            })
            .collect(),
        refresh_hint: bundle.refresh_hint.map(Ttl::as_secs),
        sequence_number: bundle.sequence_number,
    };
    serde_json::to_string(&stored).map_err(|err| Fail::damaged(format!("bundle: {err}")))
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(trust_domain: &TrustDomain, data: &str) -> Result<Bundle, Fail> {
    let damaged = |cause: &dyn std::fmt::Display| Fail::damaged(format!("bundle of {trust_domain}: {cause}"));
    let stored: Stored = serde_json::from_str(data).map_err(|err| damaged(&err))?;
    let der = |text: &str| STANDARD.decode(text).map_err(|err| damaged(&err));
    let mut bundle = Bundle::new(trust_domain.clone());
    for authority in &stored.x509_authorities {
        let certificate = Certificate::from_der(&der(&authority.certificate)?).map_err(|err| damaged(&err))?;
        bundle.x509_authorities.push(X509Authority { certificate, tainted: authority.tainted });
    }
    for authority in stored.jwt_authorities {
        bundle.jwt_authorities.push(JwtAuthority {
            public_key: PublicKey::from_spki_der(&der(&authority.public_key)?).map_err(|err| damaged(&err))?,
            key_id: authority.key_id,
            expires_at: authority.expires_at.map(Timestamp::from_unix),
            tainted: authority.tainted,
        });
    }
    bundle.refresh_hint = stored.refresh_hint.map(Ttl::from_secs);
    bundle.sequence_number = stored.sequence_number;
    Ok(bundle)
}
