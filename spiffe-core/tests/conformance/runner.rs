//! Judges one vector.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use spiffe_core::bundle::BundleMap;
use spiffe_core::jwt::JwtSvid;
use spiffe_core::x509::{Certificate, Purpose, X509Error, X509Svid, check_leaf, deviations, verify_svid_for};
use spiffe_core::{Bundle, BundleSet, IdError, PrivateKey, SpiffeId, Timestamp, TrustDomain, Ttl, X509Authority};

/// Whether the provider knows P-521.
const P521: bool = cfg!(feature = "aws-lc-rs");

/// What a vector came to: nothing, or the clause by which it is refused.
type Outcome = Result<(), String>;

/// The files, and what judges their vectors.
type Judge = fn(&Value) -> Outcome;
pub(crate) const KINDS: &[(&str, Judge)] = &[
    ("ids", ids),
    ("x509_svid", x509_svid),
    ("jwt_svid", jwt_svid),
    ("bundle", bundle),
    ("bundle_map", bundle_map),
    #[cfg(feature = "wit")]
    ("wit_svid", wit_svid),
];

/// All vectors of a kind.
pub(crate) fn load(kind: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../conformance/{kind}.json"));
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["kind"], kind);
    serde_json::from_value(file["vectors"].take()).unwrap()
}

/// What is wrong with the verdict on a vector. A rejection has to name the vector's clause: what is refused for another
/// reason is not tested.
pub(crate) fn wrong(judge: Judge, vector: &Value) -> Option<String> {
    let id = vector["id"].as_str().unwrap();
    // Where the provider lacks the algorithm, its refusal is the verdict.
    let lacking = vector["needs"] == "P-521" && !P521;
    let accept = vector["verdict"] == "accept" && !lacking;
    match catch_unwind(AssertUnwindSafe(|| judge(vector))) {
        Err(_) => Some(format!("{id}: fails")),
        Ok(Ok(())) if accept => None,
        Ok(Ok(())) => Some(format!("{id}: accepted, {}", vector["reason"])),
        Ok(Err(clause)) if accept => Some(format!("{id}: refused by {clause:?}, {}", vector["reason"])),
        Ok(Err(_)) if lacking => None,
        Ok(Err(clause)) if vector["clause"] == clause.as_str() => None,
        Ok(Err(clause)) => Some(format!("{id}: refused by {clause:?} in place of {}", vector["clause"])),
    }
}

/// Judges the vectors of these IDs.
pub(crate) fn hold(ids: &[&str]) {
    let mut left: Vec<&str> = ids.to_vec();
    static ALL: LazyLock<Vec<(Judge, Vec<Value>)>> =
        LazyLock::new(|| KINDS.iter().map(|(kind, judge)| (*judge, load(kind))).collect());
    for (judge, vectors) in ALL.iter() {
        for vector in vectors {
            let Some(at) = left.iter().position(|id| vector["id"] == *id) else { continue };
            left.swap_remove(at);
            assert_eq!(wrong(*judge, vector), None);
        }
    }
    if !cfg!(feature = "wit") {
        left.retain(|id| !id.starts_with("WV-"));
    }
    assert!(left.is_empty(), "no such vectors: {left:?}");
}

fn ids(vector: &Value) -> Outcome {
    let input = &vector["input"];
    let text = |at: usize| input[at].as_str().unwrap();
    let op = vector["op"].as_str().unwrap();
    let id = match op {
        "spiffe_id" => SpiffeId::parse(input.as_str().unwrap()),
        "trust_domain" => TrustDomain::parse_name_or_id(input.as_str().unwrap()).map(|name| name.id()),
        "from_segments" => {
            let segments = input.as_array().unwrap()[1..].iter().map(|segment| segment.as_str().unwrap());
            SpiffeId::from_segments(&TrustDomain::parse(text(0)).unwrap(), segments)
        }
        "from_path" => TrustDomain::parse(text(0)).unwrap().join(text(1)),
        "append" => SpiffeId::parse(text(0)).unwrap().join(text(1)),
        op => panic!("{op}"),
    };
    let id = id.map_err(|err: IdError| err.clause().to_owned())?;
    match op {
        "spiffe_id" => assert_eq!(id.to_string(), input.as_str().unwrap(), "printing is the inverse of parsing"),
        "trust_domain" => {}
        _ => assert_eq!(id.as_str(), vector["output"].as_str().unwrap()),
    }
    Ok(())
}

fn x509_svid(vector: &Value) -> Outcome {
    let clause = |err: X509Error| err.clause().to_owned();
    let input = &vector["input"];
    let chain = match bytes(&input["chain"]) {
        chain if chain.is_empty() => Vec::new(),
        chain => Certificate::from_der_many(&chain).map_err(clause)?,
    };
    if vector["op"] == "load" {
        let key = PrivateKey::from_pkcs8_der(&bytes(&input["private_key"])).unwrap();
        return X509Svid::new(chain, key).map(|_| ()).map_err(clause);
    }
    let purpose = match input["role"].as_str().unwrap() {
        "client" => Purpose::TlsClient,
        "server" => Purpose::TlsServer,
        _ => Purpose::Either,
    };
    let bundles: BundleSet = members(&input["bundles"]).map(|(name, roots)| x509_bundle(name, roots)).collect();
    let id = verify_svid_for(purpose, &chain, &bundles, time(&input["now"])).map_err(clause)?;
    assert_eq!(id, check_leaf(&chain[0]).unwrap());
    let deviates = vector["deviation"].as_bool().unwrap_or_default();
    assert!(!deviates || deviations(&chain).next().is_some(), "the deviation is not counted");
    Ok(())
}

