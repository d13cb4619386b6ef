//! Configuration files as SPIRE writes them: HCL 1, or JSON, decoded into typed values.
//!
//! Owns the syntax with its positions, durations, environment variables, and the report of everything that is wrong with
//! a file. Of keys it knows those around a plugin alone: the others belong to `spire-server` and `spire-agent`. Start at [`Document::parse`]
//! and [`Block`].
//! Standard: HCL 1 as `hashicorp/hcl` v1 reads it; where that drops something silently, it is an error here.

#![forbid(unsafe_code)]

mod block;
mod document;
mod duration;
mod error;
mod expand;
mod parse;
mod plugins;
mod report;

pub use block::Block;
pub use document::{Document, Item, Key, MAX_FILE_SIZE, Position, Value, ValueKind, read_file};
pub use duration::{parse_duration, parse_ttl};
pub use error::{DurationError, Error, Problem};
pub use expand::{Variables, expand_env};
pub use parse::MAX_DEPTH;
pub use plugins::each_plugin;
pub use report::Report;
