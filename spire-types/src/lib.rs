//! SPIRE's nouns as plain types: what servers store and agents are told.
//!
//! Owns their fields and the rules each keeps by itself. Does no I/O, knows no clock and no wire format.
//! Start at [`Selector`] and [`ErrorKind`].
//! No standard: the types follow SPIRE 1.15.
#![forbid(unsafe_code)]

mod kind;
mod selector;

pub use kind::ErrorKind;
pub use selector::{Selector, SelectorError};
