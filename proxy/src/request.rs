//! THE WALK: what happens to one call, step by step, in [`walk`].
//!
//! Helpers are leaves: they decide nothing about order. Whatever ends the walk early is a
//! [`Refusal`] (nobody saw the call, there is no row) or a failure of a call that has its intent and
//! so its row.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use farebox_pricing::event::{
    Attribution, Ending, Environment, Event, PaidBy, Pricing, RateCards, SCHEMA, Transport,
};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::id::TenantId;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Usage, UsageSource};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use uuid::Uuid;

use crate::Worker;
use crate::admission::Permit;
use crate::amend::UsageStripper;
use crate::attribution::{self, Labels};
use crate::body::RequestBody;
use crate::config::{Anonymous, BodyTenant, OnUnrecordable, SpoolSync, StreamUsage, Unattributed, UnknownRoutes, UnknownTenant};
use crate::decode::Decoder;
use crate::directory::{KeyRow, Tenant};
use crate::failure::{Code, Refusal};
use crate::headers::{self, Credentials, ERROR_HEADER, EVENT_HEADER, WARNING_HEADER};
use crate::identity::{self, Lookup};
use crate::observe::{AnswerBody, Observed, Rewrite};
use crate::provider::{self, Class, Endpoint, ErrorText, Keeps, Provider};
use crate::reader::{DECODED_BYTES_MAX, Reader};
use crate::route::{self, Route};
use crate::settle::{self, Call, Clock};
use crate::spool::Ticket;
use crate::upstream::{SendFailure, Upstream};

/// Times a call is sent upstream at most; the second time only when no byte of the first was written.
pub const ATTEMPTS_MAX: u32 = 2;

/// A call that ends here, and in whose words to say so.
struct Stop {
    refusal: Refusal,
    provider: Option<&'static Provider>,
    tenant: Option<TenantId>,
    /// The call has its row.
    event_id: Option<Uuid>,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, provider: None, tenant: None, event_id: None }
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Refusal::from(code).into()
    }
}

/// Answers one request. Never fails: what cannot be answered by the upstream is answered by us.
pub async fn answer(worker: Arc<Worker>, peer: IpAddr, request: Request<Incoming>) -> Response<AnswerBody> {
    let clock = Clock::start();
    let (head, body) = request.into_parts();
    match walk(&worker, peer, &head, body, clock).await {
        Ok(response) => response,
        Err(stop) => say_no(&worker, *stop),
    }
}

/// The walk.
async fn walk(
    worker: &Arc<Worker>,
    peer: IpAddr,
    head: &Parts,
    body: Incoming,
    clock: Clock,
) -> Result<Response<AnswerBody>, Box<Stop>> {
    let shared = &worker.shared;
    if shared.draining.is_cancelled() {
        return Err(Box::new(Code::Draining.into()));
    }

    // Route: which upstream, which endpoint.
    let route = route::find(&shared.upstreams, &head.uri).map_err(|refusal| Box::new(refusal.into()))?;
    let mut stop = Stopper { provider: route.upstream.provider, tenant: None };
    let endpoint = route.upstream.provider.endpoint(&head.method, route.path);

    // Identify: whose key, whose tenant.
    let labels = attribution::read(&head.headers, &route, &shared.aliases).map_err(|refusal| stop.no(refusal))?;
    let key = identify(worker, peer, head).await.map_err(|refusal| stop.no(refusal))?;
    let mut body = Body::Coming(body);
    let caller = attribute(worker, key, labels, &mut body).await.map_err(|refusal| stop.no(refusal))?;
    stop.tenant = caller.tenant_id.clone();

    // Admit: may it go there, now.
    let passage = admit(worker, &caller, &route, endpoint).map_err(|refusal| stop.no(refusal))?;
    if passage.is_asking {
        body.hold_if_it_fits(worker).await.map_err(|refusal| stop.no(refusal))?;
    }

    // Intend: the row it becomes if nothing else is ever said of it.
    let mut call = intend(worker, head, &route, caller, passage, &mut body, clock)
        .await
        .map_err(|refusal| stop.no(refusal))?;

    // Forward: the same request, with our credential in place of theirs.
    let amended = body.amend(&mut call);
    let request = prepare(head, &route, &call, body.into_request_body(worker, &call), amended);
    let answer = match forward(worker, &mut call, request).await {
        Ok(answer) => answer,
        Err(code) => return Err(stop.failed(code, &call)),
    };

    // Observe: bytes go down at once; the copy is read, settled and priced at its end.
    Ok(observe(call, answer, amended))
}

