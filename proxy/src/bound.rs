//! A deadline that is seldom reached: its timer is armed by the first wait for it, and moved when it
//! runs out before the present deadline, or would after it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A timer that serves one deadline after the other.
#[derive(Default)]
pub(crate) struct Bound(Option<Pin<Box<Sleep>>>);

impl Bound {
    /// Ready once `deadline` is over.
    pub(crate) fn poll_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if timer.deadline() > deadline.into() {
            timer.as_mut().reset(deadline.into());
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
