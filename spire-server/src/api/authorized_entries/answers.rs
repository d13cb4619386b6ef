//! Answers that were given before, encoded, for as long as they hold.
//!
//! An answer holds for one revision of the registry and until the first thing in it ends. The clock is asked each time,
//! so that nothing is given out longer than it would be without this memory.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::{EntryMask, Revision};

/// Bytes of answers that are remembered, about. Those that have not been asked for longest go first.
const CAPACITY: usize = 16 << 20;
/// What an answer takes beside its bytes, about.
const OVERHEAD: usize = 512;

/// One answer to one agent.
#[derive(Debug)]
pub(super) struct Answer {
    /// Of the index that it was read from.
    pub(super) revision: Revision,
    /// When it was read.
    pub(super) since: Timestamp,
    /// From when on it would be another; `None` where no time changes it.
    pub(super) until: Option<Timestamp>,
    /// Encoded messages, one after the other.
    pub(super) messages: Vec<Bytes>,
    /// Whether they hold the entries in full, so that there is nothing more to ask for.
    pub(super) is_whole: bool,
}

impl Answer {
    fn holds(&self, revision: Revision, now: Timestamp) -> bool {
        // A clock that was set back may bring back what had ended.
        self.revision == revision && self.since <= now && self.until.is_none_or(|until| now < until)
    }

    fn size(&self) -> usize {
        OVERHEAD + self.messages.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// GetAuthorizedEntries.
    All(EntryMask),
    /// The first part of SyncAuthorizedEntries.
    Sync(EntryMask),
}

/// The answers, in two generations: what nobody has asked for while the younger one filled up is forgotten.
#[derive(Debug)]
pub(super) struct Answers {
    capacity: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: ByAgent,
    old: ByAgent,
    /// Of the young ones.
    size: usize,
}

/// An agent asks one or two questions, always the same ones.
type ByAgent = HashMap<SpiffeId, Vec<(Question, Arc<Answer>)>>;

impl Default for Answers {
    fn default() -> Self {
        Self { capacity: CAPACITY, generations: Mutex::default() }
    }
}

impl Answers {
    /// The answer that was given before, if it holds.
    pub(super) fn get(
        &self,
        agent: &SpiffeId,
        question: Question,
        revision: Revision,
        now: Timestamp,
    ) -> Option<Arc<Answer>> {
        let mut generations = self.generations.lock();
        let found = find(&generations.young, agent, question);
        let answer = match found {
            Some(answer) => answer,
            None => {
                let answer = find(&generations.old, agent, question)?;
                generations.put(agent, question, Arc::clone(&answer), self.capacity);
                answer
            }
        };
        answer.holds(revision, now).then_some(answer)
    }

    /// Remembers an answer.
    pub(super) fn put(&self, agent: &SpiffeId, question: Question, answer: Arc<Answer>) {
        self.generations.lock().put(agent, question, answer, self.capacity);
    }
}

fn find(answers: &ByAgent, agent: &SpiffeId, question: Question) -> Option<Arc<Answer>> {
    let answers = answers.get(agent)?;
    answers.iter().find(|(asked, _)| *asked == question).map(|(_, answer)| Arc::clone(answer))
}

impl Generations {
    fn put(&mut self, agent: &SpiffeId, question: Question, answer: Arc<Answer>, capacity: usize) {
        let size = answer.size();
        if self.size + size > capacity / 2 {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        if size > capacity / 2 {
            return;
        }
        self.size += size;
        let answers = self.young.entry(agent.clone()).or_default();
        match answers.iter_mut().find(|(asked, _)| *asked == question) {
            Some((_, former)) => {
                self.size = self.size.saturating_sub(former.size());
                *former = answer;
            }
            None => answers.push((question, answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::TrustDomain;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1000);
    const ALL: Question = Question::All(EntryMask::ALL);

    fn agent(number: usize) -> SpiffeId {
        TrustDomain::parse("example.org").unwrap().join(&format!("/spire/agent/{number}")).unwrap()
    }

    fn answer(size: usize, until: Option<i64>) -> Arc<Answer> {
        let until = until.map(Timestamp::from_unix);
        Arc::new(Answer {
            revision: Revision(7),
            since: NOW,
            until,
            messages: vec![vec![0; size].into()],
            is_whole: true,
        })
    }

    #[test]
    fn an_answer_holds_for_its_revision_and_its_time_and_for_what_was_asked() {
        let answers = Answers::default();
        answers.put(&agent(1), ALL, answer(1, Some(1010)));
        let get = |question, revision, now| {
            answers.get(&agent(1), question, Revision(revision), Timestamp::from_unix(now)).is_some()
        };
        assert!(get(ALL, 7, 1000) && get(ALL, 7, 1009));
        assert!(!get(ALL, 7, 1010), "something has ended");
        assert!(!get(ALL, 7, 999), "the clock was set back");
        assert!(!get(ALL, 8, 1000), "the registry has changed");
        assert!(!get(Question::Sync(EntryMask::ALL), 7, 1000));
        assert!(!get(Question::All(EntryMask { hint: false, ..EntryMask::ALL }), 7, 1000));
        assert!(answers.get(&agent(2), ALL, Revision(7), NOW).is_none());
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_when_room_is_short() {
        let answers = Answers { capacity: 20 * (100 + OVERHEAD), ..Answers::default() };
        for number in 0..1000 {
            answers.put(&agent(number), ALL, answer(100, None));
            assert!(answers.get(&agent(0), ALL, Revision(7), NOW).is_some(), "{number}");
        }
        let generations = answers.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 20);
        assert!(generations.size <= answers.capacity / 2);
    }

    #[test]
    fn an_answer_that_replaces_another_takes_its_room() {
        let answers = Answers { capacity: 4 * (100 + OVERHEAD), ..Answers::default() };
        for _ in 0..100 {
            answers.put(&agent(1), ALL, answer(100, None));
        }
        assert_eq!(answers.generations.lock().size, 100 + OVERHEAD);
        answers.put(&agent(2), ALL, answer(1_000_000, None));
        assert!(answers.get(&agent(2), ALL, Revision(7), NOW).is_none(), "larger than all room");
    }
}
