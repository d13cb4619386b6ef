//! Benches of the hot paths, each beside the raw operation that it cannot beat. How to read them: `README.md` here.

#![forbid(unsafe_code)]
