//! Name constraints (RFC 5280 §4.2.1.10): what a CA may sign for.
//!
//! URI constraints hold host names. Without a leading dot they mean that host alone, with one every host below it; a
//! URI whose host is no domain name cannot be judged, and is refused (docs/adr/0005-uri-name-constraints.md).

use super::{Certificate, X509Error};
use crate::asn1;

/// Most subtrees that one certificate may list.
const MAX_SUBTREES: usize = 1024;
const PERMITTED: u8 = 0xa0;
const EXCLUDED: u8 = 0xa1;
const RFC822_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const DIRECTORY_NAME: u8 = 0xa4;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;

/// The extension, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subtree {
    Uri(String),
    Dns(String),
    Ip(Vec<u8>),
    /// A form that we do not compare, by its tag: names of that form are refused.
    Other(u8),
}

/// How many comparisons one verification may take, over all its paths.
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(250_000)
    }
}

impl NameConstraints {
    /// Reads the extension's value.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (sequence, rest) = asn1::take(asn1::SEQUENCE, der)?;
        let mut constraints = Self::default();
        let mut fields = sequence;
        if let Some((permitted, tail)) = asn1::take(PERMITTED, fields) {
            constraints.permitted = subtrees(permitted)?;
            fields = tail;
        }
        if let Some((excluded, tail)) = asn1::take(EXCLUDED, fields) {
            constraints.excluded = subtrees(excluded)?;
            fields = tail;
        }
        (rest.is_empty() && fields.is_empty()).then_some(constraints)
    }

    /// Whether any of them is about URIs.
    pub(super) fn judge_uris(&self) -> bool {
        self.permitted.iter().chain(&self.excluded).any(|subtree| matches!(subtree, Subtree::Uri(_)))
    }

    /// Checks all names of a certificate below.
    pub(super) fn check(&self, certificate: &Certificate, budget: &mut Budget) -> Result<(), X509Error> {
        let uris = certificate.uri_sans().iter().map(|uri| Name::Uri(uri));
        let dns = certificate.dns_sans().iter().map(|name| Name::Dns(name));
        let ips = certificate.ip_sans().iter().map(|address| Name::Ip(address));
        let others = certificate.other_name_forms().iter().map(|tag| Name::Other(*tag));
        uris.chain(dns).chain(ips).chain(others).try_for_each(|name| self.check_name(&name, budget))
    }

    fn check_name(&self, name: &Name<'_>, budget: &mut Budget) -> Result<(), X509Error> {
        let violated = || X509Error::chain("certificate violates name constraints", "RFC 5280 §4.2.1.10");
        let (mut of_this_form, mut matched) = (false, false);
        let subtrees = self.excluded.iter().map(|subtree| (subtree, true));
        for (subtree, excluded) in subtrees.chain(self.permitted.iter().map(|subtree| (subtree, false))) {
            budget.0 = budget
                .0
                .checked_sub(1)
                .ok_or_else(|| X509Error::chain("too many comparisons of name constraints", ""))?;
            match (name.is_within(subtree, excluded), excluded) {
                (Match::OtherForm, _) => {}
                (Match::Unjudged, _) | (Match::Yes, true) => return Err(violated()),
                (Match::No, true) => {}
                (Match::Yes, false) => (of_this_form, matched) = (true, true),
                (Match::No, false) => of_this_form = true,
            }
        }
        if of_this_form && !matched { Err(violated()) } else { Ok(()) }
    }
}

fn subtrees(mut der: &[u8]) -> Option<Vec<Subtree>> {
    let mut subtrees = Vec::new();
    while !der.is_empty() {
        let (subtree, tail) = asn1::take(asn1::SEQUENCE, der)?;
        let tag = *subtree.first()?;
        // Minimum and maximum are not used (RFC 5280 §4.2.1.10): nothing follows the base.
        let (value, end) = asn1::take(tag, subtree)?;
        let text = || std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).map(str::to_owned);
        if !end.is_empty() || subtrees.len() == MAX_SUBTREES {
            return None;
        }
        subtrees.push(match tag {
            URI => Subtree::Uri(text()?),
            DNS_NAME => Subtree::Dns(text()?),
            IP_ADDRESS => Subtree::Ip(value.to_vec()),
            other => Subtree::Other(other),
        });
        der = tail;
    }
    Some(subtrees)
}

enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
    Ip(&'a [u8]),
    Other(u8),
}

#[derive(PartialEq, Eq)]
enum Match {
    Yes,
    No,
    OtherForm,
    Unjudged,
}

impl From<bool> for Match {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl Name<'_> {
    fn is_within(&self, subtree: &Subtree, excluded: bool) -> Match {
        match (self, subtree) {
            (Self::Uri(uri), Subtree::Uri(base)) => match (host(uri), is_constraint(base)) {
                (Some(host), true) => is_host_within(host, base).into(),
                _ => Match::Unjudged,
            },
            (Self::Dns(name), Subtree::Dns(base)) => is_dns_within(name, base, excluded).into(),
            (Self::Ip(address), Subtree::Ip(range)) => is_address_within(address, range),
            (Self::Other(tag), Subtree::Other(base)) if tag == base => Match::Unjudged,
            _ => Match::OtherForm,
        }
    }
}

/// The host of a URI, where it is a domain name (RFC 5280 §4.2.1.10): not an address, and of such labels.
fn host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    is_domain_name(host).then_some(host)
}

