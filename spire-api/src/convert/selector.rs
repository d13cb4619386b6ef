//! Selectors and selector matches.

use spire_types::{MatchBehavior, Selector, SelectorMatch};

use super::ConvertError;
use crate::proto::types;
use crate::proto::types::selector_match::MatchBehavior as Wire;

/// One selector.
///
/// # Errors
/// When type or value is missing or malformed.
pub fn from_proto(selector: &types::Selector) -> Result<Selector, ConvertError> {
    Selector::new(&selector.r#type, &selector.value).map_err(|err| ConvertError::new(err.to_string()))
}

/// Several selectors.
///
/// # Errors
/// As [`from_proto`].
pub fn many_from_proto(selectors: &[types::Selector]) -> Result<Vec<Selector>, ConvertError> {
    selectors.iter().map(from_proto).collect()
}

/// To the wire.
#[must_use]
pub fn to_proto(selector: &Selector) -> types::Selector {
    types::Selector { r#type: selector.kind.clone(), value: selector.value.clone() }
}

/// Selectors asked for, and how they must match.
///
/// # Errors
/// As [`from_proto`], and for an unknown behaviour.
pub fn match_from_proto(asked: &types::SelectorMatch) -> Result<SelectorMatch, ConvertError> {
    let behavior = match Wire::try_from(asked.r#match) {
        Ok(Wire::MatchExact) => MatchBehavior::Exact,
        Ok(Wire::MatchSubset) => MatchBehavior::Subset,
        Ok(Wire::MatchSuperset) => MatchBehavior::Superset,
        Ok(Wire::MatchAny) => MatchBehavior::Any,
        Err(_) => return Err(ConvertError::new("unknown match behavior")),
    };
    Ok(SelectorMatch { selectors: many_from_proto(&asked.selectors)?, behavior })
}

/// To the wire.
#[must_use]
pub fn match_to_proto(asked: &SelectorMatch) -> types::SelectorMatch {
    let behavior = match asked.behavior {
        MatchBehavior::Exact => Wire::MatchExact,
        MatchBehavior::Subset => Wire::MatchSubset,
        MatchBehavior::Superset => Wire::MatchSuperset,
        MatchBehavior::Any => Wire::MatchAny,
    };
    types::SelectorMatch { selectors: asked.selectors.iter().map(to_proto).collect(), r#match: behavior.into() }
}
