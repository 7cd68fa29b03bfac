//! What a task waits for beside its sockets and what seldom comes: whom it wakes is told once, not at each turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::Sleep;

/// Whom something wakes.
#[derive(Default)]
pub(crate) struct Waking(Option<Waker>);

impl Waking {
    /// Whether it wakes the task of `cx` already. If not, whoever asks has it do so.
    pub(crate) fn is_of(&mut self, cx: &Context<'_>) -> bool {
        let known = self.0.as_ref();
        let is_of = known.is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_of {
            self.0 = Some(cx.waker().clone());
        }
        is_of
    }
}

/// A timer that serves one deadline after the other: armed by the first wait for one, and moved when it
/// runs out before the present deadline, or would after it.
#[derive(Default)]
pub(crate) struct Bound {
    timer: Option<Pin<Box<Sleep>>>,
    waking: Waking,
}

impl Bound {
    /// Ready once `deadline` is over.
    pub(crate) fn poll_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        let is_told = self.waking.is_of(cx);
        if timer.deadline() > deadline.into() {
            timer.as_mut().reset(deadline.into());
        } else if is_told && !timer.is_elapsed() {
            return Poll::Pending;
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}
