//! Tokens, verified against a bundle whose keys did not sign them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spiffe_core::jwt::{JwtSvid, parse_unverified};
use spiffe_core::{Bundle, BundleSet, Timestamp, TrustDomain, Ttl};

static BUNDLES: LazyLock<BundleSet> = LazyLock::new(|| {
    let document = include_bytes!("../seeds/jwks.json");
    BundleSet::from_iter([Bundle::from_document(TrustDomain::parse("example.org").expect("name"), document).expect("bundle")])
});

fuzz_target!(|token: &str| {
    let _ = parse_unverified(token);
    let now = Timestamp::from_unix(1_790_000_000);
    if let Err(err) = JwtSvid::verify(token, "svc", &BUNDLES, now, Ttl::ZERO) {
        let _ = err.clause();
        assert!(token.len() < 40 || !err.to_string().contains(token));
    }
});
