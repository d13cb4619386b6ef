//! Composers change what is signed, in their order; what they spoil is not signed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::ObjectIdentifier;
use serde_json::{Map, Value, json};
use spiffe_core::x509::Certificate;
use spiffe_core::{PublicKey, SpiffeId, Ttl};
use spire_ca::composer::{X509CaAttributes, X509SvidAttributes};
use spire_ca::lint::LintError;
use spire_ca::x509::Extension;
use spire_ca::{
    Composers, CredentialComposer, DistinguishedName, Error, JwtSvidParams, SelfSignedCaParams, X509SvidParams,
    mint_jwt_svid, mint_self_signed_ca, mint_x509_svid,
};
use spire_keymanager::testing;

mod common;

use common::{NOW, authority_of, id, rng, trust_domain};

/// Appends its letter to organizations, and does to claims and extensions what it is told.
#[derive(Debug, Default)]
struct Tell {
    letter: &'static str,
    claims: Vec<(&'static str, Value)>,
    extensions: Vec<Extension>,
    policies: Vec<ObjectIdentifier>,
}

#[async_trait]
impl CredentialComposer for Tell {
    async fn server_x509_ca(&self, mut attributes: X509CaAttributes) -> Result<X509CaAttributes, Error> {
        attributes.policy_identifiers.extend(&self.policies);
        Ok(attributes)
    }

    async fn agent_x509_svid(
        &self,
        _: &SpiffeId,
        _: &PublicKey,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        attributes.subject.common_name = "agent".to_owned();
        Ok(attributes)
    }

    async fn server_x509_svid(&self, _: X509SvidAttributes) -> Result<X509SvidAttributes, Error> {
        Err(Error::Composer { reason: "no servers today".to_owned() })
    }

    async fn workload_x509_svid(
        &self,
        _: &SpiffeId,
        _: &PublicKey,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, Error> {
        attributes.subject.organization[0].push_str(self.letter);
        attributes.dns_names.push(format!("{}.example.org", self.letter));
        attributes.extra_extensions.extend(self.extensions.iter().cloned());
        Ok(attributes)
    }

    async fn workload_jwt_svid(
        &self,
        _: &SpiffeId,
        mut claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        claims.extend(self.claims.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Ok(claims)
    }
}

fn tell(letter: &'static str) -> Tell {
    Tell { letter, ..Tell::default() }
}

fn composers(tells: impl IntoIterator<Item = Tell>) -> Composers {
    tells.into_iter().map(|tell| Arc::new(tell) as Arc<dyn CredentialComposer>).collect()
}

async fn x509(composers: Composers, path: &str) -> Result<Certificate, Error> {
    let authority = authority_of(testing::key(0), composers).await;
    let (id, key) = (id(path), testing::key(3));
    let params =
        X509SvidParams { spiffe_id: &id, public_key: key.public_key(), ttl: Ttl::ZERO, dns_names: &[], subject: None };
    let minted = mint_x509_svid(&authority, &params, NOW, &mut rng()).await?;
    Ok(Certificate::from_der(&minted.leaf)?)
}

async fn jwt(claims: Vec<(&'static str, Value)>) -> Result<String, Error> {
    let authority = authority_of(testing::key(0), composers([Tell { claims, ..tell("a") }])).await;
    let (id, audience) = (id("/a"), ["b".to_owned()]);
    let params =
        JwtSvidParams { spiffe_id: &id, audience: &audience, ttl: Ttl::ZERO, include_jti: false, issuer: None };
    let minted = mint_jwt_svid(&authority, &params, NOW, &mut rng()).await?;
    let claims = minted.token.split('.').nth(1).unwrap();
    Ok(String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap())
}

#[tokio::test]
async fn each_sees_what_the_one_before_it_made() {
    let leaf = x509(composers([tell("a"), tell("b")]), "/w").await.unwrap();
    assert_eq!(leaf.subject_display(), "O=SPIREab,C=US");
    assert_eq!(leaf.dns_sans(), ["a.example.org", "b.example.org"]);
}

#[tokio::test]
async fn the_id_decides_which_method_is_asked() {
    let agent = x509(composers([tell("a")]), "/spire/agent/join_token/1").await.unwrap();
    assert_eq!(agent.subject_common_name(), Some("agent"));
    let server = x509(composers([tell("a")]), "/spire/server").await;
    assert!(matches!(server, Err(Error::Composer { .. })), "{server:?}");
}

#[tokio::test]
async fn extensions_are_added_but_not_twice() {
    let own = Extension {
        oid: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1"),
        critical: false,
        value: vec![0x05, 0x00],
    };
    let with = |extensions| composers([Tell { extensions, ..tell("a") }]);
    x509(with(vec![own.clone()]), "/w").await.unwrap();
    let twice = x509(with(vec![own.clone(), own]), "/w").await.unwrap_err();
    assert!(matches!(twice, Error::Lint(LintError::DuplicateExtension)), "{twice}");
    let ca =
        Extension { oid: ObjectIdentifier::new_unwrap("2.5.29.19"), critical: true, value: vec![0x30, 3, 1, 1, 0xff] };
    let escalated = x509(with(vec![ca]), "/w").await.unwrap_err();
    assert!(matches!(escalated, Error::Lint(LintError::DuplicateExtension)), "{escalated}");
}

#[tokio::test]
async fn policies_stand_in_the_ca() {
    let (trust_domain, subject) = (trust_domain(), DistinguishedName::default_ca());
    let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::ZERO };
    let policies = vec![ObjectIdentifier::new_unwrap("1.2.3.4")];
    let composers = composers([Tell { policies, ..tell("a") }]);
    let ca = mint_self_signed_ca(&params, &composers, &testing::key(0), NOW, &mut rng()).await.unwrap();
    let expected = [0x06, 3, 0x55, 0x1d, 0x20, 0x04, 9, 0x30, 7, 0x30, 5, 0x06, 3, 0x2a, 3, 4];
    assert!(ca.der().windows(expected.len()).any(|window| window == expected));
}

#[tokio::test]
async fn whole_numbers_become_integers_again() {
    let exp = NOW.as_unix() + 60;
    let claims = jwt(vec![("exp", json!(1_790_000_060.0)), ("iat", json!(1_790_000_000.0)), ("n", json!(1.0))]);
    let expected = format!(r#"{{"aud":["b"],"exp":{exp},"iat":1790000000,"n":1.0,"sub":"spiffe://example.org/a"}}"#);
    assert_eq!(claims.await.unwrap(), expected);
}

#[tokio::test]
async fn spoilt_claims_are_not_signed() {
    for spoilt in [
        ("sub", json!("spiffe://example.org/b")),
        ("exp", json!(0)),
        ("exp", json!(1_790_000_060.5)),
        ("aud", json!([])),
        ("nbf", json!(1_790_000_060)),
    ] {
        let outcome = jwt(vec![spoilt.clone()]).await;
        assert!(matches!(outcome, Err(Error::Lint(LintError::Claim { .. }))), "{spoilt:?} {outcome:?}");
    }
}
