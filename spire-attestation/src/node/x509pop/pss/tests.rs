//! Signatures made by OpenSSL with the key in `tests/data/rsa2048_key.pem`, over the bytes 0 to 63.

use super::*;

const MODULUS: &str = concat!(
    "ebffda0b541407d21c08bf2f2df2330c30fa1f12312ea370feb7f2cabce592a72c86a0b3354115ecd5cfc01d894a88a6",
    "473399239bc5fb3a3514bd2747a25b7b14f4fdd5383aea7e80e99052a8a82339ae872a22b95eb0d821fbb0be777daa67",
    "f46d217e0f75e92a4589e9947767858f9eb56085572fdad26f1902c623597e73a9b153831850e894285799242ad29e44",
    "86e109dc7c45d3b553d07e37b99a228dd0d9c60c02c16360f6174d4d14c0a6d19fc877f5b5d8638810fa60279804e3af",
    "4d10f11a1abd4203b09635396720af51810205334bb09eae0ba3f105b35f55829a27fb268dd59933634b332e656bc9e2",
    "db3c36a550f1515216dcc783520ac8cf",
);

const LONGEST_SALT: &str = concat!(
    "04a7a45f90977ded08fc9cb5dd432345df511c631d3980037606d7cc010acb87303a8cf7fbf23fdf2cc0c0265da3d055",
    "02a47a0c738c28e2f6a9057959976d690e3773fca5f28ae9c49fe5a6f7cc0fe5f908d4d2e313a8138cf843295469be2d",
    "b58026538d5d5db3dbccbe146055e0e8ab520a8f269a22d4c86eb74de21caca0621b0c9efddd9b26eea519db91ce3c7a",
    "524fcc98b3b3f0243d35e8076e3301fde35b2d09f9945c9c3bacd22a8a149b71d70e9a43976da476ed72278d1ec8032a",
    "d0fcf27591954ef679e9934dc4086f73ac6747b07e6fbe3c7329eb68b1030a6e8d810cc8fa855184c40a4d5b728e6fa1",
    "4df7a5afde7918cd982c4612f7d17b3a",
);

const DIGEST_LONG_SALT: &str = concat!(
    "52567fcee38117d8d7c6be1af7f0b8519c0bbee346eaf61c6e9efa35734ad812fc32f7d7dedd7822e49e2899218c3651",
    "deeafc3b989e28f14069279cb3416585ff8e5c8cb384977147802c366379b850a9d66a413e6c4513820a54ea1d0f78a6",
    "d6f51e3a4176c769422769ab1640e951a19e89b5105f1db74c26ad5ab74d00eb3bbaaeafcc5189b35ccac4c9ed4dce1a",
    "c5a586c5765642d4b2f41bb4c5b2368dd5b1045d9f9b9ffa11d74c8528895c409c9a702cadcec421211e0ca32ef89b74",
    "a3177392895c81d00d4fc2de8670177561bb7d70c8c101300f9d24649e574d7683e92f24f9aceb5110f8e79ccd6ca169",
    "bf59d6e6f49040349711ce27e2e02966",
);

const SHORT_SALT: &str = concat!(
    "bf94122d8d969ce381fc8fb2535653c09c2fde2f3f521147a6775833248515d6e6704b3fbcd6d3aa6b1d038a0e63661f",
    "a35584c9f6e65512dc9d3763de6b426989acdf00daf6371b0916612c6858c21173e5269919cd7f11e21ba92f97365297",
    "2fc09b875066ef3aaf47b748398df8b7a10a8069a3b292553bd1bc9dca8d09083fcabf5ef63464e423ca5b01a0dc7d7f",
    "59263ca9f11b11b2431ff0eaab6937e3b6744c02f950744dea24e9e8ff17ba0015f9b46ac87d51711ce3696389b78384",
    "898b0607bb430093de499c32706b22868cb3b9bb0528fccf20060a8281d5fb3303b7209a25858ebfdaf3f3b1e8103af2",
    "61b01ad29362831f2058c147f43e8f3b",
);

const NO_SALT: &str = concat!(
    "b7b231f3a51a6bc42334ca012a7aee20087df7f13a22d4ea367c8928d625de4c5e0516da5cdf409d303566d4a7ab4f14",
    "7f9a31c509cc2736dcc9a44d4b03a3087a7eb23041773e5daaa1f0588deb75ae6e833d66260054c3da451438c77a46a4",
    "5b21ae76f00fd695807138da60326f062c21968e337303aa479b9aff8c4921b2775d5a788ac26c32f594272e19291959",
    "39bb7f43134f8191ff0db04457f00b20a93ad36323401c70ad63356e5bb5434636a510541951201237640beb9812cb56",
    "ec3126093a98fd3d92d9b882f36d23dce530695cec2dd371526ab741e00b015adeaecd98763a220d64163132500310f1",
    "66ae0fce044699f42d5ae97c0a33ed0d",
);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn message() -> Vec<u8> {
    (0..64).collect()
}

fn key() -> RsaPublicKey {
    RsaPublicKey::new(&bytes(MODULUS), &[1, 0, 1]).unwrap()
}

#[test]
fn signatures_with_a_salt_of_any_length_verify() {
    for signature in [LONGEST_SALT, DIGEST_LONG_SALT, SHORT_SALT, NO_SALT] {
        assert!(key().verifies(&message(), &bytes(signature)));
    }
}

#[test]
fn another_message_does_not_verify() {
    let mut message = message();
    message[63] ^= 1;
    for signature in [LONGEST_SALT, DIGEST_LONG_SALT, SHORT_SALT, NO_SALT] {
        assert!(!key().verifies(&message, &bytes(signature)));
    }
}

#[test]
fn a_signature_with_a_changed_bit_does_not_verify() {
    let signature = bytes(LONGEST_SALT);
    for bit in (0..signature.len() * 8).step_by(29) {
        let mut changed = signature.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!key().verifies(&message(), &changed), "bit {bit}");
    }
}

#[test]
fn signatures_of_another_length_do_not_verify() {
    let signature = bytes(LONGEST_SALT);
    for wrong in
        [vec![], vec![0], signature[1..].to_vec(), [&[0], &signature[..]].concat(), vec![0; 256], vec![1; 100_000]]
    {
        assert!(!key().verifies(&message(), &wrong));
    }
}

#[test]
fn a_value_beyond_the_modulus_does_not_verify() {
    assert!(!key().verifies(&message(), &bytes(MODULUS)));
    assert!(!key().verifies(&message(), &[0xff; 256]));
}

#[test]
fn keys_that_cost_too_much_or_protect_nothing_are_refused() {
    let modulus = bytes(MODULUS);
    assert!(RsaPublicKey::new(&modulus, &[0xff; 256]).is_none(), "endless exponent");
    assert!(RsaPublicKey::new(&modulus, &[1]).is_none(), "exponent 1 leaves everything as it is");
    assert!(RsaPublicKey::new(&modulus, &[2]).is_none(), "even exponent");
    assert!(RsaPublicKey::new(&[0xff; 64], &[1, 0, 1]).is_none(), "short modulus");
    assert!(RsaPublicKey::new(&[], &[]).is_none());
    let even = [&modulus[..255], &[0x10]].concat();
    assert!(RsaPublicKey::new(&even, &[1, 0, 1]).is_none(), "even modulus");
}
