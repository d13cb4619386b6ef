//! The log level, at run time.
