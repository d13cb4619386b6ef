//! Keys in a file: SPIRE's `keys.json`.
//!
//! `{"keys": {"x509-CA-A": "<base64 of the PKCS#8 DER>"}}`, indented with tabs as Go does.
//!
//! The file is replaced as a whole: written beside, flushed, renamed, and the directory flushed. Its mode is 0600.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spiffe_core::{KeyType, PrivateKey};
use zeroize::Zeroizing;

use crate::memory::Keys;
use crate::{Error, KeyId, KeyManager, Signer};

/// The name of the file in an agent's directory of keys.
pub const KEYS_FILE_NAME: &str = "keys.json";
/// Longest file that is read, in bytes: thousands of keys.
pub(crate) const MAX_FILE_LENGTH: u64 = 16 << 20;

/// Keeps keys in a file in SPIRE's format, and in memory for signing.
#[derive(Debug)]
pub struct DiskKeyManager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    keys: Keys,
    /// Held while the file is rewritten, by a thread that may block.
    writing: Mutex<()>,
}

impl DiskKeyManager {
    /// Loads the keys in the file at `path` (the server's `keys_path`); a file that is missing holds none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileTooLarge`], [`Error::MalformedFile`], [`Error::UnusableKey`]: a key that cannot be
    /// loaded is an error and not a missing one, because a new one would take its place.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        blocking(move || {
            let keys = Keys::default();
            keys.replace(read(&path)?);
            Ok(Self { shared: Arc::new(Shared { path, keys, writing: Mutex::new(()) }) })
        })
        .await
    }

    /// Loads the keys in [`KEYS_FILE_NAME`] of `directory` (the agent's `directory`), which is made, with mode 0700,
    /// where it is missing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_in(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        let path = directory.join(KEYS_FILE_NAME);
        blocking(move || make_directory(&directory)).await?;
        Self::open(path).await
    }
}

#[async_trait]
impl KeyManager for DiskKeyManager {
    async fn generate_key(&self, id: &KeyId, key_type: KeyType) -> Result<Arc<dyn Signer>, Error> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        // One closure does all of it, so that a caller who stops waiting leaves file and memory in agreement.
        blocking(move || {
            let key = PrivateKey::generate(key_type)?;
            let _writing = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keys = shared.keys.copy();
            keys.insert(id, key.clone());
            write(&shared.path, &keys)?;
            shared.keys.replace(keys);
            Ok(Arc::new(key) as Arc<dyn Signer>)
        })
        .await
    }

    async fn get_key(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, Error> {
        Ok(self.shared.keys.get(id))
    }

    async fn keys(&self) -> Result<Vec<(KeyId, Arc<dyn Signer>)>, Error> {
        Ok(self.shared.keys.all())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(err) => Err(Error::Unavailable { reason: err.to_string() }),
    }
}

#[derive(Deserialize)]
struct StoredKeys {
    #[serde(default)]
    keys: BTreeMap<String, Zeroizing<String>>,
}

#[derive(Serialize)]
struct KeysToStore<'a> {
    keys: BTreeMap<&'a str, Zeroizing<String>>,
}

fn read(path: &Path) -> Result<BTreeMap<KeyId, PrivateKey>, Error> {
    let failed = |source| Error::Io { attempt: "read keys file", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(err) => return Err(failed(err)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > MAX_FILE_LENGTH {
        return Err(Error::FileTooLarge { path: path.to_owned(), length: metadata.len() });
    }
    warn_of_readers(path, &metadata);
    let capacity = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_FILE_LENGTH).read_to_end(&mut text).map_err(failed)?;

    let malformed = |reason: String| Error::MalformedFile { path: path.to_owned(), reason };
    let stored: StoredKeys = serde_json::from_slice(&text)
        .map_err(|err| malformed(format!("no JSON of keys at line {}, column {}", err.line(), err.column())))?;
    let mut keys = BTreeMap::new();
    for (name, encoded) in &stored.keys {
        let id = KeyId::new(name)?;
        let der = STANDARD
            .decode(encoded.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| malformed(format!("key {name:?} is no base64")))?;
        let key = PrivateKey::from_pkcs8_der(&der).map_err(|source| Error::UnusableKey {
            path: path.to_owned(),
            id: id.clone(),
            source,
        })?;
        keys.insert(id, key);
    }
    Ok(keys)
}

fn write(path: &Path, keys: &BTreeMap<KeyId, PrivateKey>) -> Result<(), Error> {
    let stored = KeysToStore {
        keys: keys
            .iter()
            .map(|(id, key)| (id.as_str(), Zeroizing::new(STANDARD.encode(key.to_pkcs8_der().as_slice()))))
            .collect(),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(stored.keys.len().saturating_mul(4096).saturating_add(64)));
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    stored
        .serialize(&mut serde_json::Serializer::with_formatter(&mut *text, formatter))
        .map_err(|err| Error::MalformedFile { path: path.to_owned(), reason: err.to_string() })?;

    let beside = beside(path);
    replace(path, &beside, &text).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn replace(path: &Path, beside: &Path, text: &[u8]) -> Result<(), Error> {
    let failed = |attempt| {
        let path = path.to_owned();
        move |source| Error::Io { attempt, path, source }
    };
    match fs::remove_file(beside) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(failed("replace keys file")(err)),
        _ => {}
    }
    let mut file = private_file().open(beside).map_err(failed("write keys file"))?;
    file.write_all(text).map_err(failed("write keys file"))?;
    file.sync_all().map_err(failed("flush keys file"))?;
    fs::rename(beside, path).map_err(failed("replace keys file"))?;
    // The new name is durable only once its directory is.
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("flush the directory of keys file"))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

fn make_directory(directory: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|source| Error::Io {
        attempt: "create directory of keys",
        path: directory.to_owned(),
        source,
    })
}

/// Others may have been let in on purpose, so it is a warning and no error.
fn warn_of_readers(path: &Path, metadata: &fs::Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = %format_args!("{mode:04o}"), "keys file is open to others");
        }
    }
    #[cfg(not(unix))]
    let _ = (path, metadata);
}

#[cfg(test)]
mod tests;
