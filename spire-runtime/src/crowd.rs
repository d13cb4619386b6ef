//! Places for strangers, of whom anyone may send as many as they like.
//!
//! A limit that makes newcomers wait is what an attacker wants: connections that say nothing take all places, and nobody
//! else is served. Here whoever has been there longest makes room, and a caller who comes to the point is gone by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// So many places at a time. Clones share them.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    members: Mutex<Members>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Members {
    entered: u64,
    present: BTreeMap<u64, (Instant, CancellationToken)>,
}

impl Crowd {
    /// `most` places, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most: most.max(1), members: Mutex::default(), left: Notify::new() }))
    }

    /// Waits until a place is free, or whoever has been there longest has had `patience` to come to the point: where many come
    /// at once who mean well, they wait for each other.
    pub async fn room(&self, patience: Duration) {
        loop {
            let left = self.0.left.notified();
            let Some(due) = self.due(patience) else { return };
            tokio::select! {
                () = left => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// When somebody may be told to leave, if not now.
    fn due(&self, patience: Duration) -> Option<Instant> {
        let members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
        let (oldest, _) = members.present.values().next().filter(|_| members.present.len() >= self.0.most)?;
        Some(*oldest + patience).filter(|due| *due > Instant::now())
    }

    /// Takes a place, for as long as it lives. Where all are taken, whoever has been there longest is told to leave, by
    /// the token that it had entered with.
    #[must_use]
    pub fn enter(&self, leave: CancellationToken) -> Place {
        let mut members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.present.len() >= self.0.most
            && let Some((_, (_, oldest))) = members.present.pop_first()
        {
            oldest.cancel();
        }
        let number = members.entered;
        members.entered += 1;
        members.present.insert(number, (Instant::now(), leave.clone()));
        Place { crowd: Arc::clone(&self.0), number, leave }
    }
}

/// A place that is taken.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Shared>,
    number: u64,
    leave: CancellationToken,
}

impl Place {
    /// Cancelled when another needs the place.
    #[must_use]
    pub fn leave(&self) -> &CancellationToken {
        &self.leave
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members.lock().unwrap_or_else(PoisonError::into_inner).present.remove(&self.number);
        self.crowd.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_been_there_longest_makes_room() {
        let crowd = Crowd::new(2);
        let places: Vec<Place> = (0..3).map(|_| crowd.enter(CancellationToken::new())).collect();
        let told: Vec<bool> = places.iter().map(|place| place.leave().is_cancelled()).collect();
        assert_eq!(told, [true, false, false]);
        drop(places);
        let (first, _second) = (crowd.enter(CancellationToken::new()), crowd.enter(CancellationToken::new()));
        assert!(!first.leave().is_cancelled(), "those who left had given their places back");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_means_well_is_given_time_and_nobody_waits_for_longer() {
        let (crowd, patience) = (Crowd::new(1), Duration::from_secs(1));
        crowd.room(patience).await;
        let place = crowd.enter(CancellationToken::new());
        let begun = Instant::now();
        crowd.room(patience).await;
        assert_eq!(begun.elapsed(), patience);
        let next = crowd.enter(CancellationToken::new());
        assert!(place.leave().is_cancelled());
        let leaving = async {
            tokio::time::sleep(patience / 4).await;
            drop(next);
        };
        tokio::join!(crowd.room(patience), leaving);
        assert_eq!(begun.elapsed(), patience + patience / 4);
    }
}
