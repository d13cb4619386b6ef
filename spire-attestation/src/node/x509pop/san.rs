//! What a certificate's URI names say about a node.

use std::collections::BTreeMap;

use spiffe_core::{TrustDomain, x509::Certificate};

/// Selectors that the issuer of the certificate wrote into it: of each URI `x509pop://<trust domain>/<key>/<value>` the
/// key and the value. Of one key the last value counts.
pub(super) fn selectors(leaf: &Certificate, trust_domain: &TrustDomain) -> BTreeMap<String, String> {
    let prefix = format!("x509pop://{trust_domain}/");
    let mut selectors = BTreeMap::new();
    for uri in leaf.uri_sans().iter().filter(|uri| uri.starts_with(&prefix)) {
        // The prefix ends with the slash that begins the path.
        let path = decoded(path(uri.get(prefix.len() - 1..).unwrap_or_default()));
        match path.trim_matches('/').split_once('/') {
            Some((key, value)) => {
                selectors.insert(key.to_owned(), value.to_owned());
            }
            None => tracing::warn!(uri, "cannot extract x509pop san selectors"),
        }
    }
    selectors
}

/// The path of the first URI of scheme `spiffe`, as it is written (not percent-decoded).
pub(super) fn spiffe_path(leaf: &Certificate) -> Option<&str> {
    let after_scheme = leaf.uri_sans().iter().find_map(|uri| {
        let (scheme, rest) = uri.split_once("://")?;
        scheme.eq_ignore_ascii_case("spiffe").then_some(rest)
    })?;
    Some(after_scheme.find('/').map_or("", |slash| path(after_scheme.get(slash..).unwrap_or_default())))
}

/// Up to a query or fragment.
fn path(rest: &str) -> &str {
    rest.split(['?', '#']).next().unwrap_or_default()
}

/// Percent-decoded; what is no escape, or no text afterwards, stays as it is.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, after @ ..] => hex_digit(*high).zip(hex_digit(*low)).map(|(h, l)| (h << 4 | l, after)),
            _ => None,
        };
        let (byte, after) = escape.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decoded("/a%20b/%2541"), "/a b/%41");
        assert_eq!(decoded("/100%/%zz/%4"), "/100%/%zz/%4");
        assert_eq!(decoded("/%ff"), "/%ff");
    }

    #[test]
    fn a_query_is_not_part_of_the_path() {
        assert_eq!(path("/a/b?c#d"), "/a/b");
        assert_eq!(path("/a#d?e"), "/a");
    }
}
