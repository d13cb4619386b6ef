//! Registration entries, their masks and filters.

use std::collections::BTreeSet;

use spiffe_core::{Timestamp, TrustDomain};
use spire_types::{
    AdditionalAttributes, EntryFilter, EntryId, EntryMask, FederatesWithMatch, MatchBehavior, RegistrationEntry,
    entry::MAX_HINT_LENGTH,
};

use super::{ConvertError, id, selector, time, ttl, ttl_to_proto};
use crate::proto::types::federates_with_match::MatchBehavior as WireMatch;
use crate::proto::{entry, types};

/// Longest DNS name in bytes (RFC 1035 §2.3.4).
const MAX_DNS_NAME_LENGTH: usize = 253;
/// Longest label of a DNS name in bytes.
const MAX_DNS_LABEL_LENGTH: usize = 63;

/// An entry to be created in `trust_domain`. Rules over several fields are the store's to check.
///
/// # Errors
/// The rule it breaks.
pub fn from_proto(wire: &types::Entry, trust_domain: &TrustDomain) -> Result<RegistrationEntry, ConvertError> {
    let mut entry = masked_from_proto(wire, trust_domain, &EntryMask::ALL)?;
    if !wire.id.is_empty() {
        entry.id = Some(EntryId::parse(&wire.id).map_err(ConvertError::rule)?);
    }
    Ok(entry)
}

/// An entry as a server hands it out: with its revision and the time of its creation.
///
/// It is taken as the server has taken it, whose rules for DNS names may be laxer than ours. Where the parent was not
/// asked for, the trust domain's own ID stands in its place.
///
/// # Errors
/// When an ID, a selector or a trust domain is malformed, the ID of the entry is missing, or it is of another trust
/// domain.
pub fn from_server(wire: &types::Entry, trust_domain: &TrustDomain) -> Result<RegistrationEntry, ConvertError> {
    if wire.id.is_empty() {
        return Err(ConvertError::new("missing entry ID"));
    }
    let parent_id = wire.parent_id.is_some();
    let checked = EntryMask { parent_id, spiffe_id: false, selectors: false, dns_names: false, ..EntryMask::ALL };
    let mut entry = masked_from_proto(wire, trust_domain, &checked)?;
    entry.id = Some(EntryId::parse(&wire.id).map_err(|err| ConvertError::new(err.to_string()))?);
    entry.spiffe_id = id::member(wire.spiffe_id.as_ref(), trust_domain)
        .map_err(|err| ConvertError::in_field("invalid spiffe ID", err))?;
    entry.selectors = selector::many_from_proto(&wire.selectors)?;
    entry.dns_names.clone_from(&wire.dns_names);
    entry.revision_number = wire.revision_number;
    entry.created_at = Timestamp::from_unix(wire.created_at);
    Ok(entry)
}

/// The fields of an entry that `mask` names; the others hold placeholders and are not to be used. There is no ID.
///
/// # Errors
/// The rule a named field breaks.
pub fn masked_from_proto(
    wire: &types::Entry,
    trust_domain: &TrustDomain,
    mask: &EntryMask,
) -> Result<RegistrationEntry, ConvertError> {
    let placeholder = trust_domain.id();
    let parent_id = if mask.parent_id {
        id::member(wire.parent_id.as_ref(), trust_domain)
            .map_err(|err| ConvertError::in_field("invalid parent ID", err))?
    } else {
        placeholder.clone()
    };
    let spiffe_id = if mask.spiffe_id {
        id::workload(wire.spiffe_id.as_ref(), trust_domain)
            .map_err(|err| ConvertError::in_field("invalid spiffe ID", err))?
    } else {
        placeholder
    };
    if mask.hint && wire.hint.len() > MAX_HINT_LENGTH {
        return Err(ConvertError::new(format!("hint is too long, max length is {MAX_HINT_LENGTH} characters")));
    }
    let mut entry = RegistrationEntry::new(spiffe_id, parent_id, Vec::new());
    if mask.selectors {
        if wire.selectors.is_empty() {
            return Err(ConvertError::new("selector list is empty"));
        }
        entry.selectors = selector::many_from_proto(&wire.selectors)?;
    }
    if mask.x509_svid_ttl {
        entry.x509_svid_ttl = ttl("X509SvidTtl", wire.x509_svid_ttl)?;
    }
    if mask.jwt_svid_ttl {
        entry.jwt_svid_ttl = ttl("JwtSvidTtl", wire.jwt_svid_ttl)?;
    }
    if mask.federates_with {
        entry.federates_with = trust_domains(&wire.federates_with)?;
    }
    if mask.dns_names {
        for name in &wire.dns_names {
            check_dns_name(name).map_err(|err| ConvertError::in_field("invalid DNS name", err))?;
        }
        entry.dns_names.clone_from(&wire.dns_names);
    }
    entry.admin = mask.admin && wire.admin;
    entry.downstream = mask.downstream && wire.downstream;
    entry.store_svid = mask.store_svid && wire.store_svid;
    if mask.expires_at {
        entry.expires_at = time(wire.expires_at);
    }
    if mask.hint {
        entry.hint.clone_from(&wire.hint);
    }
    if mask.additional {
        entry.additional = wire.additional_attributes.as_ref().map(|additional| AdditionalAttributes {
            disable_x509_svid_prefetch: additional.disable_x509_svid_prefetch,
            jwt_svid_include_jti: additional.jwt_svid_include_jti,
        });
    }
    Ok(entry)
}

