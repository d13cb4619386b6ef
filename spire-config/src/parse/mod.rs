//! The two syntaxes, to the same items.

mod cursor;
mod hcl;
mod json;
mod string;

use crate::document::Position;

pub(crate) use hcl::hcl;
pub(crate) use json::json;

/// Deepest nesting of blocks and lists.
pub const MAX_DEPTH: usize = 64;

/// Where and why parsing ended.
type Failure = (Position, String);
