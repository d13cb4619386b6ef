//! Where a Workload API endpoint is: the value of `SPIFFE_ENDPOINT_SOCKET`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The variable that names the endpoint where nothing was configured explicitly (SPIFFE Workload Endpoint §4).
pub const ENDPOINT_SOCKET_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// Address of an endpoint: a Unix socket, or an IP address with a port.
///
/// ```
/// use workload_api::Address;
///
/// let address: Address = "unix:///run/spire/agent/api.sock".parse()?;
/// assert_eq!(address.to_string(), "unix:///run/spire/agent/api.sock");
/// assert!("tcp://localhost:8000".parse::<Address>().is_err());
/// # Ok::<(), workload_api::AddressError>(())
/// ```
///
/// Standard: SPIFFE Workload Endpoint §4.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `unix:///absolute/path`
    Unix(PathBuf),
    /// `tcp://address:port`
    Tcp(SocketAddr),
}

impl Address {
    /// Reads `SPIFFE_ENDPOINT_SOCKET`. The only place in this crate that looks at the environment.
    ///
    /// # Errors
    /// [`AddressError::NotConfigured`] where the variable is not set; otherwise the rule that its value breaks.
    #[expect(clippy::disallowed_methods, reason = "the standard puts the address into the environment")]
    pub fn from_env() -> Result<Self, AddressError> {
        match std::env::var(ENDPOINT_SOCKET_VARIABLE) {
            Ok(value) => value.parse(),
            Err(std::env::VarError::NotPresent) => Err(AddressError::NotConfigured),
            Err(std::env::VarError::NotUnicode(_)) => Err(AddressError::Character),
        }
    }

    /// The endpoint at a path, whatever characters it has.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// The socket's path, of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(uri: &str) -> Result<Self, AddressError> {
        if uri.is_empty() {
            return Err(AddressError::NotConfigured);
        }
        if !uri.bytes().all(is_uri_character) {
            return Err(AddressError::Character);
        }
        let (scheme, rest) = uri.split_once(':').ok_or(AddressError::Scheme)?;
        let unix = scheme.eq_ignore_ascii_case("unix");
        if !unix && !scheme.eq_ignore_ascii_case("tcp") {
            return Err(AddressError::Scheme);
        }
        if rest.contains('?') {
            return Err(AddressError::Part { part: "query" });
        }
        if rest.contains('#') {
            return Err(AddressError::Part { part: "fragment" });
        }
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
        };
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err(AddressError::Part { part: "user info" });
        }
        if unix { parse_unix(authority, path) } else { parse_tcp(authority, path) }
    }
}

fn parse_unix(authority: Option<&str>, path: &str) -> Result<Address, AddressError> {
    if authority.is_some_and(|authority| !authority.is_empty()) {
        return Err(AddressError::Part { part: "authority" });
    }
    if !path.starts_with('/') || path.starts_with("//") || path == "/" {
        return Err(AddressError::Path);
    }
    let path = percent_decode(path).ok_or(AddressError::Character)?;
    if path.contains(&0) {
        return Err(AddressError::Character);
    }
    let path = String::from_utf8(path).map_err(|_| AddressError::Character)?;
    Ok(Address::Unix(path.into()))
}

fn parse_tcp(authority: Option<&str>, path: &str) -> Result<Address, AddressError> {
    let authority = authority.ok_or(AddressError::Host)?;
    if !path.is_empty() {
        return Err(AddressError::Part { part: "path" });
    }
    let (host, port) = authority.rsplit_once(':').ok_or(AddressError::Port)?;
    let host: IpAddr = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse().map_err(|_| AddressError::Host)?),
        None => IpAddr::V4(host.parse().map_err(|_| AddressError::Host)?),
    };
    let port = match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|digit| digit.is_ascii_digit()) => number,
        _ => return Err(AddressError::Port),
    };
    Ok(Address::Tcp(SocketAddr::new(host, port)))
}