/// Trust domains by name or ID, each once, in the order given.
fn trust_domains(names: &[String]) -> Result<Vec<TrustDomain>, ConvertError> {
    let mut seen = BTreeSet::new();
    let mut trust_domains = Vec::new();
    for name in names {
        let trust_domain = TrustDomain::parse_name_or_id(name)
            .map_err(|err| ConvertError::in_field("invalid federated trust domain", err))?;
        if seen.insert(trust_domain.clone()) {
            trust_domains.push(trust_domain);
        }
    }
    Ok(trust_domains)
}

/// Checks a DNS name for a certificate: ASCII labels of letters, digits, underscores and inner dashes, a wildcard only
/// as the whole first label.
///
/// Stricter than SPIRE, which takes blanks and other punctuation too; laxer in that the Punycode of an
/// internationalised label is not decoded.
///
/// # Errors
/// The rule it breaks.
pub fn check_dns_name(name: &str) -> Result<(), ConvertError> {
    if !name.is_ascii() {
        return Err(ConvertError::new("name must be ascii"));
    }
    let rest = match name.bytes().filter(|b| *b == b'*').count() {
        0 => name,
        1 => name.strip_prefix("*.").ok_or_else(|| ConvertError::new("wildcard must be first label"))?,
        _ => return Err(ConvertError::new("too many wildcards")),
    };
    if rest.trim().is_empty() {
        return Err(ConvertError::new("empty or only whitespace"));
    }
    if rest.ends_with('.') {
        return Err(ConvertError::new("domain ends with dot"));
    }
    if name.len() > MAX_DNS_NAME_LENGTH {
        return Err(ConvertError::new(format!("idna error\nidna: invalid label {rest:?}")));
    }
    match rest.split('.').find(|label| !is_dns_label(label)) {
        // As SPIRE words it, on two lines.
        Some(label) => {
            let shown = if label.is_empty() { rest } else { label };
            Err(ConvertError::new(format!("idna error\nidna: invalid label {shown:?}")))
        }
        None => Ok(()),
    }
}

/// Whether it is a label: short, of the permitted characters, dashes only inside, and two of them as the third and
/// fourth character only where they mark an internationalised name (RFC 5891 §4.2.3.1).
fn is_dns_label(label: &str) -> bool {
    let marked = label.get(2..4) == Some("--");
    (1..=MAX_DNS_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && (!marked || label.starts_with("xn--"))
}

/// To the wire, with the fields that `mask` names; the ID always.
#[must_use]
pub fn to_proto(entry: &RegistrationEntry, mask: &EntryMask) -> types::Entry {
    let list = |wanted: bool, members: &[String]| if wanted { members.to_vec() } else { Vec::new() };
    types::Entry {
        id: entry.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        spiffe_id: mask.spiffe_id.then(|| id::to_proto(&entry.spiffe_id)),
        parent_id: mask.parent_id.then(|| id::to_proto(&entry.parent_id)),
        selectors: if mask.selectors { entry.selectors.iter().map(selector::to_proto).collect() } else { Vec::new() },
        x509_svid_ttl: ttl_to_proto(entry.x509_svid_ttl.filter(|_| mask.x509_svid_ttl)),
        federates_with: if mask.federates_with {
            entry.federates_with.iter().map(ToString::to_string).collect()
        } else {
            Vec::new()
        },
        admin: mask.admin && entry.admin,
        downstream: mask.downstream && entry.downstream,
        expires_at: entry.expires_at.filter(|_| mask.expires_at).map_or(0, Timestamp::as_unix),
        dns_names: list(mask.dns_names, &entry.dns_names),
        revision_number: if mask.revision_number { entry.revision_number } else { 0 },
        store_svid: mask.store_svid && entry.store_svid,
        jwt_svid_ttl: ttl_to_proto(entry.jwt_svid_ttl.filter(|_| mask.jwt_svid_ttl)),
        hint: if mask.hint { entry.hint.clone() } else { String::new() },
        created_at: if mask.created_at { entry.created_at.as_unix() } else { 0 },
        additional_attributes: entry.additional.filter(|_| mask.additional).map(|additional| {
            types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: additional.disable_x509_svid_prefetch,
                jwt_svid_include_jti: additional.jwt_svid_include_jti,
            }
        }),
    }
}

