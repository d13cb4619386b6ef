//! Profile https_spiffe: the endpoint shows an X.509-SVID, the server's own.
//!
//! Standard: SPIFFE Federation §5.2.2.3.

use rustls::ServerConfig;
use spiffe_core::{
    IdMatcher,
    tls::{ALPN_HTTP_1_1, ClientAuth, Settings, TlsSource},
};

use crate::Error;

/// TLS that shows the SVID of `source`, as it is at each handshake, to clients that stay anonymous.
///
/// # Errors
/// [`Error::TlsSettings`]
pub fn server_config<S>(source: S, settings: &Settings) -> Result<ServerConfig, Error>
where
    S: TlsSource + Clone + 'static,
{
    let settings = settings.clone().with_alpn(&[ALPN_HTTP_1_1]);
    Ok(spiffe_core::tls::server_config(source, ClientAuth::<IdMatcher>::None, &settings)?)
}
