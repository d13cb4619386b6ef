//! Compiles our `.proto` files to the Rust code that is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// A crate with definitions: its folder, the name of their descriptors, and the files that are compiled together.
const CRATES: &[(&str, &str, &[&str])] = &[
    (
        "spire-api",
        "descriptors.bin",
        &[
            "agent.proto",
            "agent_debug.proto",
            "agent_logger.proto",
            "bundle.proto",
            "debug.proto",
            "delegated_identity.proto",
            "entry.proto",
            "ext_registry.proto",
            "localauthority.proto",
            "logger.proto",
            "svid.proto",
            "trustdomain.proto",
            "types.proto",
        ],
    ),
    (
        "spire-api",
        "envoy_descriptors.bin",
        &["envoy_core.proto", "envoy_discovery.proto", "envoy_secret.proto", "envoy_tls.proto", "rpc_status.proto"],
    ),
    ("workload-api", "descriptors.bin", &["workload.proto"]),
    ("examples", "descriptors.bin", &["quotes.proto"]),
];

/// Writes the generated code below `root`, the workspace's folder.
///
/// # Errors
/// What failed, with the file.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    for (path, contents) in generate(root)? {
        let path = root.join(path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|err| format!("{}: {err}", directory.display()))?;
        }
        std::fs::write(&path, contents).map_err(|err| format!("{}: {err}", path.display()))?;
    }
    Ok(())
}

/// Compares the committed code with what would be generated.
///
/// # Errors
/// The files that differ.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let stale: Vec<String> = generate(root)?
        .into_iter()
        .filter(|(path, contents)| std::fs::read(root.join(path)).ok().as_ref() != Some(contents))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if stale.is_empty() { Ok(()) } else { Err(format!("stale, run `cargo run -p xtask -- gen`: {}", stale.join(", "))) }
}

/// All generated files, by path from the workspace's folder.
fn generate(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    for (name, descriptor_set, protos) in CRATES {
        let folder = root.join(name).join("proto");
        let paths: Vec<PathBuf> = protos.iter().map(|file| folder.join(file)).collect();
        let descriptors = protox::compile(&paths, [&folder]).map_err(|err| format!("{name}: {err}"))?;
        let scratch = std::env::temp_dir().join(format!("gen-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(|err| format!("{}: {err}", scratch.display()))?;
        let codec = if *name == "workload-api" { "crate::codec::SmallCodec" } else { "tonic_prost::ProstCodec" };
        let outcome = compile(&descriptors, codec, &scratch).and_then(|()| collect(&scratch, name, &mut files));
        let _ = std::fs::remove_dir_all(&scratch);
        outcome.map_err(|err| format!("{name}: {err}"))?;
        files.insert(Path::new(name).join("src/gen").join(descriptor_set), descriptors.encode_to_vec());
    }
    Ok(files)
}

fn compile(descriptors: &prost_types::FileDescriptorSet, codec: &str, into: &Path) -> Result<(), String> {
    let mut config = tonic_prost_build::Config::new();
    // Messages know their full names, so that they can be looked up among the descriptors.
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path(codec)
        // A server holds these encoded.
        .extern_path(
            ".spire.api.server.entry.v1.GetAuthorizedEntriesResponse",
            "crate::authorized_entries::GetAuthorizedEntriesResponse",
        )
        .extern_path(
            ".spire.api.server.entry.v1.SyncAuthorizedEntriesResponse",
            "crate::authorized_entries::SyncAuthorizedEntriesResponse",
        )
        .build_transport(false)
        .out_dir(into)
        .compile_fds_with_config(descriptors.clone(), config)
        .map_err(|err| err.to_string())
}

fn collect(scratch: &Path, name: &str, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    for entry in std::fs::read_dir(scratch).map_err(|err| err.to_string())? {
        let path = entry.map_err(|err| err.to_string())?.path();
        let Some(file) = path.file_name() else { continue };
        // The definitions without a package come out as `_.rs`.
        let file = if file == "_.rs" { Path::new("workload.rs") } else { Path::new(file) };
        let contents = std::fs::read(&path).map_err(|err| err.to_string())?;
        files.insert(Path::new(name).join("src/gen").join(file), contents);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_what_would_be_generated() {
        check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    }
}
