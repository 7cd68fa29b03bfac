//! A caller's HTTP/1.1 connection: one request after the other, each answered before the next is looked at.
//!
//! The task that serves a connection drives all of it: head, body, the walk, the answer. Nothing lies
//! between it and the socket, so a connection that is silent holds no buffer, and a call costs no turn of
//! the runtime that its socket did not ask for.
//!
//! Holds true: behind anything that two readers could understand differently no second request is read.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::CallerBody;
use crate::Worker;
use crate::bound::{Bound, Waking};
use crate::failure::Code;
use crate::http1::Wire;
use crate::observe::AnswerBody;
use crate::request;
use crate::tls::ServerStream;

mod down;
mod head;
mod known;
mod line;

use down::Down;
use head::NoHead;
pub(super) use line::{Broken, SharedLine};
use line::{Next, Taken};

/// Most bytes that a caller may still send behind its last answer: read so that the answer is not lost to
/// a reset.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Longest time it may.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// Serves a connection to its end; as a WebSocket, once it has switched.
pub(super) async fn serve(worker: Arc<Worker>, peer: IpAddr, wire: Wire<ServerStream>) {
    let head_bytes_max = worker.shared.config.proxy.head_bytes_max;
    let line = SharedLine::new(wire, head_bytes_max);
    let mut connection = Connection {
        draining: Box::pin(worker.shared.draining.clone().cancelled_owned()),
        waking: Waking::default(),
        bound: Bound::default(),
        worker,
        peer,
        line,
    };
    while connection.serve_next().await {}
    connection.line.lock().close();
}

struct Connection {
    worker: Arc<Worker>,
    peer: IpAddr,
    line: SharedLine,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    waking: Waking,
    /// Of whatever is waited for.
    bound: Bound,
}

/// What of a request decides how its answer is written.
#[derive(Clone, Copy)]
struct Asked {
    version: Version,
    is_head_request: bool,
    takes_trailers: bool,
    keeps_alive: bool,
}

impl Asked {
    fn of(taken: &Taken) -> Self {
        let parts = taken.head.parts();
        Self {
            version: parts.version,
            is_head_request: parts.method == Method::HEAD,
            takes_trailers: taken.takes_trailers,
            keeps_alive: taken.keeps_alive,
        }
    }
}

/// What a wait for a request ended with.
enum Waited {
    For(Next),
    /// The caller sent a part of a head and no more.
    TimedOut,
}

/// What `future` gives, unless the caller goes away before.
async fn unless_gone<F: Future + Unpin>(line: &SharedLine, mut future: F) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
            return Poll::Ready(Some(output));
        }
        line.lock().poll_gone(cx).map(|()| None)
    })
    .await
}

impl Connection {
    /// Serves one request; whether another may follow.
    async fn serve_next(&mut self) -> bool {
        let (taken, body) = match self.wait().await {
            Waited::For(Next::Request(taken, body)) => (taken, body),
            Waited::For(Next::End) => return false,
            Waited::For(Next::NoHead(NoHead(status))) => {
                let code = match status {
                    StatusCode::BAD_REQUEST => Code::MalformedRequest,
                    _ => Code::HeadTooLarge,
                };
                return self.refuse(status, code).await;
            }
            Waited::TimedOut => {
                return self
                    .refuse(StatusCode::REQUEST_TIMEOUT, Code::RequestTimeout)
                    .await;
            }
        };
        let asked = Asked::of(&taken);
        // Then there is nothing of the request that is still to come.
        let is_here = body.is_some();
        let body = match body {
            Some(bytes) => CallerBody::here(bytes),
            None => CallerBody::on_line(self.line.clone(), self.line.lock().turn()),
        };
        // On the heap, so that a connection that streams does not keep the walk's room.
        let walk = Box::pin(request::answer(
            Arc::clone(&self.worker),
            self.peer,
            taken.head,
            body,
            &mut self.bound,
        ));
        let Some(mut answer) = unless_gone(&self.line, walk).await else {
            return false;
        };
        let mut is_last = self.worker.shared.is_draining();
        let mut relay = None;
        match &mut answer.body {
            AnswerBody::Switch(switched) => relay = switched.take(),
            // Nobody reads the rest of the request any more.
            AnswerBody::Whole(_) => is_last |= !is_here && !self.is_through_or_here().await,
            AnswerBody::Observed(_) => {}
        }
        let mut down = Down::new(answer, asked, is_last);
        let is_followed = down.follows();
        if !self.send(&mut down).await {
            return false;
        }
        drop(down);
        if let Some(relay) = relay {
            // In the connection's own task, so that it is counted as open until the socket ends.
            let socket = self.line.lock().switch();
            if let Some(socket) = socket {
                Box::pin(relay.run(socket)).await;
            }
            return false;
        }
        if is_followed && (is_here || self.is_through_or_here().await) {
            return true;
        }
        self.linger().await;
        false
    }

    /// The next head. An idle connection ends at its bound and when the proxy drains.
    async fn wait(&mut self) -> Waited {
        let mut deadline = None;
        let timeout = Duration::from_millis(self.worker.shared.config.proxy.head_timeout_ms);
        poll_fn(|cx| {
            let mut line = self.line.lock();
            if let Poll::Ready(next) = line.poll_next(cx) {
                return Poll::Ready(Waited::For(next));
            }
            let has_begun = line.has_begun();
            if self.waking.is_new(cx) {
                let _ = self.draining.as_mut().poll(cx);
            }
            if self.worker.shared.is_draining() && !has_begun {
                return Poll::Ready(Waited::For(Next::End));
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            self.bound
                .poll_over(deadline, cx)
                .map(|()| match has_begun {
                    true => Waited::TimedOut,
                    false => Waited::For(Next::End),
                })
        })
        .await
    }

    async fn is_through_or_here(&self) -> bool {
        poll_fn(|cx| Poll::Ready(self.line.lock().is_through_or_here(cx))).await
    }

    /// Whether the answer went down as a whole.
    async fn send(&mut self, down: &mut Down) -> bool {
        let timeout =
            Duration::from_millis(self.worker.shared.config.proxy.downstream_write_timeout_ms);
        let sent = poll_fn(|cx| self.poll_send(down, timeout, cx)).await;
        if let Err(error) = &sent {
            tracing::debug!(%error, "caller's connection ended in an answer");
        }
        sent.is_ok()
    }

    fn poll_send(
        &mut self,
        down: &mut Down,
        timeout: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Poll::Ready(sent) = down.poll(&self.line, cx) {
            return Poll::Ready(sent);
        }
        if let Some(since) = down.blocked_since()
            && self.bound.poll_over(since + timeout, cx).is_ready()
        {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        let gone = self.line.lock().poll_gone(cx);
        gone.map(|()| Err(std::io::ErrorKind::ConnectionAborted.into()))
    }

    /// An answer to what is no request: a status, and the end.
    async fn refuse(&mut self, status: StatusCode, code: Code) -> bool {
        self.worker.shared.metrics.refusal(None, code);
        if self.send(&mut Down::bare(status)).await {
            self.linger().await;
        }
        false
    }

    /// Closes our side and hears the caller out, within bounds.
    async fn linger(&mut self) {
        let deadline = Instant::now() + LINGER_TIME_MAX;
        let mut left = LINGER_BYTES_MAX;
        let mut is_shut = false;
        poll_fn(|cx| {
            let mut line = self.line.lock();
            if !is_shut {
                match line.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.bound.poll_over(deadline, cx),
                }
            }
            match line.poll_forget(cx, &mut left) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => self.bound.poll_over(deadline, cx),
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
