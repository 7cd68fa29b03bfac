//! THE WALK: what happens to one call, step by step, in `walk`.
//!
//! Helpers are leaves: they decide nothing about order. Whatever ends the walk early is a
//! [`Refusal`] (nobody saw the call, there is no row) or a failure of a call that has its intent and
//! so its row.

use std::net::IpAddr;
use std::sync::Arc;

use farebox_pricing::event::{Ending, Environment, PaidBy, Transport};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::id::TenantId;
use farebox_pricing::usage::Usage;
use http::request::Parts;
use http::{Request, StatusCode};

use crate::Worker;
use crate::admission::Permit;
use crate::answer::Answer;
use crate::attribution;
use crate::body::RequestBody;
use crate::bound::Bound;
use crate::config::{OnUnrecordable, SpoolSync, StreamUsage, UnknownRoutes};
use crate::downstream::CallerBody;
use crate::failure::{Code, Refusal};
use crate::headers::{self, Credentials};
use crate::observe::AnswerBody;
use crate::provider::{Endpoint, Provider};
use crate::route::{self, Route};
use crate::settle::{self, Call, Clock, Line};
use crate::socket::{self, Handshake, Outcome};
use crate::spool::Ticket;
use crate::upstream::{Incoming, Outgoing, SendFailure, Upstream, Wait};

mod answer;
mod caller;
mod credential;
mod head;
mod held;
mod limits;
mod lists;
mod ownership;
mod record;
mod tools;
mod view;

pub(crate) use answer::marks;
use answer::{observe, say_no};
use caller::{Caller, attribute, identify};
pub(crate) use credential::Chosen;
pub use head::CallerHead;
use held::Body;
use lists::{check_lists, may_reach};
use ownership::{check_class, check_owner};
use record::{asked, begin_event, content_length, content_type};
pub(crate) use view::{TenantView, View};

/// Times a call is sent upstream at most; the second time only when no byte of the first was written.
pub const ATTEMPTS_MAX: u32 = 2;

/// A call that ends here, and in whose words to say so.
struct Stop {
    refusal: Refusal,
    provider: Option<&'static Provider>,
    tenant: Option<TenantId>,
    key_id: Option<uuid::Uuid>,
    /// The call has its row.
    event_id: Option<uuid::Uuid>,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            provider: None,
            tenant: None,
            key_id: None,
            event_id: None,
        }
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Refusal::from(code).into()
    }
}

/// Answers one request. Never fails: what cannot be answered by the upstream is answered by us. `timer` is of the
/// task that calls it, for the wait for an upstream.
pub(crate) async fn answer(
    worker: Arc<Worker>,
    peer: IpAddr,
    head: Arc<CallerHead>,
    body: CallerBody,
    timer: &mut Bound,
) -> Answer<AnswerBody> {
    let clock = Clock::start();
    // One that was kept has one.
    if head.said().is_none() && headers::names_several_hosts(&head.parts().headers) {
        return answer::of_malformed_head(&worker, head.parts().version);
    }
    match walk(&worker, peer, &head, body, clock, timer).await {
        Ok(response) => response,
        Err(stop) => say_no(&worker, *stop),
    }
}

