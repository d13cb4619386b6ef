//! Where cryptography comes from: AWS-LC where its feature is on, else ring, else nowhere.
//!
//! Chosen when the crate is built, called directly, and never installed for the process.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
mod none;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
mod ring;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod shared;

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) use none::{Pair, generate, verify};
#[cfg(all(feature = "wit", any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) use shared::sha256;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
pub(crate) use shared::{Pair, generate, sha1, verify};

/// How the two integers of an ECDSA signature stand: side by side in JOSE, in a SEQUENCE in X.509.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    X509,
    Jose,
}
