//! One call on a shared HTTP/2 connection, and whether it may be sent a second time.
//!
//! An upstream that resets a stream with `REFUSED_STREAM` did nothing with it (RFC 9113 section 8.7), so
//! what was held whole is given back to be sent again. Of a body that came from the caller as it went up
//! nothing is left to send.

use std::error::Error;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

use super::{SendFailure, failure};
use crate::body::RequestBody;

/// Sends the request and waits for the answer's head.
pub(super) async fn exchange(
    mut sender: SendRequest<RequestBody>,
    request: Request<RequestBody>,
    is_repeat: bool,
) -> Result<Response<Incoming>, SendFailure> {
    let held = match is_repeat {
        true => None,
        false => request.body().again(),
    };
    let mut failed = match sender.try_send_request(request).await {
        Ok(answer) => return Ok(answer),
        Err(failed) => failed,
    };
    match (failed.take_message(), held) {
        (None, Some(held)) if is_refused(failed.error()) => Err(SendFailure::Refused(held)),
        (unsent, _) => Err(failure(unsent.map(Request::into_body))),
    }
}

fn is_refused(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(|reset| {
            reset.is_reset()
                && reset.is_remote()
                && reset.reason() == Some(h2::Reason::REFUSED_STREAM)
        })
}