/// Remembers how to say no.
struct Stopper {
    provider: &'static Provider,
    tenant: Option<TenantId>,
}

impl Stopper {
    fn no(&self, refusal: Refusal) -> Box<Stop> {
        Box::new(Stop { refusal, provider: Some(self.provider), tenant: self.tenant.clone(), event_id: None })
    }

    fn failed(&self, code: Code, call: &Call) -> Box<Stop> {
        let event_id = call.is_recorded.then_some(call.event.call_id);
        Box::new(Stop { refusal: code.into(), provider: Some(self.provider), tenant: self.tenant.clone(), event_id })
    }
}

/// The virtual key, checked; `None` on a trusted network without one.
async fn identify(worker: &Worker, peer: IpAddr, head: &Parts) -> Result<Option<Arc<KeyRow>>, Refusal> {
    let shared = &worker.shared;
    let Some(presented) = identity::find_presented(&head.headers, head.uri.query()) else {
        return match shared.config.proxy.anonymous {
            Anonymous::Header => Ok(None),
            Anonymous::Refuse => Err(Code::MissingKey.into()),
        };
    };
    let now = settle::now();
    match shared.identity.lookup(&presented.value, peer, now) {
        Lookup::Known(row) => Ok(Some(row)),
        Lookup::Refused(refusal) => Err(refusal),
        Lookup::Cold => shared.identity.verify(&presented.value, peer, now).await.map(Some),
    }
}

/// Who pays for a call, and what it is called.
struct Caller {
    key: Option<Arc<KeyRow>>,
    tenant_id: Option<TenantId>,
    tenant: Option<Arc<Tenant>>,
    attribution: Attribution,
    labels: Labels,
}

/// Key's tenant > header > path > query > session > body > none; a scoped key is never contradicted.
async fn attribute(
    worker: &Worker,
    key: Option<Arc<KeyRow>>,
    mut labels: Labels,
    body: &mut Body,
) -> Result<Caller, Refusal> {
    let shared = &worker.shared;
    let config = &shared.config.proxy;
    let key_id = key.as_ref().map(|key| key.key_id);
    let named = std::mem::take(&mut labels.named_tenants);
    let scoped = key.as_ref().and_then(|key| key.tenant_id.clone());
    let (mut tenant_id, mut attribution) = match &scoped {
        Some(own) if named.iter().any(|(named, _)| named != own) => return Err(Code::TenantConflict.into()),
        Some(own) => (Some(own.clone()), Attribution::Key),
        None => {
            if let Some(key) = &key
                && named.iter().any(|(named, _)| !key.may_name(named.as_str()))
            {
                return Err(Code::MayNotAttribute.into());
            }
            match named.into_iter().next() {
                Some((tenant, attribution)) => (Some(tenant), attribution),
                None => (None, Attribution::None),
            }
        }
    };
    if tenant_id.is_none()
        && let Some(session) = &labels.session_id
        && let Some(tenant) = shared.sessions.tenant(key_id, session)
    {
        (tenant_id, attribution) = (Some(tenant), Attribution::Session);
    }
    if tenant_id.is_none() && config.body_tenant == BodyTenant::Read {
        let held = body.hold(worker).await?;
        if let Some(text) = attribution::body_tenant(held) {
            let tenant = TenantId::new(&text)
                .map_err(|error| Refusal::from(Code::InvalidTenant).with_detail(error.to_string()))?;
            if key.as_ref().is_some_and(|key| !key.may_name(tenant.as_str())) {
                return Err(Code::MayNotAttribute.into());
            }
            (tenant_id, attribution) = (Some(tenant), Attribution::Body);
        }
    }
    if let (Some(tenant), Some(session)) = (&tenant_id, &labels.session_id)
        && shared.sessions.remember(key_id, session, tenant)
    {
        shared.metrics.session_conflict();
    }
    let tenant = match &tenant_id {
        None if config.unattributed == Unattributed::Refuse => return Err(Code::TenantRequired.into()),
        None => None,
        Some(tenant_id) => match shared.directory.tenant(tenant_id.as_str()) {
            None if config.unknown_tenant == UnknownTenant::Refuse => return Err(Code::UnknownTenant.into()),
            None => None,
            Some(tenant) if !tenant.is_active() => return Err(Code::TenantSuspended.into()),
            Some(tenant) => Some(tenant),
        },
    };
    Ok(Caller { key, tenant_id, tenant, attribution, labels })
}

