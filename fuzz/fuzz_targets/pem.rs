//! PEM: what is read is read again as it is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::pem;

fuzz_target!(|text: &str| {
    for block in pem::decode_all(text).unwrap_or_default() {
        if !block.label.contains("-----") {
            let again = pem::decode_all(&pem::encode(&block.label, &block.der)).expect("printed");
            assert_eq!(again[0].der, block.der);
        }
    }
});
