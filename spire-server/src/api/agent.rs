//! Agents: attestation, renewal, and their records.
