//! The `unix` attestor: who owns the process, and what it runs.
//!
//! Selectors, in this order: `uid`, `user`, `gid`, `group`, `supplementary_gid` and `supplementary_group` for each
//! supplementary group, and with [`discover_workload_path`](UnixConfig::discover_workload_path) `path` and `sha256`.
//! Names are those of the agent's `/etc/passwd` and `/etc/group`; a number without a name has no such selector.

use std::{collections::BTreeSet, io::Read, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use ring::digest;
use spire_types::Selector;

use super::{Workload, WorkloadAttestor, passwd::Names, proc::ProcDir};
use crate::{Error, ProcessError, hex::hex};

/// The method's name in configurations, and the type of its selectors.
pub const NAME: &str = "unix";

/// How the `unix` attestor works; the default is SPIRE's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixConfig {
    /// Adds `path` and `sha256`; needs the right to look into other users' processes.
    pub discover_workload_path: bool,
    /// The longest executable in bytes whose `sha256` is taken: 0 takes any, less takes none (and leaves the selector
    /// out), more lets a longer one fail the attestation.
    pub workload_size_limit: i64,
    /// Where the process directories are: `/proc`, or what the environment variable `HOST_PROC` named.
    pub proc_root: PathBuf,
}

impl Default for UnixConfig {
    fn default() -> Self {
        Self { discover_workload_path: false, workload_size_limit: 0, proc_root: PathBuf::from("/proc") }
    }
}

/// Attests processes by owner and executable. Clones share what they know of users and groups.
#[derive(Debug, Clone)]
pub struct UnixAttestor {
    config: UnixConfig,
    users: Arc<Names>,
    groups: Arc<Names>,
}

impl Default for UnixAttestor {
    fn default() -> Self {
        Self::new(UnixConfig::default())
    }
}

impl UnixAttestor {
    /// An attestor that works as `config` says.
    #[must_use]
    pub fn new(config: UnixConfig) -> Self {
        Self { config, users: Arc::new(Names::new(USERS)), groups: Arc::new(Names::new(GROUPS)) }
    }
}

#[async_trait]
impl WorkloadAttestor for UnixAttestor {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(&self, workload: &Workload) -> Result<Vec<Selector>, Error> {
        let values = if self.config.discover_workload_path {
            // Executables are long, and may lie on a disk that is slow.
            let (attestor, workload) = (self.clone(), workload.clone());
            let pid = workload.pid();
            let looked_at = tokio::task::spawn_blocking(move || attestor.look_at(&workload)).await;
            looked_at.map_err(|_| ProcessError::Interrupted { pid })??
        } else {
            // The kernel's memory alone is read: that takes less than another thread takes to wake up.
            self.look_at(workload)?
        };
        Ok(values.into_iter().map(|value| Selector { kind: NAME.into(), value }).collect())
    }
}

impl UnixAttestor {
    /// The selector values of the process. Blocks for as long as executables are read.
    fn look_at(&self, workload: &Workload) -> Result<Vec<String>, ProcessError> {
        let config = &self.config;
        // Held, the directory belongs to one process for good; the check at the end says that it is the right one.
        let process = ProcDir::of(&config.proc_root, workload)?;
        let owner = process.owner()?;
        let users = self.users.of(&BTreeSet::from([owner.uid]));
        let groups = self.groups.of(&owner.groups.iter().copied().chain([owner.gid]).collect());
        let mut values = vec![format!("uid:{}", owner.uid)];
        values.extend(users.get(&owner.uid).map(|name| format!("user:{name}")));
        values.push(format!("gid:{}", owner.gid));
        values.extend(groups.get(&owner.gid).map(|name| format!("group:{name}")));
        for gid in owner.groups {
            values.push(format!("supplementary_gid:{gid}"));
            values.extend(groups.get(&gid).map(|name| format!("supplementary_group:{name}")));
        }
        if config.discover_workload_path {
            values.push(format!("path:{}", process.exe_path()?));
            // Less than 0 leaves the digest out.
            if let Ok(limit) = u64::try_from(config.workload_size_limit) {
                values.push(format!("sha256:{}", executable_digest(config, &process, workload, limit)?));
            }
        }
        workload.check()?;
        Ok(values)
    }
}

