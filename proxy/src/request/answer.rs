//! What goes down: the upstream's answer with a reader beside it, or an error in the dialect's shape.

use farebox_pricing::event::Transport;
use farebox_pricing::id;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode, Version};

use super::Stop;
use crate::Worker;
use crate::amend::UsageStripper;
use crate::answer::{Answer, Marks, id_value};
use crate::decode::Decoder;
use crate::failure::Code;
use crate::headers::{ERROR_HEADER, EVENT_HEADER};
use crate::observe::{AnswerBody, Observed, Rewrite};
use crate::provider::{self, ErrorText};
use crate::reader::Reader;
use crate::settle::Call;
use crate::upstream::Incoming;

/// Hands the answer down with a reader beside it.
pub(super) fn observe(
    mut call: Box<Call>,
    answer: Answer<Incoming>,
    is_amended: bool,
) -> Answer<AnswerBody> {
    let (mut head, incoming) = (answer.head, answer.body);
    let fields = &mut head.fields;
    fields.clean();
    let content_type = fields.text(header::CONTENT_TYPE.as_str());
    let encoding = fields.text(header::CONTENT_ENCODING.as_str());
    let event = &mut call.event;
    event.status = Some(head.status.as_u16());
    event.upstream_request_id = fields
        .text(call.provider.request_id_header)
        .map(|text| id::sanitise(text, id::SCALARS_MAX).0);
    let is_sse =
        content_type.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
    if is_sse {
        event.transport = Transport::Sse;
    }
    // What goes down is the caller's own answer: it has no bound of ours and is not kept.
    let decoder = encoding
        .filter(|encoding| !Decoder::is_identity(encoding))
        .map(|encoding| Decoder::new(encoding, u64::MAX));
    let rewrite = match decoder {
        _ if !(is_amended && is_sse) => None,
        None => Some(Rewrite {
            decoder: None,
            stripper: UsageStripper::new(),
        }),
        Some(Some(decoder)) => Some(Rewrite {
            decoder: Some(decoder),
            stripper: UsageStripper::new(),
        }),
        // An encoding that we do not know was not ours to ask for; it passes as it is.
        Some(None) => None,
    };
    let is_decoded = rewrite.as_ref().is_some_and(|it| it.decoder.is_some());
    // The request is mostly through when its answer begins: its copy need not wait for the end.
    let mut evidence = std::mem::take(&mut call.evidence);
    call.add_request_facts(&mut evidence);
    let mut reader = Reader::new(
        call.endpoint,
        evidence,
        head.status.as_u16(),
        content_type,
        encoding.filter(|_| !is_decoded),
    );
    reader.keep_headers(|name| fields.text(name));
    call.event.streaming = reader.is_stream();
    if is_decoded {
        fields.remove(&header::CONTENT_ENCODING);
    }
    if rewrite.is_some() {
        fields.remove(&header::CONTENT_LENGTH);
    }
    fields.mark(marks(&call));
    call.clock.answered = Some(std::time::Instant::now());
    let mut observed = Observed::new(call, incoming, reader, rewrite);
    if observed.is_empty() {
        observed.end_with_head();
    }
    let body = AnswerBody::Observed(Some(observed));
    Answer { head, body }
}

/// What is ours on an upstream's answer.
pub(crate) fn marks(call: &Call) -> Marks {
    let warning = call.permit.warning();
    Marks {
        event: call.is_recorded.then_some(call.event.call_id),
        warning: warning.and_then(|text| HeaderValue::from_str(text).ok()),
    }
}

/// A head that is not one request's: no more than what a head that does not parse gets. What follows it
/// on its connection is not believed either.
pub(super) fn of_malformed_head(worker: &Worker, version: Version) -> Answer<AnswerBody> {
    worker.shared.metrics.refusal(None, Code::MalformedRequest);
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(
        ERROR_HEADER,
        HeaderValue::from_static(Code::MalformedRequest.name()),
    );
    if version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.into()
}

/// A refusal or a failure of ours, in the dialect's own shape.
pub(super) fn say_no(worker: &Worker, stop: Stop) -> Answer<AnswerBody> {
    let code = stop.refusal.code;
    if stop.event_id.is_none() {
        worker.shared.metrics.refusal(stop.tenant.as_ref(), code);
        let refusals = &worker.shared.directory.exchange().refusals;
        refusals.note(stop.key_id, stop.tenant.as_ref(), code);
    }
    let message = stop.refusal.message();
    let provider = stop.provider.unwrap_or(provider::ALL[0]);
    let id = stop.event_id.map(|id| id.to_string());
    let body = (provider.error_body)(&ErrorText {
        status: code.status(),
        code: code.name(),
        message: &message,
        request_id: id.as_deref(),
    });
    let mut response = Response::new(AnswerBody::Whole(Some(body.into())));
    *response.status_mut() =
        StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(provider.error_content_type),
    );
    headers.insert(ERROR_HEADER, HeaderValue::from_static(code.name()));
    if let Some(id) = stop.event_id {
        headers.insert(EVENT_HEADER, id_value(id));
    }
    if let Some(seconds) = stop.refusal.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if !code.can_retry() {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response.into()
}
