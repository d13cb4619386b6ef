//! Selectors: single facts about a node or a process.

use std::{fmt, str::FromStr};

/// One fact that an attestor found or an entry asks for, written `type:value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// Who states it, the attestor's name: `unix`. Without a colon.
    pub kind: String,
    /// The fact: `uid:1000`. May hold colons.
    pub value: String,
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// No colon, or nothing before it.
    #[error("selector {0:?} must be formatted as type:value")]
    NoType(String),
    /// Nothing behind the colon.
    #[error("selector {0:?} has no value")]
    NoValue(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None | Some(("", _)) => Err(SelectorError::NoType(text.to_owned())),
            Some((_, "")) => Err(SelectorError::NoValue(text.to_owned())),
            Some((kind, value)) => Ok(Self { kind: kind.to_owned(), value: value.to_owned() }),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_type() {
        let selector: Selector = "k8s:pod-label:app:web".parse().unwrap();
        assert_eq!((selector.kind.as_str(), selector.value.as_str()), ("k8s", "pod-label:app:web"));
        assert_eq!(selector.to_string(), "k8s:pod-label:app:web");
    }

    #[test]
    fn a_selector_has_both_parts() {
        for text in ["", ":", "unix", "unix:", ":uid"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
