//! The URL of a bundle endpoint.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Uri, uri::Scheme};
use rustls_pki_types::{DnsName, ServerName};

use crate::Error;

/// An `https` URL without user information (SPIFFE Federation §5.2.1.1 and §5.2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    uri: Uri,
    /// Without brackets.
    host: String,
    port: u16,
}

impl EndpointUrl {
    /// Parses a URL as it stands in a configuration.
    ///
    /// # Errors
    /// [`Error::Url`] names the rule that is broken.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let bad = |reason| Error::Url { url: without_user(url), reason };
        // A fragment never leaves the client; `Uri` drops it.
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(bad("must use the scheme https"));
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("must not hold user information"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') || authority.as_str().len() == authority.host().len() => HTTPS,
            None => return Err(bad("has no valid port")),
            Some(port) if port.as_u16() == 0 => return Err(bad("has no valid port")),
            Some(port) => port.as_u16(),
        };
        let parsed = Self { uri, host, port };
        parsed.server_name().map_err(|_| bad("has no valid host"))?;
        Ok(parsed)
    }

    /// Name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 where none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For messages: `host:port`.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What the `Host` header says.
    pub(crate) fn host_header(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str().trim_end_matches(':'))
    }

    /// Path and query. A query alone belongs to the root, whatever the parser makes of it.
    pub(crate) fn target(&self) -> Cow<'_, str> {
        match self.uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
            None | Some("") => Cow::Borrowed("/"),
            Some(target) if target.starts_with('/') => Cow::Borrowed(target),
            Some(query) => Cow::Owned(format!("/{query}")),
        }
    }

    /// What the endpoint is told about whom it is asked for, and what a Web PKI certificate has to name.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, Error> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(ServerName::IpAddress(address.into()));
        }
        // A root's dot is no part of the name in TLS.
        DnsName::try_from(self.host.trim_end_matches('.').to_owned())
            .map(ServerName::DnsName)
            .map_err(|_| Error::Url { url: without_user(&self.uri.to_string()), reason: "has no valid host" })
    }
}

/// Passwords do not go into messages.
fn without_user(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("[...]@{rest}"),
        None => url.to_owned(),
    }
}

const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_target_are_told_apart() {
        for (url, host, port, target) in [
            ("https://example.org", "example.org", 443, "/"),
            ("https://example.org:8443/bundle?x=1", "example.org", 8443, "/bundle?x=1"),
            ("HTTPS://Example.org/", "Example.org", 443, "/"),
            ("https://127.0.0.1:1/a", "127.0.0.1", 1, "/a"),
            ("https://[::1]:8443", "::1", 8443, "/"),
            ("https://[::1]", "::1", 443, "/"),
            ("https://a.org/#fragment", "a.org", 443, "/"),
            ("https://a.org?q", "a.org", 443, "/?q"),
        ] {
            let parsed = EndpointUrl::parse(url).unwrap();
            assert_eq!((parsed.host(), parsed.port(), &*parsed.target()), (host, port, target), "{url}");
        }
    }

    #[test]
    fn fed_11_other_urls_are_refused() {
        for url in [
            "",
            "a.org",
            "/a",
            "http://a.org",
            "https://",
            "https:///a",
            "https://user@a.org/",
            "https://u:p@a.org/",
            "ftp://a.org",
            "https://a.org:0/",
            "https://a.org:99999/",
            "https://a.org:x/",
            "https://a b/",
            "unix:/a",
            "https://[::1",
            "https://_*/",
            "https://-a.org/",
            "https://a\u{e9}.org/",
        ] {
            assert!(EndpointUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = EndpointUrl::parse("https://user:hunter2@a.org/").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(url in "\\PC*") {
            let _ = EndpointUrl::parse(&url);
            let _ = EndpointUrl::parse(&format!("https://{url}"));
        }
    }
}
