//! Bundle maps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::bundle::BundleMap;

fuzz_target!(|document: &[u8]| {
    if let Ok(map) = BundleMap::parse(document) {
        assert!(map.bundles.iter().all(|bundle| map.bundles.get(&bundle.trust_domain).is_some()));
    }
});
