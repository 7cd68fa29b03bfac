//! The request's body before it goes up: held only where a decision needs a fact of it, up to a named
//! bound, and amended there and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::Worker;
use crate::body::RequestBody;
use crate::downstream::CallerBody;
use crate::failure::{Code, Refusal};
use crate::settle::Call;

/// The request's body, as far as it was needed yet.
pub(super) enum Body {
    Coming(CallerBody),
    Held(Bytes),
    /// Held up to the bound; the rest comes after it. Nothing is amended.
    Spilled(Vec<Bytes>, CallerBody),
}

impl Body {
    /// Waits for the whole body; one over the named bound is refused.
    pub(super) async fn hold(&mut self, worker: &Worker) -> Result<&[u8], Refusal> {
        self.hold_if_it_fits(worker).await?;
        self.known().ok_or_else(|| Code::RequestTooLarge.into())
    }

    /// Waits for the whole body, up to the named bound; one over it goes on as it comes.
    pub(super) async fn hold_if_it_fits(&mut self, worker: &Worker) -> Result<(), Refusal> {
        if let Self::Coming(_) = self
            && let Self::Coming(incoming) = std::mem::replace(self, Self::Held(Bytes::new()))
        {
            let bytes_max = worker.shared.config.proxy.request_hold_bytes_max;
            *self = match incoming {
                // Nothing to wait for.
                CallerBody::Here(whole)
                    if whole.as_ref().is_none_or(|whole| whole.len() <= bytes_max) =>
                {
                    Self::Held(whole.unwrap_or_default())
                }
                incoming => Box::pin(collect(worker, incoming)).await?,
            };
        }
        Ok(())
    }

    pub(super) fn known(&self) -> Option<&[u8]> {
        match self {
            Self::Held(bytes) => Some(bytes),
            Self::Coming(_) | Self::Spilled(..) => None,
        }
    }

    /// Splices the usage option into a held body that needs it.
    pub(super) fn amend(&mut self, call: &mut Call) -> bool {
        let (Self::Held(bytes), Some(amend), true) =
            (&mut *self, call.endpoint.amend_request, call.is_asking)
        else {
            return false;
        };
        // Only streams are amended; the facts of the request tell those that say they are none.
        if !call.evidence.request.is_set("stream") {
            return false;
        }
        let Some(splice) = amend(bytes) else {
            return false;
        };
        *bytes = splice.apply(bytes);
        call.event.request_amended = true;
        true
    }

    pub(super) fn into_request_body(self, worker: &Worker, call: &Call) -> RequestBody {
        match self {
            Self::Held(bytes) => {
                call.upload.sent_whole(bytes.len() as u64);
                RequestBody::held(bytes)
            }
            Self::Coming(incoming) => {
                let pause = Duration::from_millis(worker.shared.config.proxy.body_timeout_ms);
                RequestBody::streaming(
                    incoming,
                    Arc::clone(&call.upload),
                    call.endpoint.is_read,
                    pause,
                )
            }
            Self::Spilled(parts, incoming) => {
                let pause = Duration::from_millis(worker.shared.config.proxy.body_timeout_ms);
                RequestBody::spilled(parts, incoming, Arc::clone(&call.upload), pause)
            }
        }
    }
}

async fn collect(worker: &Worker, mut incoming: CallerBody) -> Result<Body, Refusal> {
    let config = &worker.shared.config.proxy;
    let pause = Duration::from_millis(config.body_timeout_ms);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut held = 0;
    while !incoming.is_end_stream() {
        let frame = match tokio::time::timeout(pause, incoming.frame()).await {
            Err(_) => return Err(Code::RequestTimeout.into()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Code::MalformedRequest.into()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        held += chunk.len();
        parts.push(chunk);
        if held > config.request_hold_bytes_max {
            return Ok(Body::Spilled(parts, incoming));
        }
    }
    Ok(Body::Held(match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => parts.concat().into(),
    }))
}
