//! Every vector of `conformance/` against this library, with the provider that it is built with; the requirements of the
//! standards by their IDs; what went wrong in other libraries; and what independent libraries say.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod differential;
mod regressions;
mod requirements;
mod runner;

use std::collections::BTreeSet;

#[test]
fn every_vector_has_its_verdict_and_its_clause() {
    for (kind, judge) in runner::KINDS {
        let vectors = runner::load(kind);
        let ids: BTreeSet<&str> = vectors.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), vectors.len(), "an ID of {kind} stands twice");
        let wrong: Vec<String> = vectors.iter().filter_map(|vector| runner::wrong(*judge, vector)).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
        println!("{kind}: {} vectors", vectors.len());
    }
}
