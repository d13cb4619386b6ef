//! The last steps of the index: what each one touched, and how the registry stood after it.

use std::collections::VecDeque;
use std::sync::Arc;

use spiffe_core::SpiffeId;
use spire_datastore::Change;
use spire_types::{EntryId, Revision};

use super::EntryIndex;

/// Steps that are remembered; whoever is further behind compares everything.
const LENGTH: usize = 256;

/// One step of the index.
#[derive(Debug)]
pub struct Step {
    /// The revision before.
    pub from: Revision,
    /// The index after.
    pub after: Arc<EntryIndex>,
    /// What is different.
    pub touched: Touched,
}

/// What a step touched.
#[derive(Debug)]
pub enum Touched {
    /// Only these things, and no entry that decides who gets other entries.
    These {
        /// Entries that were made, changed or deleted.
        entries: Vec<EntryId>,
        /// Agents whose record is different.
        nodes: Vec<SpiffeId>,
        /// Whether a bundle is different.
        bundles: bool,
    },
    /// Whatever there is.
    Everything,
}

/// What changes touch, whatever it is to others.
#[derive(Debug, Default)]
pub(super) struct Touches {
    entries: Vec<EntryId>,
    nodes: Vec<SpiffeId>,
    bundles: bool,
}

impl Touches {
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut touches = Self::default();
        for change in changes {
            match change {
                Change::Entry(id, _) => touches.entries.push(id.clone()),
                Change::Node(id, _) => touches.nodes.push(id.clone()),
                Change::Bundle(..) => touches.bundles = true,
                Change::Relationship(..) => {}
            }
        }
        touches
    }

    /// What they touch between two indexes.
    pub(super) fn between(self, before: &EntryIndex, after: &EntryIndex) -> Touched {
        let Self { entries, nodes, bundles } = self;
        if entries.iter().any(|id| before.gives_others(id) || after.gives_others(id)) {
            return Touched::Everything;
        }
        Touched::These { entries, nodes, bundles }
    }
}

/// The last steps, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Arc<Step>>);

impl History {
    pub(super) fn push(&mut self, step: Step) {
        if self.0.len() == LENGTH {
            self.0.pop_front();
        }
        self.0.push_back(Arc::new(step));
    }

    /// The steps that lead on from `revision`, if it is remembered.
    pub(super) fn since(&self, revision: Revision) -> Option<Vec<Arc<Step>>> {
        let first = self.0.iter().position(|step| step.from == revision)?;
        Some(self.0.iter().skip(first).cloned().collect())
    }

    /// The index at `revision`, if it is remembered.
    pub(super) fn at(&self, revision: Revision) -> Option<Arc<EntryIndex>> {
        self.0.iter().rev().map(|step| &step.after).find(|index| index.revision() == revision).cloned()
    }
}
