//! Runs the vectors against the Rust library `spiffe`: one line a vector, its ID and what came of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use spiffe::{JwtBundle, JwtBundleSet, JwtSvid, SpiffeId, TrustDomain, X509Svid};

type Outcome = Result<(), String>;

const SKIP: &str = "skip";

fn text(error: impl std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}

fn ids(v: &Value) -> Outcome {
    let input = &v["input"];
    let list = |at: usize| input[at].as_str().unwrap_or_default();
    let id = match v["op"].as_str().unwrap() {
        "spiffe_id" => return SpiffeId::new(input.as_str().unwrap()).map(|_| ()).map_err(text),
        "trust_domain" => return TrustDomain::new(input.as_str().unwrap()).map(|_| ()).map_err(text),
        "from_segments" => {
            let segments: Vec<&str> = input.as_array().unwrap()[1..].iter().filter_map(Value::as_str).collect();
            SpiffeId::from_segments(TrustDomain::new(list(0)).unwrap(), &segments).map_err(text)?
        }
        _ => return Err(SKIP.into()),
    };
    if id.to_string() == v["output"] { Ok(()) } else { Err(format!("yields {id}")) }
}

fn x509_svid(v: &Value) -> Outcome {
    if v["op"] != "load" {
        return Err(SKIP.into()); // peers are verified by another crate, inside TLS
    }
    let der = |name: &str| STANDARD.decode(v["input"][name].as_str().unwrap()).unwrap();
    X509Svid::parse_from_der(&der("chain"), &der("private_key")).map(|_| ()).map_err(text)
}

fn jwt_svid(v: &Value) -> Outcome {
    let input = &v["input"];
    let mut bundles = JwtBundleSet::default();
    for (name, document) in input["bundles"].as_object().unwrap() {
        let name = TrustDomain::new(name).unwrap();
        bundles.add_bundle(JwtBundle::from_jwt_authorities(name, document.to_string().as_bytes()).map_err(text)?);
    }
    let audiences: Vec<&str> = input["audiences"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    JwtSvid::parse_and_validate(input["token"].as_str().unwrap(), &bundles, &audiences).map(|_| ()).map_err(text)
}

fn main() {
    let folder = std::env::args().nth(1).expect("the folder of the vectors");
    let kinds: [(&str, fn(&Value) -> Outcome); 3] = [("ids", ids), ("x509_svid", x509_svid), ("jwt_svid", jwt_svid)];
    std::panic::set_hook(Box::new(|_| {}));
    for (kind, judge) in kinds {
        let data = std::fs::read(format!("{folder}/{kind}.json")).unwrap();
        let file: Value = serde_json::from_slice(&data).unwrap();
        for v in file["vectors"].as_array().unwrap() {
            let outcome = if v["clock"] == true {
                SKIP.to_owned()
            } else {
                match std::panic::catch_unwind(|| judge(v)) {
                    Err(_) => "panic".to_owned(),
                    Ok(Ok(())) => "accept".to_owned(),
                    Ok(Err(skip)) if skip == SKIP => skip,
                    Ok(Err(error)) => format!("reject {error}"),
                }
            };
            println!("{} {outcome}", v["id"].as_str().unwrap());
        }
    }
}
