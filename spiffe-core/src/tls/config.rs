//! Configurations for both sides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, ClientConfig, Error, ServerConfig};
use rustls_pki_types::ServerName;

use super::identity::Resolver;
use super::verifier::Verifier;
use super::{Authorizer, TlsSource};

/// HTTP/2, which gRPC needs.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// What both sides need from their surroundings. TLS 1.2 and 1.3 are spoken, as far as the provider has them.
#[derive(Clone)]
pub struct Settings {
    /// Cryptography; the process-wide default of rustls is never touched.
    pub provider: Arc<CryptoProvider>,
    /// The time that certificates are judged at.
    pub time: Arc<dyn TimeProvider>,
    /// Application protocols, the preferred one first; none switches the negotiation off.
    pub alpn: Vec<Vec<u8>>,
}

impl Settings {
    /// Without application protocols.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, time: Arc<dyn TimeProvider>) -> Self {
        Self { provider, time, alpn: Vec::new() }
    }

    /// The same with these application protocols, the preferred one first.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("alpn", &self.alpn).finish_non_exhaustive()
    }
}

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug)]
pub enum ClientAuth<A> {
    /// Nothing: every client is anonymous.
    None,
    /// A client may stay anonymous; one that shows an SVID is verified and has to be accepted by the authorizer.
    Optional(A),
    /// Every client shows an SVID that verifies and is accepted by the authorizer.
    Required(A),
}

/// A client that shows the source's SVID, if there is one, and accepts those servers that `authorizer` does.
///
/// No server name is sent; [`server_name`] fills the argument of rustls that asks for one.
///
/// # Errors
/// [`Error`] when the provider has no usable cipher suites.
pub fn client_config<S, A>(source: S, authorizer: A, settings: &Settings) -> Result<ClientConfig, Error>
where
    S: TlsSource + Clone + 'static,
    A: Authorizer + 'static,
{
    let provider = Arc::new(quick_suite_first(&settings.provider));
    let verifier = Verifier::new(source.clone(), authorizer, provider.signature_verification_algorithms, true);
    let resolver = Resolver::new(source, Arc::clone(&provider));
    let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&settings.time))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols.clone_from(&settings.alpn);
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same, but the suite that every peer has (RFC 8446 §9.1) and processors help with most is preferred, as by Go.
fn quick_suite_first(provider: &CryptoProvider) -> CryptoProvider {
    let mut provider = provider.clone();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A server that shows the source's SVID.
///
/// # Errors
/// [`Error`] when the provider has no usable cipher suites.
pub fn server_config<S, A>(source: S, clients: ClientAuth<A>, settings: &Settings) -> Result<ServerConfig, Error>
where
    S: TlsSource + Clone + 'static,
    A: Authorizer + 'static,
{
    let provider = Arc::clone(&settings.provider);
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&settings.time))
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(authorizer) => {
            builder.with_client_cert_verifier(Arc::new(Verifier::new(source.clone(), authorizer, algorithms, false)))
        }
        ClientAuth::Required(authorizer) => {
            builder.with_client_cert_verifier(Arc::new(Verifier::new(source.clone(), authorizer, algorithms, true)))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(source, provider)));
    config.alpn_protocols.clone_from(&settings.alpn);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The name to hand to rustls where it asks for the server's: it is neither sent nor looked at.
#[must_use]
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into())
}
