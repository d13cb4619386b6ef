//! Distinguished names: the subjects of certificates.

use der::asn1::ObjectIdentifier;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::Error;
use crate::asn1;

/// A name by its attributes, in the shape in which SPIRE's configuration and plugins give it.
///
/// Several values of one attribute share one relative name. What is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DistinguishedName {
    /// C
    pub country: Vec<String>,
    /// O
    pub organization: Vec<String>,
    /// OU
    pub organizational_unit: Vec<String>,
    /// L
    pub locality: Vec<String>,
    /// ST
    pub province: Vec<String>,
    /// STREET
    pub street_address: Vec<String>,
    /// POSTALCODE
    pub postal_code: Vec<String>,
    /// CN; empty for none.
    pub common_name: String,
    /// SERIALNUMBER; empty for none.
    pub serial_number: String,
    /// Further attributes, each a relative name of its own.
    pub extra: Vec<(ObjectIdentifier, String)>,
}

const COUNTRY: &[u8] = &[0x55, 4, 6];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];
const LOCALITY: &[u8] = &[0x55, 4, 7];
const PROVINCE: &[u8] = &[0x55, 4, 8];
const STREET_ADDRESS: &[u8] = &[0x55, 4, 9];
const POSTAL_CODE: &[u8] = &[0x55, 4, 17];
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];

impl DistinguishedName {
    /// The subject of CAs where none is configured: `C=US, O=SPIFFE`.
    #[must_use]
    pub fn default_ca() -> Self {
        Self { country: vec!["US".into()], organization: vec!["SPIFFE".into()], ..Self::default() }
    }

    /// The subject of X.509-SVIDs: `C=US, O=SPIRE`.
    #[must_use]
    pub fn default_svid() -> Self {
        Self { country: vec!["US".into()], organization: vec!["SPIRE".into()], ..Self::default() }
    }

    /// Reads a name. Attributes that have no field here are dropped, as SPIRE drops them.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes that are no name.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let Ok(([], parsed)) = X509Name::from_der(der) else { return Err(Error::Malformed { what: "name" }) };
        let mut name = Self::default();
        for attribute in parsed.iter_attributes() {
            let Ok(value) = attribute.as_str().map(str::to_owned) else { continue };
            match attribute.attr_type().as_bytes() {
                COUNTRY => name.country.push(value),
                ORGANIZATION => name.organization.push(value),
                ORGANIZATIONAL_UNIT => name.organizational_unit.push(value),
                LOCALITY => name.locality.push(value),
                PROVINCE => name.province.push(value),
                STREET_ADDRESS => name.street_address.push(value),
                POSTAL_CODE => name.postal_code.push(value),
                COMMON_NAME => name.common_name = value,
                SERIAL_NUMBER => name.serial_number = value,
                _ => {}
            }
        }
        Ok(name)
    }

    /// Whether there is no attribute at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The name in DER, with its attributes in Go's order: C, O, OU, L, ST, STREET, POSTALCODE, CN, SERIALNUMBER,
    /// further ones.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut names = Vec::new();
        for (oid, values) in [
            (COUNTRY, &self.country),
            (ORGANIZATION, &self.organization),
            (ORGANIZATIONAL_UNIT, &self.organizational_unit),
            (LOCALITY, &self.locality),
            (PROVINCE, &self.province),
            (STREET_ADDRESS, &self.street_address),
            (POSTAL_CODE, &self.postal_code),
        ] {
            push_relative_name(&mut names, oid, values);
        }
        push_relative_name(&mut names, COMMON_NAME, std::slice::from_ref(&self.common_name));
        push_relative_name(&mut names, SERIAL_NUMBER, std::slice::from_ref(&self.serial_number));
        for (oid, value) in &self.extra {
            push_relative_name(&mut names, oid.as_bytes(), std::slice::from_ref(value));
        }
        asn1::element(asn1::SEQUENCE, &[&names])
    }
}

/// Writes one relative name of one or more values of one attribute; none where there are no values.
pub(crate) fn push_relative_name(names: &mut Vec<u8>, oid: &[u8], values: &[String]) {
    let mut attributes: Vec<Vec<u8>> = values
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| {
            let string = asn1::element(string_tag(value), &[value.as_bytes()]);
            asn1::element(asn1::SEQUENCE, &[&asn1::element(asn1::OID, &[oid]), &string])
        })
        .collect();
    if attributes.is_empty() {
        return;
    }
    // DER sorts what is in a SET OF (X.690 §11.6).
    attributes.sort();
    asn1::push_element(names, asn1::SET, &attributes.concat());
}

/// PrintableString where the characters allow it, UTF8String otherwise.
fn string_tag(value: &str) -> u8 {
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    if value.bytes().all(printable) { asn1::PRINTABLE_STRING } else { asn1::UTF8_STRING }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> DistinguishedName {
        DistinguishedName {
            country: vec!["US".into(), "DE".into()],
            organization: vec!["Örg".into()],
            organizational_unit: vec!["unit".into()],
            locality: vec!["town".into()],
            province: vec!["land".into()],
            street_address: vec!["street 1".into()],
            postal_code: vec!["12345".into()],
            common_name: "*.example.org".into(),
            serial_number: "42".into(),
            extra: vec![(ObjectIdentifier::new("2.5.4.45").unwrap(), "id".into())],
        }
    }

    #[test]
    fn names_are_read_by_another_library_in_gos_order() {
        let der = full().to_der();
        let (_, parsed) = X509Name::from_der(&der).unwrap();
        let text = parsed.to_string();
        assert_eq!(
            text,
            "C=DE + C=US, O=Örg, OU=unit, L=town, ST=land, streetAddress=street 1, postalCode=12345, CN=*.example.org, \
             serialNumber=42, uniqueIdentifier=id"
        );
    }

    #[test]
    fn what_is_read_is_written_again_but_for_unknown_attributes() {
        let read = DistinguishedName::from_der(&full().to_der()).unwrap();
        let expected = DistinguishedName { country: vec!["DE".into(), "US".into()], extra: Vec::new(), ..full() };
        assert_eq!(read, expected);
        assert!(DistinguishedName::from_der(&[0x30, 0]).unwrap().is_empty());
        assert!(DistinguishedName::from_der(&[0x30, 1]).is_err());
    }

    #[test]
    fn only_printable_characters_make_a_printable_string() {
        assert_eq!(string_tag("SPIRE 1.0 (a=b?)"), asn1::PRINTABLE_STRING);
        for text in ["a*b", "a&b", "a@b", "ä", "a_b"] {
            assert_eq!(string_tag(text), asn1::UTF8_STRING, "{text}");
        }
    }
}
