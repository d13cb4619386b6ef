//! Names of keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;

/// The name of a key within its manager, such as `x509-CA-A`; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Longest name in bytes.
    pub const MAX_LENGTH: usize = 256;

    /// Takes a name of 1 to [`Self::MAX_LENGTH`] bytes.
    ///
    /// # Errors
    /// [`Error::KeyIdLength`] for any other.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > Self::MAX_LENGTH {
            return Err(Error::KeyIdLength { length: name.len() });
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::new(name)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_empty_nor_endless() {
        assert!(KeyId::new("x509-CA-A").is_ok());
        assert!(matches!(KeyId::new(""), Err(Error::KeyIdLength { length: 0 })));
        assert!(KeyId::new(&"a".repeat(KeyId::MAX_LENGTH + 1)).is_err());
    }
}
