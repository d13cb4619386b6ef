//! Validation of JWT-SVIDs, as `ValidateJWTSVID` does it.

use spiffe_core::jwt::{JwtError, JwtSvid};
use spiffe_core::{BundleSet, Timestamp, TrustDomain, Ttl};

use crate::context::ValidatedJwt;
use crate::server::IdentityError;

/// How far a token's times may be off, for clocks that differ; the standard knows none, SPIRE has this.
pub const JWT_LEEWAY: Ttl = Ttl::from_minutes(1);

/// Validates `token` for one audience at `now`, with the bundle of its own trust domain.
///
/// Of a token of another trust domain than `own`, only `sub`, `aud` and `exp` are shown, and those claims that
/// `allowed_foreign_claims` names: others mean what somebody else wants them to mean.
///
/// Standard: SPIFFE Workload API §6.2.3, JWT-SVID §4, §5.
///
/// # Errors
/// [`IdentityError::InvalidToken`] names the rule that the token breaks.
pub fn validate_jwt_svid(
    token: &str,
    audience: &str,
    bundles: &BundleSet,
    own: &TrustDomain,
    allowed_foreign_claims: &[String],
    now: Timestamp,
) -> Result<ValidatedJwt, IdentityError> {
    let svid = JwtSvid::verify(token, audience, bundles, now, JWT_LEEWAY)
        .map_err(|err| IdentityError::InvalidToken { reason: reason(&err) })?;
    let mut claims = svid.claims().clone();
    claims.insert("aud".to_owned(), svid.audience().into());
    if !svid.id().is_member_of(own) {
        claims.retain(|name, _| {
            matches!(name.as_str(), "sub" | "aud" | "exp")
                || allowed_foreign_claims.iter().any(|allowed| allowed == name)
        });
    }
    Ok(ValidatedJwt { id: svid.id().clone(), claims })
}

/// In the words that SPIRE's clients know.
fn reason(err: &JwtError) -> String {
    match err {
        JwtError::Algorithm
        | JwtError::Critical
        | JwtError::Malformed { .. }
        | JwtError::TooLong { .. }
        | JwtError::Type => format!("unable to parse JWT token: {err}"),
        JwtError::Audience { expected, found } => {
            let found: Vec<String> = found.iter().map(|audience| format!("{audience:?}")).collect();
            format!("expected audience in [{expected:?}] (audience=[{}])", found.join(" "))
        }
        JwtError::Claim { name: "sub" } => "token missing subject claim".to_owned(),
        JwtError::Claim { name: "exp" } => "token missing exp claim".to_owned(),
        JwtError::Expired { .. } => "token has expired".to_owned(),
        JwtError::Id(err) => format!("token has in invalid subject claim: {err}"),
        JwtError::NoBundle { trust_domain } => format!("no keys found for trust domain {:?}", trust_domain.as_str()),
        JwtError::UnknownKey { key_id, trust_domain } => {
            format!("public key {key_id:?} not found in trust domain {:?}", trust_domain.as_str())
        }
        err => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    #[test]
    fn audience_is_always_a_list_and_foreign_claims_are_filtered() {
        let (ours, theirs) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
        let bundles: BundleSet = [ours.bundle(), theirs.bundle()].into_iter().collect();
        let token = theirs.jwt_svid("/a", &["us"], NOW + Ttl::from_secs(60));
        let valid = validate_jwt_svid(&token, "us", &bundles, ours.trust_domain(), &[], NOW).unwrap();
        assert_eq!(valid.id.as_str(), "spiffe://other.example/a");
        assert_eq!(valid.claims.keys().collect::<Vec<_>>(), ["aud", "exp", "sub"]);
        assert_eq!(valid.claims["aud"], serde_json::json!(["us"]));
    }

    #[test]
    fn a_minute_of_leeway_and_no_more() {
        let ours = TestAuthority::new("example.org");
        let token = ours.jwt_svid("/a", &["us"], NOW - Ttl::from_secs(59));
        let validate = |now| validate_jwt_svid(&token, "us", &ours.bundles(), ours.trust_domain(), &[], now);
        assert!(validate(NOW).is_ok());
        let err = validate(NOW + Ttl::from_secs(2)).unwrap_err();
        assert!(matches!(&err, IdentityError::InvalidToken { reason } if reason.contains("expired")), "{err}");
        assert!(!err.to_string().contains(&token));
    }

    #[test]
    fn reasons_are_those_that_clients_of_spire_know() {
        let (ours, theirs) = (TestAuthority::new("example.org"), TestAuthority::new("other.example"));
        let reason = |authority: &TestAuthority, audience: &[&str], bundles: &BundleSet, now| {
            let token = authority.jwt_svid("/a", audience, NOW);
            validate_jwt_svid(&token, "us", bundles, ours.trust_domain(), &[], now).unwrap_err().to_string()
        };
        let mut nameless = ours.bundle();
        nameless.jwt_authorities.clear();
        let nameless: BundleSet = std::iter::once(nameless).collect();
        assert_eq!(
            reason(&ours, &["b", "c"], &ours.bundles(), NOW),
            r#"expected audience in ["us"] (audience=["b" "c"])"#
        );
        assert_eq!(reason(&ours, &["us"], &ours.bundles(), NOW + Ttl::from_minutes(2)), "token has expired");
        assert_eq!(reason(&theirs, &["us"], &ours.bundles(), NOW), r#"no keys found for trust domain "other.example""#);
        assert_eq!(
            reason(&ours, &["us"], &nameless, NOW),
            r#"public key "example.org-key" not found in trust domain "example.org""#
        );
        let garbage = validate_jwt_svid("x", "us", &nameless, ours.trust_domain(), &[], NOW).unwrap_err();
        assert_eq!(garbage.to_string(), "unable to parse JWT token: malformed token");
    }
}
