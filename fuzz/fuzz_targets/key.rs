//! Public and private keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::{PrivateKey, PublicKey};

fuzz_target!(|der: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(der) {
        assert_eq!(key.spki_der(), der);
        let _ = key.check_strength();
        let _ = key.subject_key_id();
    }
    if let Ok(key) = PrivateKey::from_pkcs8_der(der) {
        let signature = key.sign(b"message").expect("a key that parses signs");
        key.public_key().verify(key.signature_algorithm(), b"message", &signature).expect("and verifies");
    }
});