/// The walk.
async fn walk(
    worker: &Arc<Worker>,
    peer: IpAddr,
    caller_head: &Arc<CallerHead>,
    body: CallerBody,
    clock: Clock,
    timer: &mut Bound,
) -> Result<Answer<AnswerBody>, Box<Stop>> {
    let shared = &worker.shared;
    let (head, said) = (caller_head.parts(), caller_head.said());
    if shared.is_draining() {
        return Err(Box::new(Code::Draining.into()));
    }

    // Route: which upstream, which endpoint.
    let route = match said {
        Some(said) => said.route(),
        None => {
            route::find(&worker.upstreams, &head.uri).map_err(|refusal| Box::new(refusal.into()))?
        }
    };
    let mut stop = Stopper {
        provider: route.upstream.provider,
        key_id: None,
    };
    let endpoint = match said {
        Some(said) => said.endpoint(),
        None => route.upstream.provider.endpoint(&head.method, route.path),
    };

    let handshake = match said {
        Some(_) => None,
        None => Handshake::find(head, endpoint).map_err(|refusal| stop.no(refusal, None))?,
    };

    // Identify: whose key, whose tenant.
    let labels = match said {
        Some(said) => said.labels(),
        None => attribution::read(&head.headers, &route, &shared.aliases)
            .map_err(|refusal| stop.no(refusal, None))?,
    };
    let mut key = match identify(worker, peer, head, said).await {
        Ok(key) => key,
        Err((refusal, key_id)) => {
            stop.key_id = key_id;
            return Err(stop.no(refusal, None));
        }
    };
    if said.is_none() {
        caller_head.keep(&worker.upstreams, &shared.aliases);
    }
    stop.key_id = key.as_ref().map(|key| key.key_id);
    let mut body = Body::Coming(body);
    let caller = match attribute(worker, &mut key, labels, &mut body).await {
        Ok(caller) => caller,
        Err(refusal) => {
            let own = key.as_ref().and_then(|key| key.tenant_id.as_ref());
            return Err(stop.no(refusal, own));
        }
    };
    let refused = |refusal| stop.no(refusal, caller.tenant_id.as_ref());

    // Admit: may it go there, now.
    let mut passage = admit(worker, &caller, &route, endpoint).map_err(refused)?;
    if handshake.is_some() {
        passage.transport = Transport::Websocket;
    }
    let asks_for_body = limits::begin(worker, &caller, &mut passage).map_err(refused)?;
    check_lists(worker, head, &route, &caller, &passage, &mut body)
        .await
        .map_err(refused)?;
    if asks_for_body {
        limits::reserve(worker, head, &route, &caller, &mut passage, &mut body)
            .await
            .map_err(refused)?;
    }
    if passage.is_asking {
        body.hold_if_it_fits(worker).await.map_err(refused)?;
    }

    check_owner(worker, &route, &caller, &passage, &mut body)
        .await
        .map_err(refused)?;

    // Intend: the row it becomes if nothing else is ever said of it.
    let mut call = intend(worker, head, &route, caller, passage, &body, clock)
        .map_err(|(refusal, tenant)| stop.no(refusal, tenant.as_ref()))?;
    if is_synced_first(&call) {
        Box::pin(sync_intent(&mut call))
            .await
            .map_err(|refusal| stop.no(refusal, call.event.tenant_id.as_ref()))?;
    }

    // Forward: the same request, with our credential in place of theirs.
    let credential = call.credential.clone();
    let amended = body.amend(&mut call);
    let outgoing = prepare(
        worker,
        caller_head,
        &route,
        &call,
        credential.as_deref(),
        amended,
    );
    let body = body.into_request_body(worker, &call);
    if let Some(handshake) = handshake {
        let request = outgoing.request(&call.upstream.origin, body);
        return Box::pin(open_socket(worker, handshake, head, call, request))
            .await
            .map_err(|(code, call)| stop.failed(code, &call));
    }
    let answer = match forward(worker, &mut call, &outgoing, body, timer).await {
        Ok(answer) => answer,
        Err(code) => return Err(stop.failed(code, &call)),
    };

    // Observe: bytes go down at once; the copy is read, settled and priced at its end.
    Ok(observe(call, answer, amended))
}

/// Sends a handshake; what is no 101 passes as any answer.
async fn open_socket(
    worker: &Arc<Worker>,
    handshake: Handshake,
    head: &Parts,
    call: Box<Call>,
    request: Request<RequestBody>,
) -> Result<Answer<AnswerBody>, (Code, Box<Call>)> {
    match socket::answer(worker, handshake, &head.headers, call, request).await {
        Outcome::Switched(response) => Ok(response),
        Outcome::Answered(call, answer) => Ok(observe(call, answer, false)),
        Outcome::Failed(call, code) => Err((code, call)),
    }
}

/// Remembers how to say no.
struct Stopper {
    provider: &'static Provider,
    key_id: Option<uuid::Uuid>,
}

impl Stopper {
    fn no(&self, refusal: Refusal, tenant: Option<&TenantId>) -> Box<Stop> {
        Box::new(Stop {
            refusal,
            provider: Some(self.provider),
            tenant: tenant.cloned(),
            key_id: self.key_id,
            event_id: None,
        })
    }

    fn failed(&self, code: Code, call: &Call) -> Box<Stop> {
        let event_id = call.is_recorded.then_some(call.event.call_id);
        Box::new(Stop {
            refusal: code.into(),
            provider: Some(self.provider),
            tenant: call.event.tenant_id.clone(),
            key_id: self.key_id,
            event_id,
        })
    }
}

/// What admission decided.
struct Passage {
    upstream: Arc<Upstream>,
    endpoint: &'static Endpoint,
    paid_by: PaidBy,
    credentials: Credentials,
    /// What goes in for the caller's, and its id.
    credential: Option<Arc<credential::Chosen>>,
    permit: Permit,
    is_asking: bool,
    transport: Transport,
}