/// What admission decided.
struct Passage {
    upstream: Arc<Upstream>,
    endpoint: &'static Endpoint,
    paid_by: PaidBy,
    credentials: Credentials,
    permit: Permit,
    is_asking: bool,
}

/// Class of the route, lists of the key, rates of the tenant; in the order of what is cheapest to say.
fn admit(
    worker: &Worker,
    caller: &Caller,
    route: &Route<'_>,
    endpoint: Option<&'static Endpoint>,
) -> Result<Passage, Refusal> {
    let shared = &worker.shared;
    let is_own = caller.key.as_ref().is_none_or(|key| key.own_credential);
    let (paid_by, credentials) = if is_own {
        (PaidBy::Caller, Credentials::KeepOwn)
    } else {
        (PaidBy::Operator, Credentials::Replace)
    };
    let upstream = match &caller.key {
        Some(key) if !key.may_reach(&route.upstream.name) => return Err(Code::UpstreamNotAllowed.into()),
        Some(key) if key.environment == Environment::Test => {
            let twin = shared.test_upstreams.get(&route.upstream.name);
            twin.ok_or_else(|| Refusal::from(Code::UpstreamNotAllowed).with_detail("No test upstream is configured."))?
        }
        _ => route.upstream,
    };
    let endpoint = match endpoint {
        Some(endpoint) => {
            check_class(endpoint, upstream, paid_by)?;
            endpoint
        }
        None => {
            let default = if is_own { UnknownRoutes::Forward } else { UnknownRoutes::Refuse };
            match shared.config.proxy.unknown_routes.unwrap_or(default) {
                UnknownRoutes::Refuse => return Err(Code::UnknownRoute.into()),
                UnknownRoutes::Forward => &route::UNKNOWN,
            }
        }
    };
    if paid_by == PaidBy::Operator && upstream.credential.is_none() {
        return Err(Code::CredentialMissing.into());
    }
    let permit = shared.admission.admit(caller.tenant_id.as_ref())?;
    let asks = match caller.tenant.as_ref().and_then(|tenant| tenant.settings().stream_usage) {
        Some(setting) => setting == StreamUsage::Ask,
        None => upstream.stream_usage == StreamUsage::Ask,
    };
    let is_asking = asks && endpoint.amend_request.is_some();
    Ok(Passage { upstream: Arc::clone(upstream), endpoint, paid_by, credentials, permit, is_asking })
}

fn check_class(endpoint: &Endpoint, upstream: &Upstream, paid_by: PaidBy) -> Result<(), Refusal> {
    match endpoint.class {
        Class::Metered | Class::Free => Ok(()),
        Class::Escape if upstream.forwards_escape_routes => Ok(()),
        Class::Escape => Err(Code::RouteNotAllowed.into()),
        // With the caller's own credential the vendor decides who owns what.
        Class::State if paid_by != PaidBy::Operator || upstream.has_shared_state => Ok(()),
        Class::State if endpoint.keeps == Keeps::List => Err(Code::RouteNotAllowed.into()),
        Class::State => Err(Refusal::from(Code::RouteNotAllowed)
            .with_detail("Stored objects need upstreams.X.shared_state = true.")),
    }
}

/// The request's body, as far as it was needed yet.
enum Body {
    Coming(Incoming),
    Held(Bytes),
    /// Held up to the bound; the rest comes after it. Nothing is amended.
    Spilled(Vec<Bytes>, Incoming),
}

impl Body {
    /// Waits for the whole body; one over the named bound is refused.
    async fn hold(&mut self, worker: &Worker) -> Result<&[u8], Refusal> {
        self.hold_if_it_fits(worker).await?;
        self.known().ok_or_else(|| Code::RequestTooLarge.into())
    }

