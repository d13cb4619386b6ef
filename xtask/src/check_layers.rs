//! The crate graph as a test: who may depend on whom, compared with what `cargo metadata` says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace with those of ours it may depend on. `*` means any.
///
/// The order is that of docs/ARCHITECTURE.md, lowest level first.
const LAYERS: &[(&str, &[&str])] = &[
    ("spiffe-core", &[]),
    ("spire-types", &["spiffe-core"]),
    ("workload-api", &["spiffe-core", "spire-runtime"]),
    ("spire-keymanager", &["spiffe-core"]),
    ("spire-runtime", &["spiffe-core", "spire-config"]),
    ("spire-config", &["spiffe-core"]),
    // The last two behind the feature `upstream-spire`: a server of the same trust domain is spoken to by its API.
    ("spire-ca", &["spiffe-core", "spire-types", "spire-keymanager", "spire-api", "workload-api"]),
    ("spire-federation", &["spiffe-core", "spire-types", "spire-runtime"]),
    ("spire-datastore", &["spiffe-core", "spire-types"]),
    ("spire-attestation", &["spiffe-core", "spire-types"]),
    ("spire-api", &["spiffe-core", "spire-types"]),
    (
        "spire-server",
        &[
            "spiffe-core",
            "spire-types",
            "spire-api",
            "spire-runtime",
            "spire-config",
            "spire-keymanager",
            "spire-ca",
            "spire-datastore",
            "spire-attestation",
            "spire-federation",
            "workload-api",
        ],
    ),
    (
        "spire-agent",
        &[
            "spiffe-core",
            "spire-types",
            "spire-api",
            "spire-runtime",
            "spire-config",
            "spire-keymanager",
            "spire-attestation",
            "workload-api",
        ],
    ),
    ("spire-cli", &["spiffe-core", "spire-types", "spire-api", "workload-api"]),
    ("spire-server-bin", &["spire-server", "spire-cli", "spire-runtime"]),
    ("spire-agent-bin", &["spire-agent", "spire-cli", "spire-runtime"]),
    ("examples", &["*"]),
    ("benches", &["*"]),
    ("xtask", &[]),
];

/// The only crates that may name tonic: the wire, the two compositions, the command line, the Workload API, and programs that call them.
const MAY_USE_TONIC: &[&str] =
    &["spire-api", "spire-ca", "workload-api", "spire-server", "spire-agent", "spire-cli", "examples", "benches"];

/// What the pure crates must never link.
const NEVER_IN_PURE: &[(&str, &[&str])] = &[
    ("spiffe-core", &["tokio", "tonic", "hyper"]),
    ("spire-types", &["tokio", "tonic", "hyper"]),
    ("spire-config", &["tokio", "tonic", "hyper"]),
];

/// The library crates, in the order of the table.
pub(crate) fn library_crates() -> impl Iterator<Item = &'static str> {
    LAYERS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.ends_with("-bin") && !matches!(*name, "examples" | "benches" | "xtask"))
}

/// Compares the table with the workspace.
///
/// # Errors
/// One line for each violation.
pub(crate) fn run() -> Result<(), String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .map_err(|err| format!("failed to run cargo metadata: {err}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|err| format!("cargo metadata printed no JSON: {err}"))?;
    let violations = violations(&metadata);
    if violations.is_empty() { Ok(()) } else { Err(violations.join("\n")) }
}

fn violations(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        LAYERS.iter().map(|(name, may)| (*name, may.iter().copied().collect())).collect();
    let pure: BTreeMap<&str, &[&str]> = NEVER_IN_PURE.iter().copied().collect();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            found.push(format!("{name}: not in the table of xtask/src/check_layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // A crate may test itself against anything.
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let on = dependency["name"].as_str().unwrap_or_default();
            if allowed.contains_key(on) && !may.contains(on) && !may.contains("*") {
                found.push(format!("{name}: may not depend on {on}"));
            }
            if on.starts_with("tonic") && !MAY_USE_TONIC.contains(&name) && name != "xtask" {
                found.push(format!("{name}: may not name {on}"));
            }
            if pure.get(name).is_some_and(|never| never.contains(&on)) {
                found.push(format!("{name}: is pure and may not link {on}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> Value {
        json!({ "packages": [{ "name": name, "dependencies": [{ "name": dependency, "kind": kind }] }] })
    }

    #[test]
    fn a_sideways_or_upward_dependency_is_a_violation() {
        assert_eq!(violations(&package("spire-agent", "spire-ca", None)).len(), 1);
        assert_eq!(violations(&package("spiffe-core", "spire-types", None)).len(), 1);
        assert_eq!(violations(&package("spiffe-core", "tokio", None)).len(), 1);
        assert_eq!(violations(&package("spire-datastore", "tonic", None)).len(), 1);
        assert_eq!(violations(&package("stranger", "serde", None)).len(), 1);
    }

    #[test]
    fn what_the_table_allows_passes() {
        assert!(violations(&package("spire-server", "spire-ca", None)).is_empty());
        assert!(violations(&package("spire-ca", "spire-server", Some("dev"))).is_empty());
        assert!(violations(&package("examples", "spire-agent", None)).is_empty());
    }
}
