//! Bundles: the own one and those of other trust domains.
