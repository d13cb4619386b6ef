//! Profile https_spiffe: the endpoint shows an X.509-SVID of exactly the configured SPIFFE ID, which verifies with the
//! bundle of its own trust domain. Host names do not count.
//!
//! Standard: SPIFFE Federation §5.2.2.4.

use rustls::ClientConfig;
use spiffe_core::{
    BundleSet, SpiffeId,
    tls::{Live, Settings, authorize_id},
};

use crate::Error;

pub(super) fn client_config(
    endpoint_id: &SpiffeId,
    known: &BundleSet,
    settings: &Settings,
) -> Result<ClientConfig, Error> {
    let trust_domain = endpoint_id.trust_domain();
    let Some(bundle) = known.get(&trust_domain) else { return Err(Error::NoEndpointBundle { trust_domain }) };
    let mut bundles = BundleSet::default();
    bundles.insert(bundle.clone());
    let mut config =
        spiffe_core::tls::client_config(Live::new(None, bundles), authorize_id(endpoint_id.clone()), settings)?;
    // What stands before an endpoint may choose it by the name that is asked for.
    config.enable_sni = true;
    Ok(config)
}
