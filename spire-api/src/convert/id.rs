//! SPIFFE IDs, and the roles they may play in a trust domain.

use spiffe_core::{SpiffeId, TrustDomain};

use super::ConvertError;
use crate::proto::types;

/// Where the names that SPIRE keeps for itself begin.
const RESERVED: &str = "/spire";

/// Any SPIFFE ID.
///
/// # Errors
/// When it is missing or malformed.
pub fn from_proto(id: Option<&types::Spiffeid>) -> Result<SpiffeId, ConvertError> {
    let id = id.ok_or_else(|| ConvertError::new("request must specify SPIFFE ID"))?;
    let invalid = |err| ConvertError::new(format!("{err}"));
    let trust_domain = TrustDomain::parse_name_or_id(&id.trust_domain).map_err(invalid)?;
    trust_domain.join(&id.path).map_err(invalid)
}

/// An ID with a path in `trust_domain`.
///
/// # Errors
/// When it is missing, malformed, foreign, or the trust domain's own.
pub fn member(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let id = from_proto(id)?;
    check_member(&id, trust_domain)?;
    Ok(id)
}

/// The ID of a workload in `trust_domain`: not one of those that SPIRE keeps for itself.
///
/// # Errors
/// As [`member`], and for reserved paths.
pub fn workload(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let id = from_proto(id)?;
    check_workload(&id, trust_domain)?;
    Ok(id)
}

/// The ID of an agent in `trust_domain`.
///
/// # Errors
/// As [`member`], and for paths that are no agent's.
pub fn agent(id: Option<&types::Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let id = from_proto(id)?;
    check_role(&id, trust_domain, "an agent in")?;
    if !is_agent(&id) {
        return Err(unfit(&id, trust_domain, "an agent in", "path is not in the agent namespace"));
    }
    Ok(id)
}

/// Whether the path is below `/spire/agent/`.
#[must_use]
pub fn is_agent(id: &SpiffeId) -> bool {
    id.path().starts_with("/spire/agent/")
}

/// Whether SPIRE keeps the path for itself.
#[must_use]
pub fn is_reserved(id: &SpiffeId) -> bool {
    id.path().strip_prefix(RESERVED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an ID may be a member of `trust_domain`.
///
/// # Errors
/// When it is foreign, or the trust domain's own.
pub fn check_member(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), ConvertError> {
    check_role(id, trust_domain, MEMBER)
}

/// Whether an ID may be a workload's in `trust_domain`.
///
/// # Errors
/// As [`check_member`], and for reserved paths.
pub fn check_workload(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), ConvertError> {
    const WORKLOAD: &str = "a workload in";
    check_role(id, trust_domain, WORKLOAD)?;
    if is_reserved(id) {
        return Err(unfit(id, trust_domain, WORKLOAD, "path is in the reserved namespace"));
    }
    Ok(())
}

const MEMBER: &str = "a member of";

/// In the trust domain, and with a path; worded by the role that the ID was to play.
fn check_role(id: &SpiffeId, trust_domain: &TrustDomain, role: &str) -> Result<(), ConvertError> {
    if !id.is_member_of(trust_domain) {
        let (id, trust_domain) = (id.as_str(), trust_domain.as_str());
        return Err(ConvertError::new(format!("{id:?} is not {MEMBER} trust domain {trust_domain:?}")));
    }
    if id.path().is_empty() {
        return Err(unfit(id, trust_domain, role, "path is empty"));
    }
    Ok(())
}

fn unfit(id: &SpiffeId, trust_domain: &TrustDomain, role: &str, why: &str) -> ConvertError {
    let (id, trust_domain) = (id.as_str(), trust_domain.as_str());
    ConvertError::new(format!("{id:?} is not {role} trust domain {trust_domain:?}; {why}"))
}

/// To the wire.
#[must_use]
pub fn to_proto(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain_name().to_owned(), path: id.path().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(trust_domain: &str, path: &str) -> types::Spiffeid {
        types::Spiffeid { trust_domain: trust_domain.into(), path: path.into() }
    }

    #[test]
    fn roles_are_told_apart_by_the_path() {
        let own = TrustDomain::parse("example.org").unwrap();
        let workload = |path: &str| workload(Some(&wire("example.org", path)), &own).is_ok();
        assert!(workload("/a"));
        assert!(workload("/spire-exchange/a"));
        for path in ["", "/spire", "/spire/agent/x", "/spire/server"] {
            assert!(!workload(path), "{path}");
        }
        assert!(agent(Some(&wire("example.org", "/spire/agent/x/y")), &own).is_ok());
        assert!(agent(Some(&wire("example.org", "/spire/agent")), &own).is_err());
        assert!(member(Some(&wire("other.org", "/a")), &own).is_err());
    }

    #[test]
    fn unfit_ids_are_told_why_in_spires_words() {
        let own = TrustDomain::parse("example.org").unwrap();
        let text = |outcome: Result<SpiffeId, ConvertError>| outcome.unwrap_err().to_string();
        let own_id = wire("example.org", "");
        assert_eq!(
            text(workload(Some(&own_id), &own)),
            "\"spiffe://example.org\" is not a workload in trust domain \"example.org\"; path is empty"
        );
        assert_eq!(
            text(agent(Some(&wire("other.org", "/a")), &own)),
            "\"spiffe://other.org/a\" is not a member of trust domain \"example.org\""
        );
        assert!(from_proto(Some(&wire("example.org", "a"))).is_err(), "the leading slash is part of a path");
    }

    #[test]
    fn a_missing_id_says_so() {
        assert_eq!(from_proto(None).unwrap_err().to_string(), "request must specify SPIFFE ID");
    }
}
