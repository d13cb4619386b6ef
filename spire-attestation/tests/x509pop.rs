//! X.509 proof of possession: both halves joined, and either against a forger.
#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::{fs, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber, date_time_ymd,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use spiffe_core::{Timestamp, TrustDomain, x509::Certificate};
use spire_attestation::{
    Error,
    node::{
        AttestRequest, Attested, Challenger, NodeAttestorAgent, NodeAttestorServer, Verified,
        testing::Meeting,
        x509pop::{CurrentRoots, X509PopAgent, X509PopConfig, X509PopFiles, X509PopMode, X509PopServer, load_roots},
    },
};
use spire_types::ErrorKind;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);
const RSA_KEY: &str = include_str!("data/rsa2048_key.pem");

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Ca {
    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer).unwrap().der()).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The same name and key as `other`, certified by `self`.
    fn cross_certify(&self, name: &str, other: &Self) -> Certificate {
        let params = Self::params(name);
        Certificate::from_der(params.signed_by(other.issuer.key(), &self.issuer).unwrap().der()).unwrap()
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
        params
    }

    fn leaf(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer).unwrap().der()).unwrap();
        Leaf { certificate, key }
    }
}

struct Leaf {
    certificate: Certificate,
    key: KeyPair,
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "node 1");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xbc]));
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn rsa() -> KeyPair {
    KeyPair::from_pem(RSA_KEY).unwrap()
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn server(roots: &[&Ca]) -> X509PopServer {
    server_with(roots, |_| {})
}

fn server_with(roots: &[&Ca], change: impl FnOnce(&mut X509PopConfig)) -> X509PopServer {
    let roots = roots.iter().map(|ca| ca.certificate.clone()).collect();
    let mut config = X509PopConfig::new(X509PopMode::ExternalPki { roots });
    change(&mut config);
    X509PopServer::new(trust_domain(), config).unwrap()
}

/// An agent with files in a directory of its own.
struct Node {
    _dir: TempDir,
    agent: X509PopAgent,
}

fn node(leaf: &Leaf, intermediates: &[&Certificate]) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("key.pem"), leaf.key.serialize_pem()).unwrap();
    fs::write(path("leaf.pem"), leaf.certificate.to_pem()).unwrap();
    let pem: String = intermediates.iter().map(|certificate| certificate.to_pem()).collect();
    fs::write(path("intermediates.pem"), pem).unwrap();
    let agent = X509PopAgent::new(X509PopFiles {
        private_key_path: path("key.pem"),
        certificate_path: path("leaf.pem"),
        intermediates_path: (!intermediates.is_empty()).then(|| path("intermediates.pem")),
    });
    Node { _dir: dir, agent }
}

async fn meet(node: &Node, server: &X509PopServer) -> Result<Attested, Error> {
    meet_from(node, server, None).await
}

async fn meet_from(node: &Node, server: &X509PopServer, client_ip: Option<IpAddr>) -> Result<Attested, Error> {
    let mut rngs = [ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(2)];
    let [agent_rng, server_rng] = &mut rngs;
    let meeting = Meeting { agent: &node.agent, server, now: NOW, client_ip };
    meeting.attest(agent_rng, server_rng).await.map(Verified::into_inner)
}

/// Answers every challenge with what it was given, or from the challenge.
struct Scripted<F>(F);

