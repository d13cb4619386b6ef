//! What each credential contains: subjects, names and lifetimes.
//!
//! | credential | subject | names | lifetime |
//! |---|---|---|---|
//! | self-signed CA | as configured, with the serial number | the trust domain's ID | as asked |
//! | downstream CA | its issuer's, with OU `DOWNSTREAM-n` | the trust domain's ID | as asked, at most its issuer's |
//! | X.509-SVID | `C=US, O=SPIRE` or as asked; the first DNS name as CN | DNS names, the SPIFFE ID | as asked, at most its issuer's |
//!
//! The profile's extensions are in [`crate::x509::Profile`].

use std::borrow::Cow;

use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};

use crate::authority::X509Ca;
use crate::name::{self, DistinguishedName};
use crate::x509::Serial;
use crate::{Error, asn1};

/// Certificates are valid from this long before they are made, for clocks that are late.
pub const BACKDATE: Ttl = Ttl::from_secs(10);
/// Lifetime of an X.509 CA or JWT key where none is configured.
pub const CA_TTL: Ttl = Ttl::from_hours(24);
/// Lifetime of an X.509-SVID where none is asked for.
pub const X509_SVID_TTL: Ttl = Ttl::from_hours(1);
/// Lifetime of a JWT-SVID where none is asked for.
pub const JWT_SVID_TTL: Ttl = Ttl::from_minutes(5);

/// Begin and end of a certificate made at `now`: a zero `ttl` takes `default`, and nothing outlives `cap`.
pub(crate) fn validity(now: Timestamp, ttl: Ttl, default: Ttl, cap: Timestamp) -> (Timestamp, Timestamp) {
    let ttl = if ttl == Ttl::ZERO { default } else { ttl };
    (now - BACKDATE, (now + ttl).min(cap).min(LAST_DATE))
}

/// 9999-12-31T23:59:59Z, the last date a certificate can name (RFC 5280 §4.1.2.5).
pub(crate) const LAST_DATE: Timestamp = Timestamp::from_unix(253_402_300_799);

/// The subject of an X.509-SVID in DER. The first DNS name is the common name, whatever subject was asked for.
pub(crate) fn svid_subject(subject: Option<&DistinguishedName>, dns_names: &[String]) -> Cow<'static, [u8]> {
    match (subject.filter(|subject| !subject.is_empty()), dns_names.first()) {
        (None, None) => Cow::Borrowed(DEFAULT_SVID_SUBJECT),
        (None, Some(common_name)) => {
            let (defaults, _) = asn1::take(asn1::SEQUENCE, DEFAULT_SVID_SUBJECT).unwrap_or_default();
            let mut names = defaults.to_vec();
            name::push_relative_name(&mut names, name::COMMON_NAME, std::slice::from_ref(common_name));
            Cow::Owned(asn1::element(asn1::SEQUENCE, &[&names]))
        }
        (Some(subject), None) => Cow::Owned(subject.to_der()),
        (Some(subject), Some(common_name)) => {
            Cow::Owned(DistinguishedName { common_name: common_name.clone(), ..subject.clone() }.to_der())
        }
    }
}

/// The subject of an X.509-SVID as composers are given it.
pub(crate) fn svid_subject_attributes(subject: Option<&DistinguishedName>, dns_names: &[String]) -> DistinguishedName {
    let mut name = match subject {
        Some(subject) if !subject.is_empty() => subject.clone(),
        _ => DistinguishedName::default_svid(),
    };
    if let Some(common_name) = dns_names.first() {
        name.common_name.clone_from(common_name);
    }
    name
}

/// The subject of a server's own CA: as configured, and the serial number as an attribute where there is none, so that
/// no two CAs share a name.
pub(crate) fn ca_subject(configured: &DistinguishedName, serial: Serial) -> DistinguishedName {
    let mut name = configured.clone();
    if name.serial_number.is_empty() {
        name.serial_number = serial.to_string();
    }
    name
}

/// The subject of a downstream server's CA: that of its issuer, with how deep it lies as organizational unit.
pub(crate) fn downstream_ca_subject(issuer: &X509Ca) -> Result<DistinguishedName, Error> {
    let mut name = DistinguishedName::from_der(issuer.certificate().subject_der())?;
    name.organizational_unit = vec![format!("DOWNSTREAM-{}", issuer.chain_length())];
    Ok(name)
}

/// An authority signs for its own trust domain alone.
pub(crate) fn check_member(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), Error> {
    if id.is_member_of(trust_domain) {
        Ok(())
    } else {
        Err(Error::ForeignId { id: id.clone(), trust_domain: trust_domain.clone() })
    }
}

/// A DNS SAN is a visible ASCII text; which host names it may hold was decided when it was asked for.
pub(crate) fn check_dns_names(names: &[String]) -> Result<(), Error> {
    match names.iter().find(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic())) {
        None => Ok(()),
        Some(name) => Err(Error::DnsName { name: name.clone() }),
    }
}

/// `C=US, O=SPIRE`
#[rustfmt::skip]
const DEFAULT_SVID_SUBJECT: &[u8] = &[
    0x30, 0x1d,
    0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, b'U', b'S',
    0x31, 0x0e, 0x30, 0x0c, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x13, 0x05, b'S', b'P', b'I', b'R', b'E',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_subject_is_written_as_any_other() {
        assert_eq!(svid_subject(None, &[]), DistinguishedName::default_svid().to_der());
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        assert_eq!(svid_subject(None, &names), svid_subject_attributes(None, &names).to_der());
    }

    #[test]
    fn the_first_dns_name_becomes_the_common_name_of_any_subject() {
        let subject = DistinguishedName { common_name: "mine".into(), ..DistinguishedName::default() };
        let names = ["a.example".to_owned()];
        let read = DistinguishedName::from_der(&svid_subject(Some(&subject), &names)).unwrap();
        assert_eq!(read.common_name, "a.example");
        assert_eq!(svid_subject(Some(&subject), &names), svid_subject_attributes(Some(&subject), &names).to_der());
    }

    #[test]
    fn nothing_outlives_its_issuer() {
        let now = Timestamp::from_unix(1_000_000);
        let cap = now + Ttl::from_secs(30);
        assert_eq!(validity(now, Ttl::from_secs(60), CA_TTL, cap), (now - BACKDATE, cap));
        assert_eq!(validity(now, Ttl::ZERO, CA_TTL, Timestamp::MAX).1, now + CA_TTL);
        assert_eq!(validity(now, Ttl::from_secs(u64::MAX), CA_TTL, Timestamp::MAX).1, LAST_DATE);
    }
}