/// RFC 3986 §2: reserved, unreserved and the percent sign.
fn is_uri_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            _ => byte,
        });
    }
    Some(decoded)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The URI.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => {
                f.write_str("unix://")?;
                for byte in path.as_os_str().as_encoded_bytes() {
                    match byte {
                        b'%' | b'?' | b'#' | b'[' | b']' => write!(f, "%{byte:02X}")?,
                        byte if is_uri_character(*byte) => write!(f, "{}", char::from(*byte))?,
                        byte => write!(f, "%{byte:02X}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Which rule an address breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It has characters that no URI has.
    #[error("workload endpoint socket URI has characters that a URI must not have")]
    Character,
    /// The host is not an IP address.
    #[error("workload endpoint tcp socket URI host component must be an IP address")]
    Host,
    /// There is no address at all.
    #[error("workload endpoint socket address is not configured")]
    NotConfigured,
    /// A part that must not be there.
    #[error("workload endpoint socket URI must not include a {part}")]
    Part {
        /// Which one.
        part: &'static str,
    },
    /// The path of a Unix socket is not absolute.
    #[error("workload endpoint unix socket URI must have an absolute path")]
    Path,
    /// The port is missing or none that can be connected to.
    #[error("workload endpoint tcp socket URI must include a port from 1 to 65535")]
    Port,
    /// Neither `unix` nor `tcp`.
    #[error("workload endpoint socket URI must have a tcp:// or unix:// scheme")]
    Scheme,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn workload_endpoint_4_accepts_these() {
        for (uri, printed) in [
            ("unix:///run/a.sock", "unix:///run/a.sock"),
            ("unix:/run/a.sock", "unix:///run/a.sock"),
            ("unix:///run/../a.sock", "unix:///run/../a.sock"),
            ("unix:///run/a%20b.sock", "unix:///run/a%20b.sock"),
            ("UNIX:///run/a.sock", "unix:///run/a.sock"),
            ("tcp://127.0.0.1:8000", "tcp://127.0.0.1:8000"),
            ("tcp://[::1]:8000", "tcp://[::1]:8000"),
            ("tcp://0.0.0.0:8000", "tcp://0.0.0.0:8000"),
        ] {
            assert_eq!(uri.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(printed), "{uri}");
        }
        let spaced: Address = "unix:///run/a%20b.sock".parse().unwrap();
        assert_eq!(spaced.path(), Some(Path::new("/run/a b.sock")));
    }

    #[test]
    fn workload_endpoint_4_refuses_these() {
        for uri in [
            "unix:run/a.sock",
            "unix://run/a.sock",
            "unix://localhost/run/a.sock",
            "unix://",
            "unix:///",
            "unix:////run/a.sock",
            "unix:///run/a b.sock",
            "unix:///run/a.sock?x=1",
            "unix:///run/a.sock?",
            "unix:///run/a.sock#f",
            "unix://user@/run/a.sock",
            "unix:///run/a%2.sock",
            "unix:///run/a%00.sock",
            "tcp://localhost:8000",
            "tcp://agent.example.org:8000",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:0",
            "tcp://127.0.0.1:65536",
            "tcp://127.0.0.1:+80",
            "tcp://127.0.0.1:8000/",
            "tcp://127.0.0.1:8000/foo",
            "tcp://127.0.0.1:8000?x=1",
            "tcp://127.0.0.1:8000#f",
            "tcp://user@127.0.0.1:8000",
            "tcp://:8000",
            "tcp:127.0.0.1:8000",
            "tcp://127.1:8000",
            "tcp://::1:8000",
            "http://127.0.0.1:8000",
            "/run/a.sock",
            " unix:///run/a.sock",
            "unix:///run/a.sock\n",
        ] {
            assert!(uri.parse::<Address>().is_err(), "{uri:?}");
        }
        assert_eq!("".parse::<Address>(), Err(AddressError::NotConfigured));
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_the_same_address(uri in "(unix:(//)?/|tcp://)[ -~]{0,24}") {
            if let Ok(address) = uri.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }

        #[test]
        fn every_path_prints_as_an_address_that_parses(path in "/[^/\0][^\0]{0,20}") {
            let address = Address::unix(&path);
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }
}