    /// Waits for the whole body, up to the named bound; one over it goes on as it comes.
    async fn hold_if_it_fits(&mut self, worker: &Worker) -> Result<(), Refusal> {
        if let Self::Coming(_) = self
            && let Self::Coming(incoming) = std::mem::replace(self, Self::Held(Bytes::new()))
        {
            *self = collect(worker, incoming).await?;
        }
        Ok(())
    }

    fn known(&self) -> Option<&[u8]> {
        match self {
            Self::Held(bytes) => Some(bytes),
            Self::Coming(_) | Self::Spilled(..) => None,
        }
    }

    /// Splices the usage option into a held body that needs it.
    fn amend(&mut self, call: &mut Call) -> bool {
        let (Self::Held(bytes), Some(amend), true) = (&mut *self, call.endpoint.amend_request, call.is_asking) else {
            return false;
        };
        let Some(splice) = amend(bytes) else { return false };
        *bytes = splice.apply(bytes);
        call.event.request_amended = true;
        true
    }

    fn into_request_body(self, worker: &Worker, call: &Call) -> RequestBody {
        match self {
            Self::Held(bytes) => {
                call.upload.sent_whole(bytes.len() as u64);
                RequestBody::held(vec![bytes])
            }
            Self::Coming(incoming) => {
                let pause = std::time::Duration::from_millis(worker.shared.config.proxy.body_timeout_ms);
                RequestBody::streaming(incoming, Arc::clone(&call.upload), call.endpoint.is_read, pause)
            }
            Self::Spilled(parts, incoming) => {
                let pause = std::time::Duration::from_millis(worker.shared.config.proxy.body_timeout_ms);
                RequestBody::spilled(parts, incoming, Arc::clone(&call.upload), pause)
            }
        }
    }
}

