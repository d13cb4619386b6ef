//! Selectors: what attestation finds out about a node or workload, as `type:value`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One fact, e.g. `unix:uid:1000`: the type `unix`, the value `uid:1000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// What found it out. Never empty, never with a colon.
    pub kind: String,
    /// What was found. Never empty.
    pub value: String,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSelector {
    /// There is no colon.
    #[error("selector {text:?} must be formatted as type:value")]
    NoColon {
        /// What was written.
        text: String,
    },
    /// The type is empty.
    #[error("missing selector type")]
    NoType,
    /// The value is empty.
    #[error("missing selector value")]
    NoValue,
    /// The type has a colon.
    #[error("selector type contains ':'")]
    ColonInType,
}

impl Selector {
    /// Puts type and value together.
    ///
    /// # Errors
    /// [`InvalidSelector`] when one is empty or the type has a colon.
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Result<Self, InvalidSelector> {
        let (kind, value) = (kind.into(), value.into());
        if kind.is_empty() {
            Err(InvalidSelector::NoType)
        } else if kind.contains(':') {
            Err(InvalidSelector::ColonInType)
        } else if value.is_empty() {
            Err(InvalidSelector::NoValue)
        } else {
            Ok(Self { kind, value })
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let (kind, value) = text.split_once(':').ok_or_else(|| InvalidSelector::NoColon { text: text.to_owned() })?;
        Self::new(kind, value)
    }
}

/// How the set that is asked for (R) and the set at hand (E) must relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchBehavior {
    /// E = R
    Exact,
    /// E ⊆ R, with something in common
    Subset,
    /// E ⊇ R
    Superset,
    /// something in common
    Any,
}

impl MatchBehavior {
    /// Judges the set at hand against the one asked for.
    #[must_use]
    pub fn matches<T: Ord>(self, asked: &BTreeSet<T>, at_hand: &BTreeSet<T>) -> bool {
        match self {
            Self::Exact => at_hand == asked,
            Self::Subset => !at_hand.is_empty() && at_hand.is_subset(asked),
            Self::Superset => at_hand.is_superset(asked),
            Self::Any => !at_hand.is_disjoint(asked),
        }
    }
}

/// Selectors asked for, and how they must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorMatch {
    /// The set asked for.
    pub selectors: Vec<Selector>,
    /// How it must match.
    pub behavior: MatchBehavior,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_colon_parts_type_and_value() {
        let selector: Selector = "unix:uid:1000".parse().unwrap();
        assert_eq!((selector.kind.as_str(), selector.value.as_str()), ("unix", "uid:1000"));
    }

    #[test]
    fn incomplete_selectors_are_refused() {
        assert!(matches!("unix".parse::<Selector>(), Err(InvalidSelector::NoColon { .. })));
        assert_eq!(":x".parse::<Selector>(), Err(InvalidSelector::NoType));
        assert_eq!("unix:".parse::<Selector>(), Err(InvalidSelector::NoValue));
        assert_eq!(Selector::new("a:b", "c"), Err(InvalidSelector::ColonInType));
    }

    #[test]
    fn the_four_behaviours_are_those_of_set_theory() {
        let set = |members: &[u8]| members.iter().copied().collect::<BTreeSet<_>>();
        let judge = |asked: &[u8], at_hand: &[u8]| {
            [MatchBehavior::Exact, MatchBehavior::Subset, MatchBehavior::Superset, MatchBehavior::Any]
                .map(|behavior| behavior.matches(&set(asked), &set(at_hand)))
        };
        assert_eq!(judge(&[1, 2], &[1, 2]), [true, true, true, true]);
        assert_eq!(judge(&[1, 2], &[1]), [false, true, false, true]);
        assert_eq!(judge(&[1], &[1, 2]), [false, false, true, true]);
        assert_eq!(judge(&[1, 2], &[2, 3]), [false, false, false, true]);
        assert_eq!(judge(&[1], &[2]), [false, false, false, false]);
        assert_eq!(judge(&[1], &[]), [false, false, false, false]);
    }

    proptest! {
        #[test]
        fn what_parses_prints_back(text in "[a-z_]{0,4}:?[a-z:/]{0,8}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string(), text);
            }
        }
    }
}
