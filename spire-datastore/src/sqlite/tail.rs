//! The last changes that this process has made, as they came to be: whoever follows the log need not read them again.

use std::collections::{HashSet, VecDeque};

use spiffe_core::SpiffeId;
use spire_types::EntryId;

use crate::{Change, Changes, Revision};

/// Changes that are kept for whoever follows; who is further behind reads the database.
const LENGTH: usize = 4096;

/// Changes by revision, oldest first. Some may be missing: those of other processes, and of writes that do not tell.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<(Revision, Change)>);

impl Tail {
    /// Adds changes that have been committed, in the order of their revisions.
    pub(super) fn extend(&mut self, changes: impl IntoIterator<Item = (Revision, Change)>) {
        self.0.extend(changes);
        let surplus = self.0.len().saturating_sub(LENGTH);
        self.0.drain(..surplus);
    }

    /// What has changed since a revision, if nothing is missing in between. Gives it away.
    pub(super) fn take_since(&mut self, since: Revision) -> Option<Changes> {
        while self.0.front().is_some_and(|(revision, _)| *revision <= since) {
            self.0.pop_front();
        }
        let (newest, _) = self.0.back()?;
        let newest = *newest;
        if newest.0.checked_sub(since.0)? != self.0.len() as u64 {
            return None;
        }
        let taken = Vec::from(std::mem::take(&mut self.0));
        Some(Changes::Since(newest, last_of_each(taken)))
    }
}

/// Each thing once, as it is after its last change.
fn last_of_each(changes: Vec<(Revision, Change)>) -> Vec<Change> {
    let mut seen: HashSet<Key> = HashSet::with_capacity(changes.len());
    let mut last: Vec<Change> = Vec::with_capacity(changes.len());
    for (_, change) in changes.into_iter().rev() {
        if seen.insert(Key::of(&change)) {
            last.push(change);
        }
    }
    last.reverse();
    last
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Entry(EntryId),
    Node(SpiffeId),
    Bundle(String),
    Relationship(String),
}

impl Key {
    fn of(change: &Change) -> Self {
        match change {
            Change::Entry(id, _) => Self::Entry(id.clone()),
            Change::Node(id, _) => Self::Node(id.clone()),
            Change::Bundle(name, _) => Self::Bundle(name.to_string()),
            Change::Relationship(name, _) => Self::Relationship(name.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, id: &str) -> (Revision, Change) {
        (Revision(revision), Change::Entry(EntryId::parse(id).unwrap(), None))
    }

    fn ids(changes: Option<Changes>) -> Option<(u64, Vec<String>)> {
        let Changes::Since(newest, changes) = changes? else { panic!("never too old") };
        let id = |change| match change {
            Change::Entry(id, _) => id.to_string(),
            other => panic!("{other:?}"),
        };
        Some((newest.0, changes.into_iter().map(id).collect()))
    }

    fn tail(changes: &[(u64, &str)]) -> Tail {
        let mut tail = Tail::default();
        tail.extend(changes.iter().map(|(revision, id)| change(*revision, id)));
        tail
    }

    #[test]
    fn each_thing_comes_once_in_the_order_of_its_last_change() {
        let mut tail = tail(&[(3, "a"), (4, "b"), (5, "a"), (6, "c")]);
        let expected = vec!["b".to_owned(), "a".to_owned(), "c".to_owned()];
        assert_eq!(ids(tail.take_since(Revision(2))), Some((6, expected)));
        assert_eq!(ids(tail.take_since(Revision(2))), None, "it is given once");
    }

    #[test]
    fn nothing_is_told_where_something_is_missing() {
        let changes = [(3, "a"), (4, "b"), (6, "c")];
        assert_eq!(ids(tail(&changes).take_since(Revision(2))), None, "5 is another's");
        assert_eq!(ids(tail(&changes).take_since(Revision(1))), None, "2 is another's");
        assert_eq!(ids(tail(&changes).take_since(Revision(5))), Some((6, vec!["c".to_owned()])));
        assert_eq!(ids(tail(&changes).take_since(Revision(6))), None, "nothing new");
        assert_eq!(ids(tail(&changes).take_since(Revision(9))), None, "a database that was put back");
    }

    #[test]
    fn the_oldest_go_when_nobody_asks() {
        let mut tail = Tail::default();
        let last = LENGTH as u64 + 10;
        tail.extend((1..=last).map(|revision| change(revision, "a")));
        assert_eq!(tail.0.len(), LENGTH);
        assert_eq!(ids(tail.take_since(Revision(0))), None);
        assert!(ids(tail.take_since(Revision(10))).is_some());
    }
}