async fn collect(worker: &Worker, mut incoming: Incoming) -> Result<Body, Refusal> {
    let config = &worker.shared.config.proxy;
    let pause = std::time::Duration::from_millis(config.body_timeout_ms);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut held = 0;
    while !incoming.is_end_stream() {
        let frame = match tokio::time::timeout(pause, incoming.frame()).await {
            Err(_) => return Err(Code::RequestTimeout.into()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Code::MalformedRequest.into()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(chunk) = frame.into_data() else { continue };
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

/// Puts the intent into the spool. Without room the tenant's own choice holds.
async fn intend(
    worker: &Worker,
    head: &Parts,
    route: &Route<'_>,
    caller: Caller,
    passage: Passage,
    body: &mut Body,
    clock: Clock,
) -> Result<Call, Refusal> {
    let shared = &worker.shared;
    let settings = caller.tenant.as_ref().map(|tenant| tenant.settings().clone()).unwrap_or_default();
    let mut evidence = Evidence::default();
    if passage.endpoint.is_read {
        (passage.endpoint.request_facts)(&mut evidence, route.query.as_deref(), body.known());
    }
    evidence.counts.request_bytes = match body.known() {
        Some(bytes) => bytes.len() as u64,
        None => content_length(&head.headers).unwrap_or(0),
    };
    let bounds = (passage.endpoint.usage_of)(&evidence);
    let mut event = begin_event(settle::now(), caller, &passage, &evidence);
    (event.usage_low, event.usage_high) = (bounds.low, bounds.high);
    let event_id = event.event_id;
    let appended = settle::with_record(&mut event, |record| shared.spool.append_intent(event_id, record));
    let ticket = match appended {
        Ok(ticket) => Some(ticket),
        Err(error) => {
            if settings.on_unrecordable == OnUnrecordable::Refuse {
                return Err(Code::CannotRecord.into());
            }
            shared.unrecorded.count(&event, &error);
            shared.metrics.unrecorded(event.tenant_id.as_ref());
            None
        }
    };
    let mut call = Call {
        shared: Arc::clone(shared),
        provider: passage.upstream.provider,
        upstream: passage.upstream,
        endpoint: passage.endpoint,
        credentials: passage.credentials,
        is_asking: passage.is_asking,
        is_recorded: ticket.is_some(),
        event: Box::new(event),
        evidence,
        ticket,
        permit: passage.permit,
        upload: Arc::default(),
        query: route.query.as_deref().map(str::to_owned),
        clock,
        cost_usd: None,
        is_settled: false,
    };
    let is_synced_first = settings.spool_sync.unwrap_or(shared.config.spool.sync) == SpoolSync::BeforeUpstream;
    if is_synced_first
        && let Some(position) = call.ticket.as_ref().map(Ticket::position)
        && shared.spool.synced(position).await.is_err()
        && settings.on_unrecordable == OnUnrecordable::Refuse
    {
        call.settle_unreached(Ending::UpstreamFailed);
        return Err(Code::CannotRecord.into());
    }
    Ok(call)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The record of a call of which nothing is known but that it began.
fn begin_event(
    started_at: Timestamp,
    caller: Caller,
    passage: &Passage,
    evidence: &Evidence,
) -> Event {
    let event_id = settle::new_event_id(started_at);
    let labels = caller.labels;
    let upstream = &passage.upstream;
    Event {
        event_id,
        call_id: event_id,
        part: 1,
        is_final: true,
        schema: SCHEMA,
        tenant_id: caller.tenant_id,
        customer_id: labels.customer_id,
        project: labels.project,
        agent: labels.agent,
        revision: labels.revision,
        session_id: labels.session_id,
        run_id: labels.run_id,
        span_id: labels.span_id,
        parent_span_id: labels.parent_span_id,
        section: labels.section,
        metadata: labels.metadata,
        synthetic: labels.synthetic,
        environment: caller.key.as_ref().map_or(Environment::Live, |key| key.environment),
        attribution: caller.attribution,
        key_id: caller.key.as_ref().map(|key| key.key_id),
        credential_id: (passage.paid_by == PaidBy::Operator).then(|| upstream.name.clone()),
        paid_by: passage.paid_by,
        upstream: upstream.name.clone(),
        provider: upstream.provider.name.to_owned(),
        endpoint: passage.endpoint.kind,
        region: upstream.region.clone(),
        model_requested: evidence.request_text("model").map(str::to_owned),
        model: None,
        service_tier: None,
        started_at,
        ended_at: None,
        ttfb_ms: None,
        ttft_ms: None,
        duration_ms: None,
        overhead_ms: None,
        status: None,
        ending: Ending::Interrupted,
        streaming: false,
        transport: Transport::Http,
        request_bytes: Some(evidence.counts.request_bytes),
        response_bytes: None,
        request_amended: false,
        attempt: 1,
        client_retry: labels.client_retry,
        sanitised: labels.sanitised,
        lines: Vec::new(),
        usage: Usage::new(),
        usage_source: UsageSource::Missing,
        usage_reason: Some("interrupted".to_owned()),
        usage_low: None,
        usage_high: None,
        evidence: None,
        claimed_usd: None,
        pricing: Pricing::Unknown,
        rate_cards: RateCards::default(),
        upstream_request_id: None,
        response_id: None,
        node: None,
        epoch: None,
        seq: None,
        content_sha256: None,
    }
}

/// The request as the upstream sees it.
fn prepare(head: &Parts, route: &Route<'_>, call: &Call, body: RequestBody, is_amended: bool) -> Request<RequestBody> {
    let shared = &call.shared;
    let origin = &call.upstream.origin;
    let mut headers = headers::for_upstream(&head.headers, &origin.authority, call.credentials, |name| {
        shared.aliases.contains(name)
    });
    if call.credentials == Credentials::Replace
        && let Some(credential) = &call.upstream.credential
    {
        headers::insert_credential(&mut headers, call.provider.credential, credential.expose());
    }
    if is_amended {
        // The connection writes the new length.
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut path = String::with_capacity(origin.path.len() + route.path.len() + 1);
    path.push_str(&origin.path);
    path.push_str(route.path);
    if let Some(query) = &route.query {
        path.push('?');
        path.push_str(query);
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    // It was a path and query of a valid URI, less some whole parameters.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
    *request.headers_mut() = headers;
    request
}

/// Sends the request, a second time only when no byte of the first was written. Each time has its row.
async fn forward(
    worker: &Worker,
    call: &mut Call,
    mut request: Request<RequestBody>,
) -> Result<crate::upstream::Answer, Code> {
    let bound = std::time::Duration::from_millis(worker.shared.config.proxy.first_byte_timeout_ms);
    loop {
        call.clock.sent = Some(std::time::Instant::now());
        let upstream = Arc::clone(&call.upstream);
        let is_repeat = call.event.attempt > 1;
        let sent = tokio::time::timeout(bound, worker.pool.send(&upstream, request, is_repeat)).await;
        match sent {
            Ok(Ok(answer)) => {
                call.clock.head = Some(std::time::Instant::now());
                return Ok(answer);
            }
            Ok(Err(SendFailure::NotWritten(unsent, Code::UpstreamClosed))) if call.event.attempt < ATTEMPTS_MAX => {
                request = *unsent;
                call.begin_next_attempt();
            }
            Ok(Err(SendFailure::NotWritten(_, code))) => {
                call.fail(code, false);
                return Err(code);
            }
            Ok(Err(SendFailure::Written(code))) => {
                let code = if call.upload.is_paused() { Code::RequestTimeout } else { code };
                let code = if call.upload.is_failed() { Code::MalformedRequest } else { code };
                call.fail(code, true);
                return Err(code);
            }
            Err(_) => {
                call.fail(Code::UpstreamTimeout, true);
                return Err(Code::UpstreamTimeout);
            }
        }
    }
}

/// Hands the answer down with a reader beside it.
fn observe(mut call: Call, answer: crate::upstream::Answer, is_amended: bool) -> Response<AnswerBody> {
    let (mut head, incoming) = answer.response.into_parts();
    headers::clean_answer(&mut head.headers);
    let content_type = text(&head.headers, header::CONTENT_TYPE);
    let encoding = text(&head.headers, header::CONTENT_ENCODING);
    let event = &mut call.event;
    event.status = Some(head.status.as_u16());
    event.upstream_request_id = head
        .headers
        .get(call.provider.request_id_header)
        .and_then(|value| value.to_str().ok())
        .map(|id| farebox_pricing::id::sanitise(id, farebox_pricing::id::SCALARS_MAX).0);
    let is_sse = content_type.as_deref().is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
    if is_sse {
        event.transport = Transport::Sse;
        event.streaming = true;
    }
    let decoder = encoding
        .as_deref()
        .filter(|encoding| !Decoder::is_identity(encoding))
        .map(|encoding| Decoder::new(encoding, DECODED_BYTES_MAX));
    let rewrite = match decoder {
        _ if !(is_amended && is_sse) => None,
        None => Some(Rewrite { decoder: None, stripper: UsageStripper::new() }),
        Some(Some(decoder)) => Some(Rewrite { decoder: Some(decoder), stripper: UsageStripper::new() }),
        // An encoding that we do not know was not ours to ask for; it passes as it is.
        Some(None) => None,
    };
    let reader_encoding = match &rewrite {
        Some(Rewrite { decoder: Some(_), .. }) => {
            head.headers.remove(header::CONTENT_ENCODING);
            None
        }
        _ => encoding,
    };
    if rewrite.is_some() {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let reader = Reader::new(
        call.endpoint,
        std::mem::take(&mut call.evidence),
        head.status.as_u16(),
        content_type.as_deref(),
        reader_encoding.as_deref(),
    );
    if call.is_recorded {
        head.headers.insert(EVENT_HEADER, id_value(call.event.call_id));
    }
    if let Some(warning) = call.permit.warning().and_then(|text| HeaderValue::from_str(text).ok()) {
        head.headers.insert(WARNING_HEADER, warning);
    }
    call.clock.answered = Some(std::time::Instant::now());
    let mut observed = Observed::new(call, incoming, reader, answer.lease, rewrite);
    if observed.is_empty() {
        observed.end_with_head();
    }
    Response::from_parts(head, AnswerBody::Observed(Box::new(observed)))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn id_value(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).expect("a UUID is hexadecimal digits and hyphens")
}

/// A refusal or a failure of ours, in the dialect's own shape.
fn say_no(worker: &Worker, stop: Stop) -> Response<AnswerBody> {
    let code = stop.refusal.code;
    if stop.event_id.is_none() {
        worker.shared.metrics.refusal(stop.tenant.as_ref(), code);
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
    *response.status_mut() = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(provider.error_content_type));
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
    response
}
