//! What the agent keeps across restarts: SPIRE's `agent-data.json`.
//!
//! Chains stand in it as base64 of PEM, one certificate each. The file is replaced as a whole and durable when a change
//! is answered; its mode is 0600.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use spiffe_core::x509::Certificate;

use crate::error::Error;

/// The file in `data_dir`.
pub const DATA_FILE_NAME: &str = "agent-data.json";
/// How Go writes "no time".
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentData {
    /// The agent's own SVID, leaf first; its key is in the key manager.
    pub svid: Option<Vec<Certificate>>,
    /// The roots that the server is verified with.
    pub bundle: Option<Vec<Certificate>>,
    /// Whether the agent may attest again.
    pub reattestable: bool,
    /// 0: not known, 1: never had a bundle, 2: had one.
    pub bootstrap_use: u8,
    /// When distrust of the server began, as RFC 3339; year 1 for "not".
    pub bootstrap_start_time: String,
    /// How often a bundle was asked for since.
    pub connection_attempts: u64,
}

impl Default for AgentData {
    fn default() -> Self {
        Self {
            svid: None,
            bundle: None,
            reattestable: false,
            bootstrap_use: 0,
            bootstrap_start_time: NO_TIME.to_owned(),
            connection_attempts: 0,
        }
    }
}

/// The file, and what stands in it. Clones share it.
#[derive(Clone, Debug)]
pub struct Storage {
    path: PathBuf,
    data: Arc<Mutex<AgentData>>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Storage {
    /// Opens the file in `directory`, which is made where it is missing; a missing file is empty.
    ///
    /// # Errors
    /// [`Error::Storage`] when it cannot be read or is malformed.
    pub async fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(DATA_FILE_NAME);
        let data = blocking(path.clone(), move |path| {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).map_err(|err| format!("failed to create its directory: {err}"))?;
            }
            match fs::read(path) {
                Ok(text) => parse(&text),
                Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(AgentData::default()),
                Err(err) => Err(err.to_string()),
            }
        })
        .await?;
        Ok(Self { path, data: Arc::new(Mutex::new(data)), writing: Arc::default() })
    }

    /// What is kept at the moment.
    #[must_use]
    pub fn data(&self) -> AgentData {
        self.data.lock().clone()
    }

    /// Changes what is kept; durable when it returns.
    ///
    /// # Errors
    /// [`Error::Storage`] when it cannot be written; nothing has changed then.
    pub async fn update(&self, change: impl FnOnce(&mut AgentData)) -> Result<(), Error> {
        let _writing = self.writing.lock().await;
        let mut data = self.data();
        change(&mut data);
        if data == *self.data.lock() {
            return Ok(());
        }
        let text = serialize(&data).map_err(|reason| Error::Storage { path: self.path.clone(), reason })?;
        blocking(self.path.clone(), move |path| write(path, &text).map_err(|err| err.to_string())).await?;
        *self.data.lock() = data;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    let copy = path.clone();
    let outcome = tokio::task::spawn_blocking(move || work(&copy)).await.map_err(|err| err.to_string());
    outcome.and_then(|outcome| outcome).map_err(|reason| Error::Storage { path, reason })
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("json.tmp");
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The new name is durable only once its directory is.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    svid: Option<Vec<String>>,
    #[serde(default)]
    bundle: Option<Vec<String>>,
    #[serde(default)]
    reattestable: bool,
    #[serde(default)]
    bootstrap_use: u8,
    #[serde(default = "no_time")]
    bootstrap_start_time: String,
    #[serde(default)]
    connection_attempts: u64,
}

fn no_time() -> String {
    NO_TIME.to_owned()
}

fn parse(text: &[u8]) -> Result<AgentData, String> {
    let stored: Stored = serde_json::from_slice(text).map_err(|err| format!("failed to unmarshal data: {err}"))?;
    Ok(AgentData {
        svid: stored.svid.map(|chain| certificates(&chain)).transpose()?.filter(|chain| !chain.is_empty()),
        bundle: stored.bundle.map(|chain| certificates(&chain)).transpose()?.filter(|chain| !chain.is_empty()),
        reattestable: stored.reattestable,
        bootstrap_use: stored.bootstrap_use,
        bootstrap_start_time: stored.bootstrap_start_time,
        connection_attempts: stored.connection_attempts,
    })
}

fn certificates(encoded: &[String]) -> Result<Vec<Certificate>, String> {
    let mut certificates = Vec::with_capacity(encoded.len());
    for text in encoded {
        let pem = STANDARD.decode(text).map_err(|err| format!("certificate is no base64: {err}"))?;
        let pem = String::from_utf8(pem).map_err(|_| "certificate is no PEM".to_owned())?;
        certificates
            .extend(Certificate::from_pem_many(&pem).map_err(|err| format!("failed to parse certificate: {err}"))?);
    }
    Ok(certificates)
}

fn serialize(data: &AgentData) -> Result<Vec<u8>, String> {
    let encode =
        |chain: &Vec<Certificate>| chain.iter().map(|certificate| STANDARD.encode(certificate.to_pem())).collect();
    let stored = Stored {
        svid: data.svid.as_ref().map(encode),
        bundle: data.bundle.as_ref().map(encode),
        reattestable: data.reattestable,
        bootstrap_use: data.bootstrap_use,
        bootstrap_start_time: data.bootstrap_start_time.clone(),
        connection_attempts: data.connection_attempts,
    };
    serde_json::to_vec(&stored).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use spiffe_core::testing::TestAuthority;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("made");
        let storage = Storage::open(&data_dir).await.unwrap();
        assert_eq!(storage.data(), AgentData::default());
        let authority = TestAuthority::new("example.org");
        let chain = authority.svid("/spire/agent/x").chain().to_vec();
        storage
            .update(|data| {
                data.svid = Some(chain.clone());
                data.bundle = Some(vec![authority.root().clone()]);
                data.reattestable = true;
            })
            .await
            .unwrap();
        let again = Storage::open(&data_dir).await.unwrap().data();
        assert_eq!(again, storage.data());
        assert_eq!(again.svid.unwrap(), chain);
        let mode = fs::metadata(data_dir.join(DATA_FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_fields_are_those_of_spire_in_their_order() {
        let text = serialize(&AgentData::default()).unwrap();
        let expected = r#"{"svid":null,"bundle":null,"reattestable":false,"bootstrap_use":0,"bootstrap_start_time":"0001-01-01T00:00:00Z","connection_attempts":0}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(parse(br#"{"svid":[],"later":1}"#).unwrap(), AgentData::default());
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        for damaged in ["{", r#"{"svid":["!"]}"#, r#"{"bundle":["bm8gcGVt"]}"#] {
            fs::write(directory.path().join(DATA_FILE_NAME), damaged).unwrap();
            let err = Storage::open(directory.path()).await.unwrap_err().to_string();
            assert!(err.contains(DATA_FILE_NAME) && err.starts_with("failed to open storage"), "{err}");
        }
    }
}
