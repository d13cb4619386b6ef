//! Instructions that the hot paths take, counted by callgrind: the gate against regressions, the same on a busy machine.
//!
//! `cargo bench -p benches --bench instructions` prints what moved by more than [`NOTICED`] per cent against the figures in
//! `instructions.txt`, and fails where something takes more; with `-- --write` it writes these figures anew. Needs
//! valgrind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measures; what it measures is made of sound input"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::jwt::JwtSvid;
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::{Certificate, Csr, CsrTemplate, verify_svid};
use spiffe_core::{KeyType, PrivateKey, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_ca::{
    Authority, Composers, DistinguishedName, JwtKey, JwtSvidParams, SelfSignedCaParams, X509Ca, X509SvidParams,
    mint_jwt_svid, mint_self_signed_ca, mint_x509_svid,
};
use spire_datastore::{Change, Snapshot};
use spire_server::entries::EntryIndex;
use spire_types::{EntryId, RegistrationEntry, Revision};

/// Per cent.
const NOTICED: f64 = 3.0;
const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);
/// Turns of the two counts of a path; what is the same in both falls away in the difference.
const FEW: u64 = 10;
const MANY: u64 = 60;

type Failure = Box<dyn std::error::Error>;

/// A hot path, once; made anew for each process.
type HotPath = Box<dyn FnMut()>;
/// Makes one.
type Prepare = fn() -> HotPath;

const PATHS: [(&str, Prepare); 11] = [
    ("parse an ID", parse_id),
    ("parse a certificate", parse_certificate),
    ("verify an X.509-SVID", verify_x509),
    ("verify a JWT-SVID", verify_jwt),
    ("take a CSR", csr),
    ("mint an X.509-SVID", mint_x509),
    ("mint a JWT-SVID", mint_jwt),
    ("index: 100 entries of an agent", authorized),
    ("index: one entry of an agent", authorized_one),
    ("index: a new entry among 10,000", new_entry),
    ("index: put 1,000 entries together", whole_index),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["turns", name, turns] => take_turns(name, turns),
        words if words.contains(&"--write") => write(),
        _ => compare(),
    };
    outcome.unwrap_or_else(|err| {
        eprintln!("{err}");
        ExitCode::FAILURE
    })
}

/// What callgrind is given.
fn take_turns(name: &str, turns: &str) -> Result<ExitCode, Failure> {
    let (_, prepare) = PATHS.iter().find(|(path, _)| *path == name).ok_or_else(|| format!("no hot path {name:?}"))?;
    let turns: u64 = turns.parse()?;
    let mut path = prepare();
    (0..turns).for_each(|_| path());
    Ok(ExitCode::SUCCESS)
}

fn figures() -> Result<BTreeMap<&'static str, u64>, Failure> {
    PATHS.iter().map(|(name, _)| Ok((*name, instructions(name)?))).collect()
}

fn write() -> Result<ExitCode, Failure> {
    let text: String = figures()?.iter().map(|(name, count)| format!("{count}\t{name}\n")).collect();
    std::fs::write(baseline(), text).map_err(|err| format!("failed to write {}: {err}", baseline().display()))?;
    Ok(ExitCode::SUCCESS)
}