/// The SHA-256 of the executable in lowercase hexadecimal; of at most `limit` bytes, any number when 0.
fn executable_digest(
    config: &UnixConfig,
    process: &ProcDir<'_>,
    workload: &Workload,
    limit: u64,
) -> Result<String, ProcessError> {
    let io = |source| process.io("SHA256 digest", source);
    let mut file = process.exe_file()?;
    let too_large = |size| ProcessError::TooLarge {
        path: config.proc_root.join(workload.pid().to_string()).join("exe").display().to_string(),
        size,
        limit,
    };
    let size = file.metadata().map_err(io)?.len();
    if limit > 0 && size > limit {
        return Err(too_large(size));
    }
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0u64;
    loop {
        let read = file.read(&mut chunk).map_err(io)?;
        digest.update(chunk.get(..read).unwrap_or_default());
        total = total.saturating_add(read as u64);
        if read == 0 {
            return Ok(hex(digest.finish().as_ref()));
        }
        // The file may grow while it is read, and the caller may tire of waiting.
        if limit > 0 && total > limit {
            return Err(too_large(total));
        }
        workload.check()?;
    }
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Read at once; between two reads the caller's life is checked.
const CHUNK_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process};

    use super::*;

    fn values(selectors: Vec<Selector>) -> Vec<String> {
        selectors.into_iter().map(|selector| selector.to_string()).collect()
    }

    /// A made-up `/proc` with one process, 42, running the file `exe`.
    fn proc_with(status: &str, exe: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path().join("42");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("status"), status).unwrap();
        fs::write(dir.path().join("app"), exe).unwrap();
        symlink(dir.path().join("app"), process.join("exe")).unwrap();
        dir
    }

    fn attestor(dir: &tempfile::TempDir, discover: bool, limit: i64) -> UnixAttestor {
        UnixAttestor::new(UnixConfig {
            discover_workload_path: discover,
            workload_size_limit: limit,
            proc_root: dir.path().to_owned(),
        })
    }

    const STATUS: &str = "Name:\tapp\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0 4294967290\n";

    fn alive() -> Workload {
        Workload::new(42, Arc::new(|| true))
    }

    #[tokio::test]
    async fn selectors_come_in_the_documented_order() {
        let dir = proc_with(STATUS, b"abc");
        let selectors = attestor(&dir, true, 3).attest(&alive()).await.unwrap();
        let path = format!("unix:path:{}", dir.path().join("app").display());
        let expected = [
            "unix:uid:0",
            "unix:user:root",
            "unix:gid:0",
            "unix:group:root",
            "unix:supplementary_gid:0",
            "unix:supplementary_group:root",
            "unix:supplementary_gid:4294967290",
            &path,
            "unix:sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ];
        assert_eq!(values(selectors), expected);
    }

    #[tokio::test]
    async fn a_negative_limit_leaves_only_the_digest_out() {
        let dir = proc_with(STATUS, b"abc");
        let values = values(attestor(&dir, true, -1).attest(&alive()).await.unwrap());
        assert!(values.iter().any(|value| value.starts_with("unix:path:")));
        assert!(!values.iter().any(|value| value.starts_with("unix:sha256:")));
    }

    #[tokio::test]
    async fn an_executable_over_the_limit_fails_the_attestation() {
        let dir = proc_with(STATUS, b"abcd");
        let error = attestor(&dir, true, 3).attest(&alive()).await.unwrap_err();
        let path = dir.path().join("42/exe");
        assert_eq!(error.to_string(), format!("SHA256 digest: workload {} exceeds size limit (4 > 3)", path.display()));
    }

    #[tokio::test]
    async fn the_path_is_not_looked_at_unless_asked_for() {
        let dir = proc_with(STATUS, b"abc");
        fs::remove_file(dir.path().join("42/exe")).unwrap();
        attestor(&dir, false, 0).attest(&alive()).await.unwrap();
        assert!(attestor(&dir, true, 0).attest(&alive()).await.is_err());
    }

    #[tokio::test]
    async fn a_process_of_the_same_number_is_not_taken_for_the_caller() {
        let dir = proc_with(STATUS, b"abc");
        let reused = Workload::new(42, Arc::new(|| false));
        let error = attestor(&dir, false, 0).attest(&reused).await.unwrap_err();
        assert!(matches!(error, Error::Process(ProcessError::Gone { pid: 42 })), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_ends_while_it_is_looked_at_is_not_reported() {
        let dir = proc_with(STATUS, b"abc");
        let asked = std::sync::atomic::AtomicU32::new(0);
        let ends = move || asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let workload = Workload::new(42, Arc::new(ends));
        assert!(attestor(&dir, true, 0).attest(&workload).await.is_err());
    }

    #[tokio::test]
    async fn this_process_is_found() {
        let attestor = UnixAttestor::new(UnixConfig { discover_workload_path: true, ..UnixConfig::default() });
        let workload = Workload::new(process::id(), Arc::new(|| true));
        let values = values(attestor.attest(&workload).await.unwrap());
        let uid = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
        assert_eq!(values.first(), Some(&uid));
        let exe = format!("unix:path:{}", std::env::current_exe().unwrap().display());
        assert!(values.contains(&exe), "{values:?}");
    }

    #[tokio::test]
    async fn an_unknown_process_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(attestor(&dir, false, 0).attest(&alive()).await.is_err());
    }
}