fn jwt_svid(vector: &Value) -> Outcome {
    let input = &vector["input"];
    let audiences: Vec<&str> = input["audiences"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let token = input["token"].as_str().unwrap();
    let result = JwtSvid::verify_for_any(token, &audiences, &bundles(input), time(&input["now"]), leeway(input));
    result.map(|_| ()).map_err(|err| {
        let told = format!("{err} {err:?}");
        assert!(token.len() < 20 || !told.contains(token), "an error shows the token");
        err.clause().to_owned()
    })
}

#[cfg(feature = "wit")]
fn wit_svid(vector: &Value) -> Outcome {
    use spiffe_core::wit::{UnprovenWit, WitError};

    let clause = |err: WitError| err.clause().to_owned();
    let input = &vector["input"];
    let (now, leeway) = (time(&input["now"]), leeway(input));
    let wit = UnprovenWit::verify(input["token"].as_str().unwrap(), &bundles(input), now, leeway).map_err(clause)?;
    match vector["op"].as_str().unwrap() {
        "verify" => Ok(()),
        "load" => {
            let key = PrivateKey::from_pkcs8_der(&bytes(&input["private_key"])).unwrap();
            wit.check_key(key.public_key()).map_err(clause)
        }
        "prove" => {
            let (proof, audience) = (input["proof"].as_str().unwrap(), input["audience"].as_str().unwrap());
            wit.prove(proof, audience, now, leeway).map(|_| ()).map_err(clause)
        }
        op => panic!("{op}"),
    }
}

fn bundle(vector: &Value) -> Outcome {
    let input = &vector["input"];
    let mut document = input["document"].as_str().unwrap().to_owned();
    if let Some(repeat) = input.get("repeat") {
        let times = usize::try_from(repeat["times"].as_u64().unwrap()).unwrap();
        document = document.replace("@REPEAT@", &repeat["text"].as_str().unwrap().repeat(times));
    }
    let trust_domain = TrustDomain::parse(input["trust_domain"].as_str().unwrap()).unwrap();
    let parsed =
        Bundle::parse_document(trust_domain.clone(), document.as_bytes()).map_err(|err| err.clause().to_owned())?;
    let (bundle, expect) = (&parsed.bundle, &vector["expect"]);
    let count = |name: &str| usize::try_from(expect[name].as_u64().unwrap()).unwrap();
    assert_eq!(bundle.trust_domain, trust_domain);
    assert_eq!(bundle.x509_authorities.len(), count("x509"), "X.509 authorities");
    assert_eq!(bundle.jwt_authorities.len(), count("jwt"), "JWT keys");
    #[cfg(feature = "wit")]
    assert_eq!(bundle.wit_authorities.len(), count("wit"), "WIT keys");
    assert_eq!(bundle.sequence_number.to_string(), expect["sequence"].as_str().unwrap());
    assert_eq!(bundle.refresh_interval().as_secs(), expect["refresh"].as_u64().unwrap());
    if let Some(ignored) = vector["ignored"].as_u64() {
        assert_eq!(parsed.problems.len() as u64, ignored, "{:?}", parsed.problems);
        assert_eq!(parsed.problems[0].clause(), vector["clause"].as_str().unwrap(), "{:?}", parsed.problems);
    }
    let printed = bundle.to_document();
    assert_eq!(Bundle::from_document(trust_domain, printed.as_bytes()).as_ref(), Ok(bundle), "reads as it prints");
    Ok(())
}

fn bundle_map(vector: &Value) -> Outcome {
    let document = vector["input"]["document"].as_str().unwrap();
    let map = BundleMap::parse(document.as_bytes()).map_err(|err| err.clause().to_owned())?;
    let names: Vec<&str> = map.bundles.iter().map(|bundle| bundle.trust_domain.as_str()).collect();
    let expect = &vector["expect"];
    assert!(expect["trust_domains"].as_array().unwrap().iter().filter_map(Value::as_str).eq(names));
    assert_eq!(map.refresh_hint.map(Ttl::as_secs), expect["refresh_hint"].as_u64());
    Ok(())
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().unwrap().iter()
}

fn bytes(base64: &Value) -> Vec<u8> {
    STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

fn time(seconds: &Value) -> Timestamp {
    Timestamp::from_unix(seconds.as_i64().unwrap())
}

fn leeway(input: &Value) -> Ttl {
    Ttl::from_secs(input["leeway"].as_u64().unwrap())
}

fn x509_bundle(name: &str, roots: &Value) -> Bundle {
    let mut bundle = Bundle::new(TrustDomain::parse(name).unwrap());
    for root in roots.as_array().unwrap() {
        let certificate = Certificate::from_der(&bytes(root)).unwrap();
        bundle.x509_authorities.push(X509Authority { certificate, tainted: false });
    }
    bundle
}

fn bundles(input: &Value) -> BundleSet {
    members(&input["bundles"])
        .map(|(name, document)| {
            Bundle::from_document(TrustDomain::parse(name).unwrap(), document.to_string().as_bytes()).unwrap()
        })
        .collect()
}