/// Class of the route, lists of upstreams; in the order of what is cheapest to say.
fn admit(
    worker: &Worker,
    caller: &Caller,
    route: &Route<'_>,
    endpoint: Option<&'static Endpoint>,
) -> Result<Passage, Refusal> {
    let shared = &worker.shared;
    let is_own = caller.key.as_ref().is_none_or(|key| key.own_credential);
    if !may_reach(caller, &route.upstream.name) {
        return Err(Code::UpstreamNotAllowed.into());
    }
    let upstream = match &caller.key {
        Some(key) if key.environment == Environment::Test => {
            let twin = worker.test_upstreams.get(&route.upstream.name);
            twin.ok_or_else(|| {
                Refusal::from(Code::UpstreamNotAllowed)
                    .with_detail("No test upstream is configured.")
            })?
        }
        _ => route.upstream,
    };
    let (chosen, credentials) = match is_own {
        true => (None, Credentials::KeepOwn),
        false => (
            Some(credential::choose(worker, caller, upstream)),
            Credentials::Replace,
        ),
    };
    let paid_by = match &chosen {
        None => PaidBy::Caller,
        Some(Ok(chosen)) => chosen.paid_by,
        Some(Err(_)) => PaidBy::Operator,
    };
    let endpoint = match endpoint {
        Some(endpoint) => {
            check_class(endpoint, upstream, paid_by)?;
            endpoint
        }
        None => {
            let default = if is_own {
                UnknownRoutes::Forward
            } else {
                UnknownRoutes::Refuse
            };
            match shared.config.proxy.unknown_routes.unwrap_or(default) {
                UnknownRoutes::Refuse => return Err(Code::UnknownRoute.into()),
                UnknownRoutes::Forward => &route::UNKNOWN,
            }
        }
    };
    let credential = chosen.transpose()?;
    let asks = match caller
        .tenant()
        .and_then(|tenant| tenant.settings().stream_usage)
    {
        Some(setting) => setting == StreamUsage::Ask,
        None => upstream.stream_usage == StreamUsage::Ask,
    };
    let may_ask =
        endpoint.amend_request.is_some() && (endpoint.amends_when)(route.query.as_deref());
    let is_asking = asks && may_ask;
    Ok(Passage {
        upstream: Arc::clone(upstream.serving(endpoint)),
        endpoint,
        paid_by,
        credentials,
        credential,
        permit: Permit::default(),
        is_asking,
        transport: Transport::Http,
    })
}

/// Puts the intent into the spool. Without room the tenant's own choice holds. A refusal is of the tenant's call.
fn intend(
    worker: &Arc<Worker>,
    head: &Parts,
    route: &Route<'_>,
    caller: Caller,
    passage: Passage,
    body: &Body,
    clock: Clock,
) -> Result<Box<Call>, (Refusal, Option<TenantId>)> {
    let shared = &worker.shared;
    let settings = caller.view.settings();
    let mut evidence = Evidence::default();
    if passage.endpoint.is_read || passage.endpoint.socket.is_some() {
        evidence.route = Some(passage.endpoint.route().into());
        let asked = asked(head, route, body.known());
        (passage.endpoint.request_facts)(&mut evidence, &asked);
    }
    evidence.counts.request_bytes = match body.known() {
        Some(bytes) => bytes.len() as u64,
        None => content_length(&head.headers).unwrap_or(0),
    };
    // Of a body that is held its facts are read by now.
    let asked = body.known().is_none().then(|| Line {
        path: route.path.into(),
        query: route.query.as_deref().map(Box::from),
        // Not the header's own value, which would keep the buffer that the head was read into.
        content_type: content_type(head).map(Box::from),
    });
    let bounds = passage.endpoint.draft(&evidence);
    // Its body may have been waited for.
    let view = worker.view.present(&caller.view);
    let mut event = begin_event(
        settle::now(),
        caller,
        &passage,
        &evidence,
        route.query.as_deref(),
    );
    event.usage_low = bounds.low;
    // A bound of zero is none: the answer has not begun, nothing of it is counted yet.
    event.usage_high = bounds.high.map(Usage::without_zeros);
    let event_id = event.event_id;
    worker.spool.announce(settle::INTENT_BYTES);
    let appended = settle::with_record(&mut event, |record| {
        worker.spool.append_intent(event_id, record)
    });
    let ticket = match appended {
        Ok(ticket) => Some(ticket),
        Err(error) => {
            if settings.on_unrecordable == OnUnrecordable::Refuse {
                return Err((Code::CannotRecord.into(), event.tenant_id));
            }
            shared.note_unrecorded(&event, &error);
            None
        }
    };
    Ok(Box::new(Call {
        worker: Arc::clone(worker),
        provider: passage.upstream.provider,
        upstream: passage.upstream,
        endpoint: passage.endpoint,
        credentials: passage.credentials,
        credential: passage.credential,
        is_asking: passage.is_asking,
        is_recorded: ticket.is_some(),
        event,
        evidence,
        ticket,
        permit: passage.permit,
        upload: Arc::default(),
        asked,
        clock,
        cost_usd: None,
        on_downstream_gone: settings.on_downstream_gone,
        view,
        is_abandoned: false,
        is_settled: false,
    }))
}

