//! WIT-SVIDs, verified against a bundle whose keys did not sign them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spiffe_core::wit::UnprovenWit;
use spiffe_core::{Bundle, BundleSet, Timestamp, TrustDomain, Ttl};

static BUNDLES: LazyLock<BundleSet> = LazyLock::new(|| {
    let document = include_str!("../seeds/jwks.json").replace("jwt-svid", "wit-svid").replace("ec1", "k1");
    let name = TrustDomain::parse("example.org").expect("name");
    BundleSet::from_iter([Bundle::from_document(name, document.as_bytes()).expect("bundle")])
});

fuzz_target!(|token: &str| {
    let now = Timestamp::from_unix(1_790_000_000);
    if let Ok(wit) = UnprovenWit::verify(token, &BUNDLES, now, Ttl::ZERO) {
        let _ = wit.prove(token, "https://svc.example.org", now, Ttl::ZERO).expect_err("no proof of itself");
    }
});
