//! The upstream's end of a socket that we cut or whose caller is gone: it is asked for its last count,
//! heard for as long as is named, and closed in order.
//!
//! A tenant that wants the vendor's own count has the socket read on without its caller, within the
//! bounds that hold for any answer read so; otherwise the upstream is told to stop at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use farebox_pricing::evidence::Evidence;

use super::closing::{NORMAL, put};
use super::flow::{End, Passed};
use super::gate::Verdict;
use super::relay::{Running, within};
use super::{CANCEL_ANSWER_MAX, CUT_WRITE_MAX, LastWords};
use crate::framing::websocket::write::{self, To};
use crate::observe::{ABANDONED_BYTES_MAX, ABANDONED_TIME_MAX, Place};

/// Until when the upstream is heard.
#[derive(Clone, Copy)]
enum Until {
    /// It closes.
    Closed,
    /// It closes, or no turn runs any more.
    Quiet(fn(&Evidence) -> bool),
}

impl Running {
    /// The caller is gone: stops the upstream, or hears it to its end.
    pub(super) async fn leave_upstream(&mut self) {
        match Place::of(self.parts.call()) {
            None => self.say_last_words(CANCEL_ANSWER_MAX).await,
            Some(place) => {
                self.parts.checkpoint_now();
                self.drain().await;
                drop(place);
            }
        }
    }

    /// Asks for the last count, waits for it at most so long, and says the close.
    pub(super) async fn say_last_words(&mut self, bound: Duration) {
        let asked = match self.parts.socket().last_words {
            LastWords::None => None,
            LastWords::Session(message) => Some((message, Until::Closed)),
            LastWords::Turns { stop, runs } if runs(&self.parts.call().evidence) => {
                stop.map(|message| (message, Until::Quiet(runs)))
            }
            LastWords::Turns { .. } => None,
        };
        if let Some((message, until)) = asked
            && self.say(message).await
        {
            within(bound, self.hear(until, None)).await;
        }
        self.close_upstream().await;
    }

    /// Hears what the vendor still has to say of what it was given, within bounds.
    async fn drain(&mut self) {
        let until = match self.parts.socket().last_words {
            LastWords::None => return self.say_last_words(CANCEL_ANSWER_MAX).await,
            LastWords::Session(message) => {
                self.say(message).await;
                Until::Closed
            }
            LastWords::Turns { runs, .. } => Until::Quiet(runs),
        };
        within(
            ABANDONED_TIME_MAX,
            self.hear(until, Some(ABANDONED_BYTES_MAX)),
        )
        .await;
        self.close_upstream().await;
    }

    /// Sends a message of ours, unless it would stand inside one of the caller's or after a close.
    async fn say(&mut self, message: &str) -> bool {
        let may_speak = self.hears() && self.up.is_between_messages();
        if may_speak {
            let frame = write::text(To::Upstream, message.as_bytes());
            within(CUT_WRITE_MAX, put(&mut self.upstream, &frame)).await;
        }
        may_speak
    }

    async fn close_upstream(&mut self) {
        if self.hears() && self.up.is_between_frames() {
            let frame = write::close(To::Upstream, NORMAL, "");
            within(CUT_WRITE_MAX, put(&mut self.upstream, &frame)).await;
        }
    }

    /// The upstream still takes frames: neither side has closed.
    fn hears(&self) -> bool {
        !self.is_caller_through && !self.is_upstream_through && !self.is_upstream_deaf
    }

    /// Reads on without a caller, until there is nothing to wait for. With a bound on the bytes also
    /// until those have come or somebody cuts the socket.
    async fn hear(&mut self, until: Until, bytes_max: Option<u64>) {
        let mut nowhere = tokio::io::sink();
        let mut bytes: u64 = 0;
        poll_fn(|cx| {
            let is_quiet = |running: &Self| match until {
                Until::Closed => false,
                Until::Quiet(runs) => !runs(&running.parts.call().evidence),
            };
            if self.is_upstream_through || is_quiet(self) {
                return Poll::Ready(());
            }
            let parts = &mut self.parts;
            let is_through = &mut self.is_upstream_through;
            let mut on = |passed: Passed<'_>| {
                if let Passed::Bytes(count) = &passed {
                    bytes += *count as u64;
                }
                *is_through |= parts.heard_last(&passed);
                Verdict::Goes
            };
            let heard = self
                .down
                .poll(cx, &mut self.upstream, &mut nowhere, false, &mut on);
            let is_cut = bytes_max.is_some_and(|most| {
                bytes > most
                    || self.parts.wanted_cut().is_some()
                    || self.cut.poll(cx, &self.parts).is_some()
            });
            let is_over = is_cut
                || self.is_upstream_through
                || is_quiet(self)
                || matches!(heard, Poll::Ready(End::Read | End::Write));
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
