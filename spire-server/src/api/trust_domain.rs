//! Federation relationships.
