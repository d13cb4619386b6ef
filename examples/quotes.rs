//! The quotes service as `proto/quotes.proto` defines it; each program needs one end of it.
#![allow(dead_code, clippy::all, missing_docs, unused_qualifications, unreachable_pub, reason = "generated code")]
#![allow(clippy::pedantic, clippy::missing_errors_doc, clippy::indexing_slicing, reason = "generated code")]
#![allow(clippy::allow_attributes_without_reason, clippy::wildcard_imports, reason = "generated code")]
#![allow(clippy::needless_pass_by_value, clippy::semicolon_if_nothing_returned, reason = "generated code")]

include!("src/gen/stockmarket.quotes.v1.rs");
