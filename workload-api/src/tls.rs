//! Mutual TLS with the identities of an [`X509Source`].
//!
//! ```no_run
//! # fn example(source: workload_api::X509Source) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use workload_api::tls;
//!
//! let provider = Arc::new(rustls::crypto::ring::default_provider());
//! let settings = tls::Settings::new(provider, Arc::new(rustls::time_provider::DefaultTimeProvider));
//! let peer = "spiffe://stocks.example/quotes".parse()?;
//! let config = tls::client_config(&source, tls::authorize_id(peer), &settings)?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ClientConfig, Error, ServerConfig};
use spiffe_core::BundleSet;
pub use spiffe_core::tls::{
    ALPN_H2, ALPN_HTTP_1_1, Authorizer, ClientAuth, PeerRefused, Settings, TlsIdentity, TlsSource, authorize_any,
    authorize_id, authorize_member_of, authorize_one_of, peer_id, server_name,
};

use crate::client::X509Source;
use crate::context::X509Context;

/// A client that shows the source's default SVID and accepts those servers that `authorizer` does. It follows the
/// source: rotation reaches it, and after a withdrawal no handshake succeeds.
///
/// # Errors
/// When the provider has no usable cipher suites.
pub fn client_config(
    source: &X509Source,
    authorizer: impl Authorizer + 'static,
    settings: &Settings,
) -> Result<ClientConfig, Error> {
    spiffe_core::tls::client_config(SourceTls::new(source.clone()), authorizer, settings)
}

/// A server that shows the source's default SVID and accepts those clients that `authorizer` does.
///
/// # Errors
/// When the provider has no usable cipher suites.
pub fn server_config(
    source: &X509Source,
    authorizer: impl Authorizer + 'static,
    settings: &Settings,
) -> Result<ServerConfig, Error> {
    spiffe_core::tls::server_config(SourceTls::new(source.clone()), ClientAuth::Required(authorizer), settings)
}

/// An [`X509Source`] as the configurations of [`spiffe_core::tls`] take it: for servers with optional or anonymous
/// clients, and for SVIDs other than the default one.
#[derive(Clone)]
pub struct SourceTls(Arc<Shared>);

struct Shared {
    source: X509Source,
    hint: Option<String>,
    latest: Mutex<Option<(Arc<X509Context>, Arc<TlsIdentity>)>>,
}

impl SourceTls {
    /// Shows the default SVID.
    #[must_use]
    pub fn new(source: X509Source) -> Self {
        Self(Arc::new(Shared { source, hint: None, latest: Mutex::new(None) }))
    }

    /// Shows the first SVID with that hint; while there is none, nothing is shown.
    #[must_use]
    pub fn with_hint(source: X509Source, hint: impl Into<String>) -> Self {
        Self(Arc::new(Shared { source, hint: Some(hint.into()), latest: Mutex::new(None) }))
    }
}

impl TlsSource for SourceTls {
    fn identity(&self) -> Option<Arc<TlsIdentity>> {
        let context = self.0.source.context().ok()?;
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, identity)) if Arc::ptr_eq(known, &context) => Some(Arc::clone(identity)),
            _ => {
                let svid = match &self.0.hint {
                    None => context.default_svid(),
                    Some(hint) => context.svid_with_hint(hint),
                }?;
                let identity = Arc::new(TlsIdentity::from(&**svid));
                *latest = Some((context, Arc::clone(&identity)));
                Some(identity)
            }
        }
    }

    fn bundles(&self) -> Arc<BundleSet> {
        self.0.source.bundles().unwrap_or_default()
    }
}

impl fmt::Debug for SourceTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceTls").field("source", &self.0.source).field("hint", &self.0.hint).finish()
    }
}
