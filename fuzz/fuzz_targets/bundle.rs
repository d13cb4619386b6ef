//! Bundle documents: what is read is read again as it is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::bundle::BundleDiff;
use spiffe_core::{Bundle, TrustDomain};

fuzz_target!(|document: &[u8]| {
    let name = TrustDomain::parse("example.org").expect("name");
    if let Ok(bundle) = Bundle::from_document(name.clone(), document) {
        let again = Bundle::from_document(name.clone(), bundle.to_document().as_bytes()).expect("printed");
        assert_eq!(again, bundle);
        assert!(BundleDiff::between(&bundle, &again).is_empty());
    }
    if let Ok(bundle) = Bundle::from_jwks(name.clone(), document) {
        let again = Bundle::from_jwks(name, bundle.to_jwks().as_bytes()).expect("printed");
        assert_eq!(again.jwt_authorities.len(), bundle.jwt_authorities.len());
    }
});