fn is_constraint(base: &str) -> bool {
    is_domain_name(base.strip_prefix('.').unwrap_or(base))
}

/// Labels of letters, digits and inner dashes, the last of which is no number, lest it be an address.
fn is_domain_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host_within(host: &str, base: &str) -> bool {
    if base.starts_with('.') { has_suffix(host, base) } else { host.eq_ignore_ascii_case(base) }
}

/// Longer than `suffix`, and ending in it.
fn has_suffix(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len()
        && name.get(name.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The base itself, and what has further labels in front of it.
fn is_dns_within(name: &str, base: &str, excluded: bool) -> bool {
    if base.is_empty() {
        return true;
    }
    if base.starts_with('.') {
        return has_suffix(name, base);
    }
    let below = |name: &str| name.eq_ignore_ascii_case(base) || has_suffix(name, &format!(".{base}"));
    // A wildcard stands for names that an exclusion may mean.
    let wild = name.strip_prefix('*').filter(|_| excluded);
    below(name) || wild.is_some_and(|parent| has_suffix(base, parent))
}

/// Address and mask, of one length each (RFC 5280 §4.2.1.10).
fn is_address_within(address: &[u8], range: &[u8]) -> Match {
    if range.len() != 8 && range.len() != 32 {
        return Match::Unjudged;
    }
    let (base, mask) = range.split_at(range.len() / 2);
    if address.len() != base.len() {
        return Match::No;
    }
    address.iter().zip(base).zip(mask).all(|((byte, base), mask)| byte & mask == base & mask).into()
}

/// Tags of name forms, as a certificate holds them.
pub(super) fn form_tag(name: &x509_parser::extensions::GeneralName<'_>) -> Option<u8> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::OtherName(..) => Some(0xa0),
        GeneralName::RFC822Name(_) => Some(RFC822_NAME),
        GeneralName::X400Address(_) => Some(0xa3),
        GeneralName::DirectoryName(_) => Some(DIRECTORY_NAME),
        GeneralName::EDIPartyName(_) => Some(0xa5),
        GeneralName::RegisteredID(_) => Some(0x88),
        _ => None,
    }
}

/// What a subject counts as beside the alternative names: a directory name, and email addresses inside it.
pub(super) fn subject_forms(is_empty: bool, has_email: bool) -> impl Iterator<Item = u8> {
    (!is_empty).then_some(DIRECTORY_NAME).into_iter().chain(has_email.then_some(RFC822_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri_within(uri: &str, base: &str) -> Option<bool> {
        match Name::Uri(uri).is_within(&Subtree::Uri(base.into()), false) {
            Match::Yes => Some(true),
            Match::No => Some(false),
            Match::Unjudged | Match::OtherForm => None,
        }
    }

    #[test]
    fn pkix_11_a_leading_dot_means_hosts_below_and_none_means_that_host_alone() {
        for (host, base, within) in [
            ("example.org", "example.org", true),
            ("example.org", "EXAMPLE.org", true),
            ("a.example.org", "example.org", false),
            ("a.example.org", ".example.org", true),
            ("a.b.example.org", ".example.org", true),
            ("example.org", ".example.org", false),
            ("badexample.org", ".example.org", false),
            ("badexample.org", "example.org", false),
            ("localhost", "localhost", true),
        ] {
            assert_eq!(uri_within(&format!("spiffe://{host}/w"), base), Some(within), "{host} {base}");
        }
    }

    #[test]
    fn pkix_12_hosts_that_are_no_domain_names_cannot_be_judged() {
        for host in ["1.2.3.4", "under_score.org", "a..b", ".example.org", "example.org.", "-a.org", "", "[::1]"] {
            assert_eq!(uri_within(&format!("spiffe://{host}/w"), "example.org"), None, "{host}");
        }
        for base in ["spiffe://example.org", "1.2.3.4", "", ".", "*.example.org", "example.org/a"] {
            assert_eq!(uri_within("spiffe://example.org/w", base), None, "{base}");
        }
        assert_eq!(uri_within("urn:example", "example.org"), None, "no authority");
    }

    #[test]
    fn dns_names_and_addresses_are_within_their_subtrees() {
        assert!(is_dns_within("a.example.org", "example.org", false) && is_dns_within("x", "", false));
        assert!(!is_dns_within("badexample.org", "example.org", false));
        assert!(is_dns_within("*.example.org", "a.example.org", true), "the wildcard may stand for it");
        assert!(!is_dns_within("*.example.org", "a.example.org", false));
        assert!(is_address_within(&[10, 1, 2, 3], &[10, 0, 0, 0, 255, 0, 0, 0]) == Match::Yes);
        assert!(is_address_within(&[11, 1, 2, 3], &[10, 0, 0, 0, 255, 0, 0, 0]) == Match::No);
        assert!(is_address_within(&[10, 1, 2, 3], &[10, 0, 0, 0]) == Match::Unjudged);
    }

    #[test]
    fn minimum_and_maximum_are_refused() {
        let base = asn1::element(URI, b"example.org");
        let constraints = |subtree: &[u8]| {
            let subtrees = asn1::element(PERMITTED, &asn1::element(asn1::SEQUENCE, subtree));
            NameConstraints::from_der(&asn1::element(asn1::SEQUENCE, &subtrees))
        };
        assert!(constraints(&base).is_some_and(|constraints| constraints.judge_uris()));
        assert_eq!(constraints(&[base, vec![0x80, 1, 0]].concat()), None);
    }
}