/// A mask; an absent one means every field.
#[must_use]
pub fn mask_from_proto(mask: Option<&types::EntryMask>) -> EntryMask {
    mask.map_or(EntryMask::ALL, |mask| EntryMask {
        spiffe_id: mask.spiffe_id,
        parent_id: mask.parent_id,
        selectors: mask.selectors,
        x509_svid_ttl: mask.x509_svid_ttl,
        jwt_svid_ttl: mask.jwt_svid_ttl,
        federates_with: mask.federates_with,
        admin: mask.admin,
        downstream: mask.downstream,
        expires_at: mask.expires_at,
        dns_names: mask.dns_names,
        revision_number: mask.revision_number,
        store_svid: mask.store_svid,
        hint: mask.hint,
        created_at: mask.created_at,
        additional: mask.additional_attributes,
    })
}

/// A filter of ListEntries.
///
/// # Errors
/// The part that is malformed, worded as SPIRE does.
pub fn filter_from_proto(
    filter: Option<&entry::list_entries_request::Filter>,
    trust_domain: &TrustDomain,
) -> Result<EntryFilter, ConvertError> {
    let Some(filter) = filter else { return Ok(EntryFilter::default()) };
    let malformed =
        |part: &str, cause: &dyn std::fmt::Display| ConvertError::in_field(&format!("malformed {part} filter"), cause);
    let spiffe_id = filter.by_spiffe_id.as_ref().map(|by| id::workload(Some(by), trust_domain)).transpose();
    let parent_id = filter.by_parent_id.as_ref().map(|by| id::member(Some(by), trust_domain)).transpose();
    let selectors = match &filter.by_selectors {
        Some(by) if by.selectors.is_empty() => Err(ConvertError::new("empty selector set")),
        by => by.as_ref().map(selector::match_from_proto).transpose(),
    };
    Ok(EntryFilter {
        spiffe_id: spiffe_id.map_err(|err| malformed("SPIFFE ID", &err))?,
        parent_id: parent_id.map_err(|err| malformed("parent ID", &err))?,
        selectors: selectors.map_err(|err| malformed("selectors", &err))?,
        federates_with: filter
            .by_federates_with
            .as_ref()
            .map(federates_with_match)
            .transpose()
            .map_err(|err| malformed("federates with", &err))?,
        hint: filter.by_hint.clone().filter(|hint| !hint.is_empty()),
        // SPIRE's own clients send `false` where they do not ask.
        downstream: filter.by_downstream.filter(|asked| *asked),
    })
}

/// A filter of CountEntries, which has the same fields as that of ListEntries.
///
/// # Errors
/// As [`filter_from_proto`].
pub fn count_filter_from_proto(
    filter: Option<&entry::count_entries_request::Filter>,
    trust_domain: &TrustDomain,
) -> Result<EntryFilter, ConvertError> {
    let same = filter.map(|filter| entry::list_entries_request::Filter {
        by_spiffe_id: filter.by_spiffe_id.clone(),
        by_parent_id: filter.by_parent_id.clone(),
        by_selectors: filter.by_selectors.clone(),
        by_federates_with: filter.by_federates_with.clone(),
        by_hint: filter.by_hint.clone(),
        by_downstream: filter.by_downstream,
    });
    filter_from_proto(same.as_ref(), trust_domain)
}

