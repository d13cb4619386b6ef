//! Streams that follow a value.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use workload_api::server::IdentityError;

pub(super) type Pushes<M, E> = Pin<Box<dyn Stream<Item = Result<M, E>> + Send>>;

/// What `answer` makes of `first` and of each value that follows it; `None` is not sent. Ends with an error, never well:
/// that of `answer`, or [`IdentityError::Unavailable`] once nothing can follow or `closing` is cancelled.
pub(super) fn pushes<T, M, E>(
    first: T,
    updates: watch::Receiver<T>,
    closing: CancellationToken,
    answer: impl FnMut(T) -> Result<Option<M>, E> + Send + 'static,
) -> Pushes<M, E>
where
    T: Clone + Send + Sync + 'static,
    M: Send + 'static,
    E: From<IdentityError> + Send + 'static,
{
    let state = Some((Some(first), updates, closing, answer));
    let answers = futures_util::stream::unfold(state, |state| async move {
        let (mut first, mut updates, closing, mut answer) = state?;
        let value = match first.take() {
            Some(first) => Some(first),
            None => tokio::select! {
                changed = updates.changed() => changed.ok().map(|()| updates.borrow_and_update().clone()),
                () = closing.cancelled() => None,
            },
        };
        let ended = || IdentityError::Unavailable { reason: "endpoint is closing".to_owned() };
        match value.ok_or_else(ended).map_err(E::from).and_then(&mut answer) {
            Ok(answered) => Some((Ok(answered), Some((None, updates, closing, answer)))),
            Err(err) => Some((Err(err), None)),
        }
    });
    Box::pin(answers.filter_map(|answer| std::future::ready(answer.transpose())))
}