#[async_trait]
impl<F: FnMut(&str) -> String + Send> Challenger for Scripted<F> {
    async fn challenge(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Error> {
        Ok((self.0)(std::str::from_utf8(challenge).unwrap()).into_bytes())
    }
}

async fn forge(server: &X509PopServer, payload: &[u8], answer: &str) -> Error {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let request = AttestRequest { payload, now: NOW, client_ip: None, rng: &mut rng };
    server.attest(request, &mut Scripted(|_: &str| answer.to_owned())).await.unwrap_err()
}

fn payload(chain: &[&Certificate]) -> Vec<u8> {
    let chain: Vec<String> = chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
    serde_json::to_vec(&serde_json::json!({ "certificates": chain })).unwrap()
}

fn sha1(certificate: &Certificate) -> String {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn selectors(attested: &Attested) -> Vec<String> {
    attested.selectors.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_ec_key_pair_attests_a_node() {
    let root = Ca::root("root");
    let intermediate = root.intermediate("intermediate");
    let leaf = intermediate.leaf(leaf_params(), p256());
    let attested = meet(&node(&leaf, &[&intermediate.certificate]), &server(&[&root])).await.unwrap();
    assert_eq!(
        attested.agent_id.as_str(),
        format!("spiffe://example.org/spire/agent/x509pop/{}", sha1(&leaf.certificate))
    );
    assert!(attested.can_reattest);
    let expected = [
        "x509pop:subject:cn:node 1".to_owned(),
        format!("x509pop:ca:fingerprint:{}", sha1(&intermediate.certificate)),
        format!("x509pop:ca:fingerprint:{}", sha1(&root.certificate)),
        "x509pop:serialnumber:0abc".to_owned(),
    ];
    assert_eq!(selectors(&attested), expected);
}

#[tokio::test]
async fn an_rsa_key_pair_attests_a_node() {
    let root = Ca::root("root");
    let leaf = root.leaf(leaf_params(), rsa());
    meet(&node(&leaf, &[]), &server(&[&root])).await.unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_read_again() {
    let root = Ca::root("root");
    let node = node(&root.leaf(leaf_params(), p256()), &[]);
    let first = meet(&node, &server(&[&root])).await.unwrap();
    let renewed = root.leaf(leaf_params(), p256());
    fs::write(node._dir.path().join("key.pem"), renewed.key.serialize_pem()).unwrap();
    fs::write(node._dir.path().join("leaf.pem"), renewed.certificate.to_pem()).unwrap();
    let second = meet(&node, &server(&[&root])).await.unwrap();
    assert_ne!(first.agent_id, second.agent_id);
}

#[tokio::test]
async fn selectors_come_from_uri_names_of_the_trust_domain() {
    let root = Ca::root("root");
    let mut params = leaf_params();
    for uri in [
        "x509pop://example.org/rack/a/7",
        "x509pop://example.org/zone/north%20west",
        "x509pop://example.org/lonely",
        "x509pop://other.org/rack/b",
    ] {
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    }
    let attested = meet(&node(&root.leaf(params, p256()), &[]), &server(&[&root])).await.unwrap();
    let names: Vec<_> = selectors(&attested).into_iter().filter(|value| value.starts_with("x509pop:san:")).collect();
    assert_eq!(names, ["x509pop:san:rack:a/7", "x509pop:san:zone:north west"]);
}

#[tokio::test]
async fn every_chain_gives_its_selectors() {
    let (old, new) = (Ca::root("old root"), Ca::root("new root"));
    let crossed = old.cross_certify("new root", &new);
    let leaf = new.leaf(leaf_params(), p256());
    let attested = meet(&node(&leaf, &[&crossed]), &server(&[&old, &new])).await.unwrap();
    let selectors = selectors(&attested);
    for certificate in [&old.certificate, &new.certificate, &crossed] {
        assert!(selectors.contains(&format!("x509pop:ca:fingerprint:{}", sha1(certificate))));
    }
}

#[tokio::test]
async fn a_foreign_certificate_in_the_payload_gives_no_selector() {
    let root = Ca::root("root");
    let (namesake, stranger) = (Ca::root("root"), Ca::root("stranger").intermediate("root"));
    let leaf = root.leaf(leaf_params(), p256());
    let node = node(&leaf, &[&namesake.certificate, &stranger.certificate]);
    let attested = meet(&node, &server(&[&root])).await.unwrap();
    let expected = format!("x509pop:ca:fingerprint:{}", sha1(&root.certificate));
    let found: Vec<_> = selectors(&attested).into_iter().filter(|value| value.contains(":ca:")).collect();
    assert_eq!(found, [expected]);
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let (root, other) = (Ca::root("root"), Ca::root("root"));
    let leaf = other.leaf(leaf_params(), p256());
    let error = meet(&node(&leaf, &[&other.certificate]), &server(&[&root])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().starts_with("certificate verification failed: "), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let root = Ca::root("root");
    let mut params = leaf_params();
    params.not_after = date_time_ymd(2021, 1, 1);
    let error = meet(&node(&root.leaf(params, p256()), &[]), &server(&[&root])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_certificate_that_may_not_sign_is_not_challenged() {
    let root = Ca::root("root");
    for usages in [vec![], vec![KeyUsagePurpose::KeyEncipherment]] {
        let mut params = leaf_params();
        params.key_usages = usages;
        let error = meet(&node(&root.leaf(params, p256()), &[]), &server(&[&root])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to generate challenge: certificate not intended for digital signature use"
        );
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}

#[tokio::test]
async fn the_holder_of_the_certificate_alone_is_refused() {
    let root = Ca::root("root");
    let server = server(&[&root]);
    let nonce = STANDARD.encode([7; 32]);
    let ec = root.leaf(leaf_params(), p256());
    let ec_payload = payload(&[&ec.certificate]);
    let rsa = root.leaf(leaf_params(), rsa());
    let rsa_payload = payload(&[&rsa.certificate]);
    let cases = [
        (&ec_payload, format!(r#"{{"ecdsa_signature":{{"nonce":"{nonce}","r":"AQ==","s":"AQ=="}}}}"#)),
        (&ec_payload, format!(r#"{{"ecdsa_signature":{{"nonce":"{nonce}","r":"","s":""}}}}"#)),
        (&ec_payload, format!(r#"{{"ecdsa_signature":{{"nonce":"{nonce}","r":null,"s":null}}}}"#)),
        (&ec_payload, r#"{"ecdsa_signature":{"nonce":"AA==","r":"AQ==","s":"AQ=="}}"#.to_owned()),
        (&ec_payload, format!(r#"{{"rsa_signature":{{"nonce":"{nonce}","signature":"AQ=="}}}}"#)),
        (&ec_payload, "{}".to_owned()),
        (&rsa_payload, format!(r#"{{"rsa_signature":{{"nonce":"{nonce}","signature":"AQ=="}}}}"#)),
        (&rsa_payload, format!(r#"{{"rsa_signature":{{"nonce":"{nonce}","signature":""}}}}"#)),
        (&rsa_payload, format!(r#"{{"ecdsa_signature":{{"nonce":"{nonce}","r":"AQ==","s":"AQ=="}}}}"#)),
    ];
    for (payload, answer) in cases {
        let error = forge(&server, payload, &answer).await;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{answer}: {error}");
        assert!(error.to_string().starts_with("challenge response verification failed: "), "{error}");
    }
    for answer in ["", "null", "[]", "{\"ecdsa_signature\":7}"] {
        let error = forge(&server, &ec_payload, answer).await;
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::PermissionDenied), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_recorded_answer_does_not_serve_twice() {
    let root = Ca::root("root");
    let (server, leaf) = (server(&[&root]), root.leaf(leaf_params(), p256()));
    let node = node(&leaf, &[]);
    let mut evidence = node.agent.begin().await.unwrap();
    let nonce = STANDARD.encode([7; 32]);
    let challenge = format!(r#"{{"rsa_signature":null,"ecdsa_signature":{{"nonce":"{nonce}"}}}}"#);
    let answer = evidence.answer(challenge.as_bytes(), &mut ChaCha8Rng::seed_from_u64(1)).await.unwrap();
    let error = forge(&server, evidence.payload(), std::str::from_utf8(&answer).unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn an_agent_answers_one_fitting_challenge() {
    let root = Ca::root("root");
    let node = node(&root.leaf(leaf_params(), p256()), &[]);
    let nonce = STANDARD.encode([7; 32]);
    for challenge in [
        "{}".to_owned(),
        String::new(),
        format!(r#"{{"rsa_signature":{{"nonce":"{nonce}"}}}}"#),
        r#"{"ecdsa_signature":{"nonce":"AA=="}}"#.to_owned(),
    ] {
        let mut evidence = node.agent.begin().await.unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(evidence.answer(challenge.as_bytes(), &mut rng).await.is_err(), "{challenge}");
        let good = format!(r#"{{"ecdsa_signature":{{"nonce":"{nonce}"}}}}"#);
        let error = evidence.answer(good.as_bytes(), &mut rng).await.unwrap_err();
        assert_eq!(error.to_string(), "x509pop does not expect a challenge here");
    }
}

#[tokio::test]
async fn payloads_beyond_the_limits_are_refused_before_any_signature_is_checked() {
    let root = Ca::root("root");
    let leaf = root.leaf(leaf_params(), rsa());
    let intermediate = root.intermediate("i");
    let server = server_with(&[&root], |config| config.max_rsa_key_size = 2047);
    let garbage = br#"{"certificates":["AAAA"]}"#.to_vec();
    let (certificate, above) = (&leaf.certificate, &intermediate.certificate);
    let cases = [
        (payload(&[certificate]), "leaf certificate key size too large"),
        (payload(&[above, certificate]), "intermediate certificate 0 key size too large"),
        (payload(&[certificate; 6]), "too many intermediate certificates"),
        (payload(&[]), "no certificate to attest"),
        (b"{}".to_vec(), "no certificate to attest"),
        (b"\"\"".to_vec(), "failed to unmarshal data: "),
        (garbage, "unable to parse leaf certificate: "),
        (vec![b' '; 2_000_000], "attestation data has 2000000 bytes"),
    ];
    for (payload, message) in cases {
        let error = forge(&server, &payload, "{}").await;
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn the_address_has_to_be_named_where_it_is_asked_for() {
    let root = Ca::root("root");
    let mut params = leaf_params();
    params.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
    let node = node(&root.leaf(params, p256()), &[]);
    let server = server_with(&[&root], |config| config.verify_client_ip = true);
    for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
        meet_from(&node, &server, Some(address.parse().unwrap())).await.unwrap();
    }
    let error = meet_from(&node, &server, Some([192, 0, 2, 2].into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let error = meet_from(&node, &server, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[derive(Debug)]
struct Roots(Result<Vec<Certificate>, String>);

#[async_trait]
impl CurrentRoots for Roots {
    async fn roots(&self) -> Result<Vec<Certificate>, String> {
        self.0.clone()
    }
}

fn spiffe_server(roots: Roots) -> X509PopServer {
    let mode = X509PopMode::Spiffe { prefix: "/exchange".to_owned(), roots: Arc::new(roots) };
    X509PopServer::new(trust_domain(), X509PopConfig::new(mode)).unwrap()
}

#[tokio::test]
async fn in_spiffe_mode_the_svid_names_the_agent() {
    let root = Ca::root("root");
    let server = spiffe_server(Roots(Ok(vec![root.certificate.clone()])));
    let with_id = |id: &str| {
        let mut params = leaf_params();
        params.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
        node(&root.leaf(params, p256()), &[])
    };
    let attested = meet(&with_id("spiffe://example.org/exchange/rack/7"), &server).await.unwrap();
    assert_eq!(attested.agent_id.as_str(), "spiffe://example.org/spire/agent/x509pop/rack/7");

    let error = meet(&with_id("spiffe://example.org/exchanges/7"), &server).await.unwrap_err();
    assert_eq!(error.to_string(), "x509 cert doesnt match SVID prefix");
    let error = meet(&with_id("spiffe://example.org/exchange/"), &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "an agent has a name");
    let error = meet(&node(&root.leaf(leaf_params(), p256()), &[]), &server).await.unwrap_err();
    assert_eq!(error.to_string(), "valid SVID x509 cert not found");
}

#[tokio::test]
async fn in_spiffe_mode_no_bundle_lets_nobody_in() {
    let root = Ca::root("root");
    let node = node(&root.leaf(leaf_params(), p256()), &[]);
    let error = meet(&node, &spiffe_server(Roots(Ok(vec![])))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let error = meet(&node, &spiffe_server(Roots(Err("gone".to_owned())))).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to get trust bundle: gone");
}

#[test]
fn settings_that_cannot_work_are_named() {
    let roots = vec![Ca::root("root").certificate];
    let config = || X509PopConfig::new(X509PopMode::ExternalPki { roots: roots.clone() });
    let refused = |config: X509PopConfig| X509PopServer::new(trust_domain(), config).unwrap_err().to_string();
    assert!(refused(X509PopConfig { max_intermediates: 0, ..config() }).contains("max_intermediates"));
    assert!(refused(X509PopConfig { max_rsa_key_size: 0, ..config() }).contains("max_rsa_key_size"));
    let template = Some("/{{ .Subject.CommonName | lower }}".to_owned());
    assert!(refused(X509PopConfig { agent_path_template: template, ..config() }).contains("agent_path_template"));
    let empty = X509PopConfig::new(X509PopMode::ExternalPki { roots: vec![] });
    assert!(refused(empty).contains("no certificate"));
}

#[tokio::test]
async fn a_template_names_agents() {
    let root = Ca::root("root");
    let template = "/x509pop/{{ .Subject.CommonName }}/{{ .SerialNumberHex }}/{{ .URISanSelectors.rack }}";
    let server = server_with(&[&root], |config| config.agent_path_template = Some(template.to_owned()));
    let mut params = leaf_params();
    params.distinguished_name.push(DnType::CommonName, "node-1");
    let error = meet(&node(&root.leaf(params.clone(), p256()), &[]), &server).await.unwrap_err();
    assert!(error.to_string().contains("no value for .URISanSelectors.rack"), "{error}");
    params.subject_alt_names.push(SanType::URI("x509pop://example.org/rack/7".try_into().unwrap()));
    let attested = meet(&node(&root.leaf(params, p256()), &[]), &server).await.unwrap();
    assert_eq!(attested.agent_id.as_str(), "spiffe://example.org/spire/agent/x509pop/node-1/0abc/7");
}

#[tokio::test]
async fn roots_are_read_from_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("a.pem"), dir.path().join("b.pem")];
    let (a, b) = (Ca::root("a"), Ca::root("b"));
    fs::write(&paths[0], a.certificate.to_pem()).unwrap();
    fs::write(&paths[1], b.certificate.to_pem()).unwrap();
    assert_eq!(load_roots(&paths).await.unwrap(), [a.certificate, b.certificate]);
    fs::write(&paths[1], "nothing").unwrap();
    let error = load_roots(&paths).await.unwrap_err();
    assert!(error.to_string().contains("b.pem"), "{error}");
    assert!(load_roots(&[]).await.is_err());
}

#[tokio::test]
async fn agents_say_which_file_is_wrong() {
    let root = Ca::root("root");
    let good = node(&root.leaf(leaf_params(), p256()), &[]);
    let dir = good._dir.path();
    let begin = || async { good.agent.begin().await.err().unwrap().to_string() };
    fs::write(dir.join("key.pem"), p256().serialize_pem()).unwrap();
    assert!(begin().await.contains("does not match"));
    fs::write(dir.join("key.pem"), "no key").unwrap();
    assert!(begin().await.contains("unable to load keypair"));
    fs::remove_file(dir.join("leaf.pem")).unwrap();
    assert!(begin().await.contains("leaf.pem"));
}

#[tokio::test]
async fn a_p384_key_pair_is_told_what_to_use() {
    let root = Ca::root("root");
    let leaf = root.leaf(leaf_params(), KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let error = meet(&node(&leaf, &[]), &server(&[&root])).await.unwrap_err();
    assert!(error.to_string().contains("P-384"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_payload_and_answer_is_refused_without_panic(
        payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        text in "\\PC{0,100}",
        number in -3..3i64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let root = Ca::root("root");
        let leaf = root.leaf(leaf_params(), p256());
        let (server, good) = (server(&[&root]), self::payload(&[&leaf.certificate]));
        let encoded = STANDARD.encode(&payload);
        runtime.block_on(async {
            forge(&server, &payload, "{}").await;
            forge(&server, serde_json::json!({ "certificates": [encoded, number, text] }).to_string().as_bytes(), "").await;
            forge(&server, serde_json::json!({ "certificates": [encoded] }).to_string().as_bytes(), "").await;
            for answer in [
                text.clone(),
                serde_json::json!({ "ecdsa_signature": { "nonce": encoded, "r": encoded, "s": encoded } }).to_string(),
                serde_json::json!({ "ecdsa_signature": { "nonce": STANDARD.encode([0; 32]), "r": encoded, "s": encoded } })
                    .to_string(),
                serde_json::json!({ "ecdsa_signature": text, "rsa_signature": number }).to_string(),
            ] {
                forge(&server, &good, &answer).await;
            }
        });
    }
}