fn federates_with_match(asked: &types::FederatesWithMatch) -> Result<FederatesWithMatch, ConvertError> {
    let behavior = match WireMatch::try_from(asked.r#match) {
        Ok(WireMatch::MatchExact) => MatchBehavior::Exact,
        Ok(WireMatch::MatchSubset) => MatchBehavior::Subset,
        Ok(WireMatch::MatchSuperset) => MatchBehavior::Superset,
        Ok(WireMatch::MatchAny) => MatchBehavior::Any,
        Err(_) => return Err(ConvertError::new("unknown match behavior")),
    };
    if asked.trust_domains.is_empty() {
        return Err(ConvertError::new("empty trust domain set"));
    }
    Ok(FederatesWithMatch { trust_domains: trust_domains(&asked.trust_domains)?, behavior })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn wire() -> types::Entry {
        let id = |path: &str| types::Spiffeid { trust_domain: "example.org".into(), path: path.into() };
        types::Entry {
            id: "e-1".into(),
            spiffe_id: Some(id("/a")),
            parent_id: Some(id("/spire/agent/x/y")),
            selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:1".into() }],
            x509_svid_ttl: 60,
            federates_with: vec!["other.org".into()],
            admin: true,
            dns_names: vec!["a.example".into(), "*.b.example".into()],
            hint: "h".into(),
            expires_at: 5,
            additional_attributes: Some(types::entry::AdditionalAttributes::default()),
            ..types::Entry::default()
        }
    }

    #[test]
    fn what_comes_in_goes_out() {
        let entry = from_proto(&wire(), &own()).unwrap();
        assert_eq!(to_proto(&entry, &EntryMask::ALL), wire());
    }

    #[test]
    fn what_a_server_hands_out_keeps_its_revision() {
        let mut wire = wire();
        wire.revision_number = 4;
        wire.created_at = 9;
        wire.dns_names = vec!["not for us".into()];
        let entry = from_server(&wire, &own()).unwrap();
        assert_eq!(to_proto(&entry, &EntryMask::ALL), wire);
        wire.id.clear();
        assert_eq!(from_server(&wire, &own()).unwrap_err().to_string(), "missing entry ID");
    }

    #[test]
    fn each_broken_field_is_named() {
        let error = |change: &dyn Fn(&mut types::Entry)| {
            let mut wire = wire();
            change(&mut wire);
            from_proto(&wire, &own()).unwrap_err().to_string()
        };
        assert_eq!(error(&|e| e.parent_id = None), "invalid parent ID: request must specify SPIFFE ID");
        assert!(error(&|e| e.spiffe_id.as_mut().unwrap().path = "/spire/x".into()).contains("reserved namespace"));
        assert_eq!(error(&|e| e.selectors.clear()), "selector list is empty");
        assert_eq!(error(&|e| e.selectors[0].value.clear()), "missing selector value");
        assert_eq!(
            error(&|e| e.x509_svid_ttl = -1),
            "datastore-validation: invalid registration entry: X509SvidTtl is not set"
        );
        assert!(
            error(&|e| e.dns_names[0] = "a..b".into()).starts_with("invalid DNS name: idna error\nidna: invalid label")
        );
        assert!(error(&|e| e.federates_with[0] = "Other".into()).starts_with("invalid federated trust domain"));
        assert_eq!(
            error(&|e| e.id = "a b".into()),
            "datastore-validation: invalid registration entry: entry ID contains invalid characters"
        );
        assert_eq!(error(&|e| e.hint = "h".repeat(1025)), "hint is too long, max length is 1024 characters");
    }

    #[test]
    fn a_mask_hides_fields_both_ways() {
        let mask = EntryMask { spiffe_id: false, hint: false, ..EntryMask::ALL };
        let mut partial = wire();
        partial.spiffe_id = None;
        let entry = masked_from_proto(&partial, &own(), &mask).unwrap();
        assert_eq!(to_proto(&entry, &mask).hint, "");
        assert_eq!(to_proto(&entry, &mask).spiffe_id, None);
    }

    #[test]
    fn dns_names_follow_the_rules() {
        for name in ["a", "a.b", "*.a.b", "xn--bcher-kva.example", "A-1.b", "a_b"] {
            assert!(check_dns_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(64);
        for (name, error) in [
            ("", "empty or only whitespace"),
            ("*.", "empty or only whitespace"),
            ("a.", "domain ends with dot"),
            (".a", "idna error\nidna: invalid label \".a\""),
            ("*", "wildcard must be first label"),
            ("a.*.b", "wildcard must be first label"),
            ("**.a", "too many wildcards"),
            ("ä.b", "name must be ascii"),
            ("-a.b", "idna error\nidna: invalid label \"-a\""),
            ("a b", "idna error\nidna: invalid label \"a b\""),
            ("ab--c", "idna error\nidna: invalid label \"ab--c\""),
            (long.as_str(), &format!("idna error\nidna: invalid label {long:?}")),
        ] {
            assert_eq!(check_dns_name(name).unwrap_err().to_string(), error, "{name}");
        }
    }
}
