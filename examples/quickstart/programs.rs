//! The programs that the scenario runs: built by cargo, or found beside this one.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::Result;

/// SPIRE's own.
pub(crate) const SPIRE: &[&str] = &["spire-server", "spire-agent"];
/// And the workloads of the federated trust domains.
pub(crate) const WITH_WORKLOADS: &[&str] = &["spire-server", "spire-agent", "stock-quotes-service", "broker-webapp"];

/// Where the programs are.
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// Started by cargo, this builds what is missing or stale; started by hand, it takes what lies beside it.
    pub(crate) async fn find_or_build(names: &[&str]) -> Result<Self> {
        let myself = env::current_exe()?.canonicalize()?;
        let directory = myself.parent().ok_or("this program lies in no directory")?;
        if let Some(cargo) = env::var_os("CARGO") {
            build(cargo, directory, names).await?;
        }
        let missing: Vec<&str> = names.iter().copied().filter(|name| !directory.join(name).is_file()).collect();
        if missing.is_empty() {
            return Ok(Self(directory.to_owned()));
        }
        let flags: String = missing.iter().map(|name| format!(" --bin {name}")).collect();
        Err(format!("{} lacks {}: build with `cargo build{flags}`", directory.display(), missing.join(", ")).into())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Into the directory that this program was built into, in its profile.
async fn build(cargo: OsString, directory: &Path, names: &[&str]) -> Result<()> {
    let target = directory.parent().ok_or("this program does not lie in a target directory")?;
    let mut command = Command::new(&cargo);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).arg("build").arg("--target-dir").arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for name in names {
        command.args(["--bin", name]);
    }
    let status = command
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|err| format!("failed to run {}: {err}", Path::new(&cargo).display()))?;
    if status.success() { Ok(()) } else { Err("cargo did not build the programs; its errors are above".into()) }
}
