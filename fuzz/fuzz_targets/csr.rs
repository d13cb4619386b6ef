//! Certificate requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::x509::Csr;

fuzz_target!(|der: &[u8]| {
    let _ = Csr::from_der(der);
});
