//! Agents on record, their masks and filters.

use spiffe_core::{Timestamp, TrustDomain};
use spire_types::{AttestedNode, NodeFilter};

use super::{ConvertError, id, selector};
use crate::proto::{agent, types};

/// To the wire, with the fields that `mask` names; an absent mask means all.
#[must_use]
pub fn to_proto(node: &AttestedNode, mask: Option<&types::AgentMask>) -> types::Agent {
    let all = types::AgentMask {
        attestation_type: true,
        x509svid_serial_number: true,
        x509svid_expires_at: true,
        selectors: true,
        banned: true,
        can_reattest: true,
        agent_version: true,
    };
    let mask = mask.unwrap_or(&all);
    let text = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
    types::Agent {
        id: Some(id::to_proto(&node.spiffe_id)),
        attestation_type: text(mask.attestation_type, &node.attestation_type),
        x509svid_serial_number: text(mask.x509svid_serial_number, node.serial.as_deref().unwrap_or_default()),
        x509svid_expires_at: if mask.x509svid_expires_at { node.not_after.as_unix() } else { 0 },
        selectors: if mask.selectors { node.selectors.iter().map(selector::to_proto).collect() } else { Vec::new() },
        banned: mask.banned && node.is_banned(),
        can_reattest: mask.can_reattest && node.can_reattest,
        agent_version: text(mask.agent_version, &node.agent_version),
    }
}

/// An agent as a client gets it.
///
/// # Errors
/// When its ID is missing or malformed.
pub fn from_proto(wire: &types::Agent, trust_domain: &TrustDomain) -> Result<AttestedNode, ConvertError> {
    Ok(AttestedNode {
        spiffe_id: id::member(wire.id.as_ref(), trust_domain)?,
        attestation_type: wire.attestation_type.clone(),
        serial: Some(wire.x509svid_serial_number.clone()).filter(|serial| !serial.is_empty()),
        not_after: Timestamp::from_unix(wire.x509svid_expires_at),
        new_serial: None,
        new_not_after: None,
        can_reattest: wire.can_reattest,
        selectors: selector::many_from_proto(&wire.selectors)?,
        agent_version: wire.agent_version.clone(),
    })
}

/// A filter of ListAgents. A time that does not parse is left out, as SPIRE does.
///
/// # Errors
/// When the selectors are malformed.
pub fn filter_from_proto(filter: Option<&agent::list_agents_request::Filter>) -> Result<NodeFilter, ConvertError> {
    let Some(filter) = filter else { return Ok(NodeFilter::default()) };
    let selectors = filter.by_selector_match.as_ref().map(selector::match_from_proto).transpose();
    Ok(NodeFilter {
        attestation_type: Some(filter.by_attestation_type.clone()).filter(|kind| !kind.is_empty()),
        selectors: selectors.map_err(|err| ConvertError::in_field("failed to parse selectors", err))?,
        banned: filter.by_banned,
        can_reattest: filter.by_can_reattest,
        expires_before: expires_before(&filter.by_expires_before),
    })
}

/// A filter of CountAgents, which has the same fields as that of ListAgents.
///
/// # Errors
/// As [`filter_from_proto`].
pub fn count_filter_from_proto(
    filter: Option<&agent::count_agents_request::Filter>,
) -> Result<NodeFilter, ConvertError> {
    let same = filter.map(|filter| agent::list_agents_request::Filter {
        by_attestation_type: filter.by_attestation_type.clone(),
        by_selector_match: filter.by_selector_match.clone(),
        by_banned: filter.by_banned,
        by_can_reattest: filter.by_can_reattest,
        by_expires_before: filter.by_expires_before.clone(),
    });
    filter_from_proto(same.as_ref())
}

/// `2006-01-02 15:04:05 -0700 -07`: date, time, and the offset twice.
#[must_use]
pub fn expires_before(text: &str) -> Option<Timestamp> {
    let mut words = text.split(' ');
    let (date, time, offset, short) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let mut date = date.splitn(3, '-');
    let year = date.next()?.parse().ok()?;
    let (month, day) = (date.next()?.parse().ok()?, date.next()?.parse().ok()?);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second = time.next()?.parse().ok()?;
    let local = Timestamp::from_civil(year, month, day, hour, minute, second)?;
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) || offset.get(..3) != Some(short) {
        return None;
    }
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some(Timestamp::from_unix(local.as_unix() - sign * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_offset_twice() {
        assert_eq!(expires_before("1970-01-01 01:00:00 +0100 +01"), Some(Timestamp::from_unix(0)));
        assert_eq!(expires_before("1970-01-01 00:00:00 +0000 +00"), Some(Timestamp::from_unix(0)));
        for text in ["", "1970-01-01", "1970-01-01 00:00:00 UTC", "1970-01-01 00:00:00 +0100 +02", "x y z w"] {
            assert_eq!(expires_before(text), None, "{text}");
        }
    }
}
