//! Certificates one after the other, verified as a chain against themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_core::Timestamp;
use spiffe_core::x509::{Certificate, check_leaf, deviations, verify_chain};

fuzz_target!(|der: &[u8]| {
    let Ok(chain) = Certificate::from_der_many(der) else { return };
    let whole: Vec<u8> = chain.iter().flat_map(|certificate| certificate.der().to_vec()).collect();
    assert_eq!(whole, der);
    for certificate in &chain {
        assert_eq!(Certificate::from_pem_many(&certificate.to_pem()).expect("printed"), [certificate.clone()]);
        let _ = check_leaf(certificate);
        let _ = (certificate.serial_decimal(), certificate.subject_display().len());
    }
    let _ = deviations(&chain).count();
    let _ = verify_chain(&chain, chain.last(), Timestamp::from_unix(1_790_000_000));
});