fn compare() -> Result<ExitCode, Failure> {
    let text = std::fs::read_to_string(baseline())
        .map_err(|err| format!("failed to read {}, which `-- --write` makes: {err}", baseline().display()))?;
    let mut before = BTreeMap::new();
    for line in text.lines() {
        let figure = line.split_once('\t').and_then(|(count, name)| Some((name, count.parse::<u64>().ok()?)));
        let (name, count) = figure.ok_or_else(|| format!("no figure in {}: {line:?}", baseline().display()))?;
        before.insert(name, count);
    }
    let mut outcome = ExitCode::SUCCESS;
    for (name, now) in &figures()? {
        let Some(then) = before.get(name) else {
            println!("{name}: {now} instructions, not compared before");
            continue;
        };
        let moved = (float(*now) / float(*then) - 1.0) * 100.0;
        if moved.abs() > NOTICED {
            println!("{name}: {moved:+.1} %, from {then} to {now} instructions");
        }
        if moved > NOTICED {
            outcome = ExitCode::FAILURE;
        }
    }
    Ok(outcome)
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

#[expect(clippy::cast_precision_loss, reason = "far fewer instructions than 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Of one turn of that path.
fn instructions(name: &str) -> Result<u64, Failure> {
    let (many, few) = (collected(name, MANY)?, collected(name, FEW)?);
    let more = many.checked_sub(few).ok_or_else(|| format!("{name}: {MANY} turns take less than {FEW}"))?;
    Ok(more / (MANY - FEW))
}

fn collected(name: &str, turns: u64) -> Result<u64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["turns", name, &turns.to_string()])
        .output()
        .map_err(|err| format!("failed to run valgrind, which has to be installed: {err}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = line.ok_or_else(|| format!("callgrind tells no count for {name}: {text}"))?;
    Ok(count.trim().parse()?)
}

fn parse_id() -> HotPath {
    Box::new(|| drop(black_box(SpiffeId::parse(black_box("spiffe://example.org/ns/production/sa/billing")).unwrap())))
}

fn parse_certificate() -> HotPath {
    let svid = TestAuthority::new("example.org").svid("/ns/production/sa/billing");
    Box::new(move || drop(black_box(Certificate::from_der(svid.leaf().der()).unwrap())))
}

fn verify_x509() -> HotPath {
    let authority = TestAuthority::new("example.org");
    let (svid, bundles) = (authority.svid("/ns/production/sa/billing"), authority.bundles());
    Box::new(move || drop(black_box(verify_svid(svid.chain(), &bundles, NOW).unwrap())))
}

fn verify_jwt() -> HotPath {
    let authority = TestAuthority::new("example.org");
    let token = authority.jwt_svid("/ns/production/sa/billing", &["svc"], NOW + Ttl::from_minutes(5));
    let bundles = authority.bundles();
    Box::new(move || drop(black_box(JwtSvid::verify(&token, "svc", &bundles, NOW, Ttl::ZERO).unwrap())))
}

fn csr() -> HotPath {
    let csr = CsrTemplate::default().sign(&PrivateKey::generate(KeyType::EcP256).unwrap()).unwrap();
    Box::new(move || drop(black_box(Csr::from_der(&csr).unwrap())))
}

fn authority() -> Authority {
    let [ca_key, jwt_key] = [(); 2].map(|()| PrivateKey::generate(KeyType::EcP256).unwrap());
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let subject = DistinguishedName::default_ca();
    let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24) };
    let (composers, mut rng) = (Composers::default(), OsRng.unwrap_err());
    let root = at_once(mint_self_signed_ca(&params, &composers, &ca_key, NOW, &mut rng)).unwrap();
    let x509 = X509Ca::new(root, Vec::new(), Arc::new(ca_key)).unwrap();
    let jwt = JwtKey::new(&"k".repeat(32), NOW + Ttl::from_hours(24), Arc::new(jwt_key)).unwrap();
    Authority::new(trust_domain, Arc::new(x509), Some(Arc::new(jwt)), composers)
}

/// A key in this process signs without waiting for anything, so the first poll is the last.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

fn mint_x509() -> HotPath {
    let (authority, key) = (authority(), PrivateKey::generate(KeyType::EcP256).unwrap());
    let id = id("/ns/production/sa/payments");
    Box::new(move || {
        let public_key = key.public_key();
        let ttl = Ttl::from_hours(1);
        let params = X509SvidParams { spiffe_id: &id, public_key, ttl, dns_names: &[], subject: None };
        drop(black_box(at_once(mint_x509_svid(&authority, &params, NOW, &mut OsRng.unwrap_err())).unwrap()));
    })
}

fn mint_jwt() -> HotPath {
    let (authority, id) = (authority(), id("/ns/production/sa/payments"));
    let audience = ["spiffe://example.org/ns/production/sa/ledger".to_owned()];
    Box::new(move || {
        let ttl = Ttl::from_minutes(5);
        let params = JwtSvidParams { spiffe_id: &id, audience: &audience, ttl, include_jti: false, issuer: None };
        drop(black_box(at_once(mint_jwt_svid(&authority, &params, NOW, &mut OsRng.unwrap_err())).unwrap()));
    })
}

fn id(path: &str) -> SpiffeId {
    TrustDomain::parse("example.org").unwrap().join(path).unwrap()
}

fn agent(number: u32) -> SpiffeId {
    id(&format!("/spire/agent/x509pop/{number}"))
}

/// One of 100 entries for each agent.
fn entry(number: u32) -> RegistrationEntry {
    let selectors = [format!("k8s:sa:{number}"), format!("k8s:ns:{}", number % 500)];
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    let mut entry = RegistrationEntry::new(id(&format!("/workload/{number}")), agent(number / 100), selectors);
    entry.id = Some(EntryId::parse(&format!("entry-{number}")).unwrap());
    entry
}

fn index_of(count: u32) -> EntryIndex {
    let snapshot = Snapshot { entries: (0..count).map(entry).collect(), ..Snapshot::default() };
    EntryIndex::from_snapshot(TrustDomain::parse("example.org").unwrap(), snapshot)
}

fn authorized() -> HotPath {
    let (index, agent) = (index_of(10_000), agent(7));
    Box::new(move || drop(black_box(index.authorized(&agent, NOW))))
}

fn authorized_one() -> HotPath {
    let (index, agent, entry) = (index_of(10_000), agent(7), EntryId::parse("entry-701").unwrap());
    Box::new(move || drop(black_box(index.authorized_entry(&agent, &entry, NOW).unwrap())))
}

fn new_entry() -> HotPath {
    let index = index_of(10_000);
    let mut number = 10_000;
    Box::new(move || {
        number += 1;
        let new = entry(number);
        drop(black_box(index.after(Revision(2), vec![Change::Entry(new.id.clone().unwrap(), Some(new))])));
    })
}

fn whole_index() -> HotPath {
    Box::new(|| drop(black_box(index_of(1000))))
}
