//! Every way a call ends without the upstream's own answer: side, stable code, status, and what the
//! caller's SDK should do next. The body's shape is the dialect's (`provider::Provider::error_body`).

use std::borrow::Cow;

macro_rules! codes {
    ($($variant:ident $status:literal $code:literal $side:ident $retry:literal $message:literal;)+) => {
        /// A stable code of the public contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $message] $variant,)+
        }

        impl Code {
            /// Every code, for the reference and its test.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As in `error.code` and `x-farebox-error`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Whose doing it is.
            #[must_use]
            pub fn side(self) -> Side {
                match self { $(Self::$variant => Side::$side,)+ }
            }

            /// Whether the same call can succeed later without anybody changing anything.
            #[must_use]
            pub fn can_retry(self) -> bool {
                match self { $(Self::$variant => $retry,)+ }
            }

            /// The sentence for people.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }
        }
    };
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller's.
    Downstream,
    /// The provider's or the way to it.
    Upstream,
    /// Farebox's own.
    Ours,
}

codes! {
    MalformedRequest 400 "malformed_request" Downstream false "The request is malformed.";
    BadHandshake 400 "bad_handshake" Downstream false "The WebSocket handshake is not valid.";
    InvalidTenant 400 "invalid_tenant" Downstream false "The tenant is not a valid identifier.";
    TenantRequired 400 "tenant_required" Downstream false "This deployment requires a tenant on every call.";
    InvalidMetadata 400 "invalid_metadata" Downstream false "The metadata header is not a flat JSON object within its bounds.";
    MissingKey 401 "missing_key" Downstream false "No virtual key was presented.";
    InvalidKey 401 "invalid_key" Downstream false "The virtual key is not valid.";
    ExpiredKey 401 "expired_key" Downstream false "The virtual key has expired.";
    RevokedKey 401 "revoked_key" Downstream false "The virtual key has been revoked.";
    TenantConflict 403 "tenant_conflict" Downstream false "The virtual key belongs to another tenant than the one named.";
    MayNotAttribute 403 "may_not_attribute" Downstream false "The virtual key may not name this tenant.";
    TenantSuspended 403 "tenant_suspended" Downstream false "The tenant is suspended.";
    UpstreamNotAllowed 403 "upstream_not_allowed" Downstream false "The virtual key or tenant may not use this upstream.";
    RouteNotAllowed 403 "route_not_allowed" Downstream false "This route is not allowed through the proxy.";
    ModelNotAllowed 403 "model_not_allowed" Downstream false "The virtual key or tenant may not use this model.";
    ToolNotAllowed 403 "tool_not_allowed" Downstream false "The virtual key or tenant may not use this tool.";
    AgentLimit 403 "agent_limit" Downstream false "The tenant has no room for another agent.";
    ModelUnpriced 403 "model_unpriced" Downstream false "The model has no price and the tenant does not allow that.";
    NetworkNotAllowed 403 "network_not_allowed" Downstream false "The virtual key may not be used from this network.";
    UnknownUpstream 404 "unknown_upstream" Downstream false "No upstream of this name is configured.";
    UnknownTenant 404 "unknown_tenant" Downstream false "The tenant is not known.";
    UnknownRoute 404 "unknown_route" Downstream false "This route is not known for the upstream.";
    UnknownObject 404 "unknown_object" Downstream false "No such object is kept for this tenant.";
    RequestTimeout 408 "request_timeout" Downstream true "The request did not arrive in time.";
    RequestTooLarge 413 "request_too_large" Downstream false "The request body is larger than a decision on it allows.";
    HeadTooLarge 431 "head_too_large" Downstream false "The request head is too large.";
    RateLimited 429 "rate_limited" Downstream true "The rate limit is reached.";
    ConcurrencyLimited 429 "concurrency_limited" Downstream true "Too many calls at once.";
    QuantityExceeded 429 "quantity_exceeded" Downstream false "The quantity limit is reached.";
    BudgetExceeded 429 "budget_exceeded" Downstream false "The budget is spent.";
    UpstreamUnreachable 502 "upstream_unreachable" Upstream true "The upstream cannot be reached.";
    UpstreamTls 502 "upstream_tls" Upstream true "The upstream's TLS handshake failed.";
    UpstreamClosed 502 "upstream_closed" Upstream true "The upstream closed the connection before it answered.";
    UpstreamTimeout 504 "upstream_timeout" Upstream true "The upstream did not answer in time.";
    CannotRecord 503 "cannot_record" Ours true "The call cannot be recorded now and its tenant requires that.";
    AuthenticationBusy 503 "authentication_busy" Ours true "Too many new keys are being verified.";
    CredentialMissing 503 "credential_missing" Ours false "No provider credential is configured for this upstream.";
    OwnerUnavailable 503 "owner_unavailable" Ours true "Who owns this object cannot be found out now.";
    LimitUnavailable 503 "limit_unavailable" Ours true "The limit cannot be checked now.";
    Overloaded 503 "overloaded" Ours true "The proxy is overloaded.";
    Draining 503 "draining" Ours true "The proxy is shutting down.";
}

/// A call that goes no further, with what to tell the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What happened.
    pub code: Code,
    /// More than the code's own sentence, when there is more to say. Never a secret, never content.
    pub detail: Option<Cow<'static, str>>,
    /// Seconds after which a retry can help.
    pub retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// A refusal that the code explains.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            retry_after_seconds: None,
        }
    }

    /// With more to say.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With the time after which a retry can help, rounded up to a whole second.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds.max(1));
        self
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match &self.detail {
            Some(detail) => Cow::Owned(format!("{} {detail}", self.code.message())),
            None => Cow::Borrowed(self.code.message()),
        }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}
