//! The end of a socket: settled, and each side told in its own way. What we write ourselves stands
//! between two frames, or is left out.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::flow::End;
use super::relay::{Running, Stop, within};
use super::{CUT_ANSWER_MAX, CUT_FRAME_MAX, CUT_WRITE_MAX, LINGER_MAX};
use crate::failure::Code;
use crate::framing::websocket::write::{self, To};
use crate::provider::ErrorText;

/// An end in order (RFC 6455 section 7.4.1).
pub(super) const NORMAL: u16 = 1000;
/// Going away: nothing passed for too long.
const GOING_AWAY: u16 = 1001;
/// A policy of ours.
const POLICY: u16 = 1008;
/// Read at a time from a side that is through.
const LINGER_BYTES: usize = 4 * 1024;

impl Running {
    /// Ends the socket. The row is in the spool before the caller's connection is closed.
    pub(super) async fn close(mut self: Box<Self>, stop: Stop) {
        match stop {
            Stop::Cut(code) => self.cut(stop, POLICY, code).await,
            Stop::Late => self.cut(stop, GOING_AWAY, Code::UpstreamTimeout).await,
            Stop::CallerGone => {
                self.leave_upstream().await;
                self.note_unusual();
                self.parts.finish(self.ending(stop));
                return part_from(&mut self.upstream).await;
            }
            Stop::Closed | Stop::UpstreamGone => {
                self.note_unusual();
                self.parts.finish(self.ending(stop));
            }
        }
        tokio::join!(part_from(&mut self.upstream), part_from(&mut self.caller));
    }

    /// Tells the caller in the dialect's words why it ends, and gives the upstream the time to say its
    /// last count.
    async fn cut(&mut self, stop: Stop, close_code: u16, code: Code) {
        let held = poll_fn(|cx| {
            // Both are asked each time; one that has ended is between two frames too.
            let down = self.poll_down(cx, true);
            let up = self.poll_up(cx, true);
            match (down, up) {
                (Poll::Ready(down), Poll::Ready(up)) => Poll::Ready((down, up)),
                _ => Poll::Pending,
            }
        });
        let held = within(CUT_FRAME_MAX, held).await;
        let is_held = |end: Option<End>| end == Some(End::Held);
        let to_caller = is_held(held.map(|(down, _)| down)) && !self.down.framing.is_broken();
        let to_upstream = is_held(held.map(|(_, up)| up));

        // Whatever happens from here on, what was counted so far is kept.
        self.note_unusual();
        self.parts.checkpoint_now();
        if to_caller && !self.is_upstream_through {
            let mut last = Vec::new();
            if let Some(cut_message) = self.parts.socket().cut_message
                && !self.down.framing.is_in_message()
                && stop != Stop::Late
            {
                let text = cut_message(&ErrorText {
                    status: code.status(),
                    code: code.name(),
                    message: code.message(),
                    request_id: None,
                });
                last = write::text(To::Caller, text.as_bytes());
            }
            last.extend(write::close(To::Caller, close_code, code.name()));
            within(CUT_WRITE_MAX, put(&mut self.caller, &last)).await;
        }
        if to_upstream {
            self.say_last_words(CUT_ANSWER_MAX).await;
        }
        self.note_unusual();
        self.parts.finish(self.ending(stop));
    }
}

pub(super) async fn put(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // A side that takes nothing more is gone; there is nobody to tell.
    if to.write_all(bytes).await.is_ok() {
        let _ = to.flush().await;
    }
}

/// Says that nothing more comes and reads what is still on its way: a connection that is dropped with
/// bytes unread takes back what was just written.
async fn part_from(side: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let parting = async {
        if side.shutdown().await.is_err() {
            return;
        }
        let mut unread = [0; LINGER_BYTES];
        while matches!(side.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    within(LINGER_MAX, parting).await;
}
