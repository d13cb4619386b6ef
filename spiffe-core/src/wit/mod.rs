//! WIT-SVIDs: tokens that are worth nothing without a proof by the key they name.
//!
//! A token that verifies is an [`UnprovenWit`], and becomes a [`WitSvid`] by [`UnprovenWit::prove`] alone. It is no
//! bearer token: [`presentation`] hands out the two headers it travels in, over secure channels only.
//!
//! Standard: WIT-SVID, incubating, as of revision 665a28f3; the proof is WIMSE's Workload Proof Token.

mod confirmation;
mod error;
mod proof;
mod svid;

pub use error::WitError;
pub use proof::{MAX_PROOF_LIFETIME, WitSvid, presentation};
pub use svid::{MAX_LEEWAY, UnprovenWit};
