//! Files that only their owner may read, replaced as a whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::Error;

/// What the file holds; `None` where there is none.
pub(super) async fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    blocking(path, |path| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// Replaces what the file holds; its directory is made where it is missing.
pub(super) async fn write(path: &Path, text: Zeroizing<String>) -> Result<(), Error> {
    blocking(path, move |path| {
        let directory = path.parent().unwrap_or(Path::new("."));
        private_directory().create(directory)?;
        let beside = path.with_added_extension("tmp");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private_file().open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let owned = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await.unwrap_or_else(|lost| Err(lost.into()));
    done.map_err(|error| Error::ServingCertificate { path: PathBuf::from(path), reason: error.to_string() })
}

fn private_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
