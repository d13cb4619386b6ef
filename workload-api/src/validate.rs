//! Validation of JWT-SVIDs, as `ValidateJWTSVID` does it.

use spiffe_core::jwt::JwtSvid;
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
        .map_err(|err| IdentityError::InvalidToken { reason: err.to_string() })?;
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
}
