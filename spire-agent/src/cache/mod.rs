//! What the agent holds for its workloads.

mod update;

pub use update::{Counts, JwtSvid, WorkloadIdentity, WorkloadUpdate};
