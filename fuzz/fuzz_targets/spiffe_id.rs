//! IDs and trust domain names: what parses prints as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::{SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    if let Ok(id) = SpiffeId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert_eq!(id.trust_domain().join(id.path()).as_ref(), Ok(&id));
        assert_eq!(SpiffeId::from_segments(&id.trust_domain(), id.path().split('/').skip(1)), Ok(id));
    }
    if let Ok(name) = TrustDomain::parse_name_or_id(text) {
        assert!(text.contains(name.as_str()));
    }
});