/// The call's intent has to be on disk before an upstream sees the call.
fn is_synced_first(call: &Call) -> bool {
    let default = call.worker.shared.config.spool.sync;
    call.view.settings().spool_sync.unwrap_or(default) == SpoolSync::BeforeUpstream
}

/// Waits until the intent is on disk. Where it cannot be the tenant's own choice holds.
async fn sync_intent(call: &mut Call) -> Result<(), Refusal> {
    if let Some(position) = call.ticket.as_ref().map(Ticket::position)
        && call.worker.spool.synced(position).await.is_err()
        && call.view.settings().on_unrecordable == OnUnrecordable::Refuse
    {
        call.settle_unreached(Ending::UpstreamFailed, settle::NOT_REACHED);
        return Err(Code::CannotRecord.into());
    }
    Ok(())
}

/// The request as the upstream is to see it.
fn prepare<'a>(
    worker: &'a Worker,
    head: &'a CallerHead,
    route: &'a Route<'_>,
    call: &Call,
    credential: Option<&'a credential::Chosen>,
    is_amended: bool,
) -> Outgoing<'a> {
    let place = call.provider.credential;
    let query = route.query.as_deref().map(|query| match call.credentials {
        Credentials::Replace => route::without_credential(query),
        Credentials::KeepOwn => query.into(),
    });
    Outgoing {
        head,
        path: route.path,
        query: query.filter(|query| !query.is_empty()),
        credentials: call.credentials,
        credential: credential.map(|chosen| (place, chosen.secret.expose())),
        aliases: &worker.shared.aliases,
        is_amended,
    }
}

/// Sends the request; a second time only when no byte of the first was written, or when all of it is still
/// held and the upstream said that it did nothing with it. Each time has its row.
async fn forward(
    worker: &Worker,
    call: &mut Call,
    outgoing: &Outgoing<'_>,
    mut body: RequestBody,
    timer: &mut Bound,
) -> Result<Answer<Incoming>, Code> {
    let bound = std::time::Duration::from_millis(worker.shared.config.proxy.first_byte_timeout_ms);
    loop {
        let began = std::time::Instant::now();
        call.clock.sent = Some(began);
        let is_repeat = call.event.attempt > 1;
        let wait = Wait {
            began,
            bound,
            timer: &mut *timer,
        };
        let sent = worker
            .pool
            .send(&call.upstream, outgoing, body, is_repeat, wait);
        match sent.await {
            // Nobody asked to switch: what follows is no HTTP.
            Ok(answer) if answer.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                call.fail(Code::UpstreamClosed, true);
                return Err(Code::UpstreamClosed);
            }
            Ok(answer) => {
                call.clock.head = Some(std::time::Instant::now());
                return Ok(answer);
            }
            Err(SendFailure::NotWritten(unsent, Code::UpstreamClosed))
                if call.event.attempt < ATTEMPTS_MAX =>
            {
                body = unsent;
                call.begin_next_attempt(settle::NOT_REACHED);
            }
            Err(SendFailure::Refused(unsent)) if call.event.attempt < ATTEMPTS_MAX => {
                body = unsent;
                call.begin_next_attempt(settle::REFUSED_STREAM);
            }
            Err(SendFailure::Refused(_)) => {
                call.fail(Code::UpstreamClosed, true);
                return Err(Code::UpstreamClosed);
            }
            Err(SendFailure::NotWritten(_, code)) => {
                call.fail(code, false);
                return Err(code);
            }
            Err(SendFailure::Written(code)) => {
                let code = if call.upload.is_paused() {
                    Code::RequestTimeout
                } else {
                    code
                };
                let code = if call.upload.is_failed() {
                    Code::MalformedRequest
                } else {
                    code
                };
                call.fail(code, true);
                return Err(code);
            }
            Err(SendFailure::TimedOut) => {
                call.fail(Code::UpstreamTimeout, true);
                return Err(Code::UpstreamTimeout);
            }
        }
    }
}
