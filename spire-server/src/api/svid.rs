//! SVIDs: for agents' workloads, for downstream servers, and by hand.
