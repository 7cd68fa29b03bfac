//! The usage event: one row for each attempt of a call, or each part of a socket.
//!
//! Fields and names are fixed by the public contract; they only grow. An intent in the spool is the
//! same record in the form it keeps if nothing else is ever said of it (`ending = interrupted`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::evidence::Evidence;
use crate::id::TenantId;
use crate::money::{Decimal, Usd};
use crate::time::Timestamp;
use crate::usage::{Line, Meter, Usage, UsageSource};

pub use crate::usage::MODEL_BYTES_MAX;

mod record;

pub use record::write;

/// Version of the record's shape.
pub const SCHEMA: u32 = 1;
/// Most things kept by a vendor that one event names.
pub const OBJECTS_MAX: usize = 8;
/// Longest name of one of them, in bytes; a longer one is left out.
pub const OBJECT_BYTES_MAX: usize = 256;

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every member.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON, SQL and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

closed_set! {
    /// Where the tenant came from.
    Attribution {
        /// The virtual key's own tenant.
        Key "key",
        /// A request header.
        Header "header",
        /// The `/t/<tenant>` prefix.
        Path "path",
        /// The `farebox-tenant` query parameter.
        Query "query",
        /// The session's earlier calls.
        Session "session",
        /// The request body's metadata.
        Body "body",
        /// Nobody said.
        None "none",
    }
}

closed_set! {
    /// Which kind of traffic the key is for.
    Environment {
        /// Real upstreams, real invoices.
        Live "live",
        /// The simulated upstream, never on an invoice.
        Test "test",
    }
}

closed_set! {
    /// Who the provider bills.
    PaidBy {
        /// The operator's credential was used.
        Operator "operator",
        /// The tenant's stored credential was used.
        Tenant "tenant",
        /// The caller brought its own credential.
        Caller "caller",
    }
}

closed_set! {
    /// What kind of call an endpoint serves.
    EndpointKind {
        /// Chat completions.
        Chat "chat",
        /// Text completions.
        Completions "completions",
        /// Responses.
        Responses "responses",
        /// Embeddings.
        Embeddings "embeddings",
        /// Anthropic messages.
        Messages "messages",
        /// Gemini generate content.
        GenerateContent "generate_content",
        /// Gemini interactions.
        Interactions "interactions",
        /// Speech to text of a file.
        Transcription "transcription",
        /// Text to speech of OpenAI's shape.
        Speech "speech",
        /// Images.
        Image "image",
        /// Videos.
        Video "video",
        /// A realtime socket.
        Realtime "realtime",
        /// Deepgram's speech to text.
        Listen "listen",
        /// Deepgram's text to speech.
        Speak "speak",
        /// A voice agent.
        Agent "agent",
        /// Batches.
        Batch "batch",
        /// Rerank.
        Rerank "rerank",
        /// Optical character recognition.
        Ocr "ocr",
        /// Anything else.
        Other "other",
    }
}

closed_set! {
    /// How an answer ended.
    Ending {
        /// Ended by the upstream, status below 400.
        Complete "complete",
        /// A whole answer of status 400 or above.
        RefusedByUpstream "refused_by_upstream",
        /// No answer, a broken one, or an error event in it.
        UpstreamFailed "upstream_failed",
        /// The caller went away.
        DownstreamGone "downstream_gone",
        /// A named bound of ours passed.
        Timeout "timeout",
        /// We ended it: a limit, a revocation, a drain.
        Cut "cut",
        /// The proxy died with the call in flight.
        Interrupted "interrupted",
        /// A socket's part that is not its last.
        Continues "continues",
    }
}

closed_set! {
    /// How the answer travelled.
    Transport {
        /// A plain body.
        Http "http",
        /// Server-sent events.
        Sse "sse",
        /// A WebSocket.
        Websocket "websocket",
    }
}

closed_set! {
    /// How far the event is priced; speaks of `billed_usd`.
    Pricing {
        /// Every line has its rates.
        Priced "priced",
        /// Some lines have.
        Partial "partial",
        /// No line has.
        Unpriced "unpriced",
        /// Nothing is known to price.
        Unknown "unknown",
        /// Nothing to bill.
        Free "free",
        /// Already charged by another event.
        Repeat "repeat",
    }
}

/// A price of `usd` for every `per` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// US dollars, after all factors.
    pub usd: Decimal,
    /// Units the dollars are for.
    pub per: Decimal,
}

/// The name of a selling rule.
#[derive(Clone, Debug, Eq)]
pub enum PriceRule {
    /// What holds where no rule is written.
    Own(&'static str),
    /// A rule of the operator's; charges of one event share its name.
    Named(Arc<str>),
}

impl Deref for PriceRule {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Named(name) => name,
        }
    }
}

impl PartialEq for PriceRule {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<&str> for PriceRule {
    fn from(name: &str) -> Self {
        Self::Named(Arc::from(name))
    }
}

impl Serialize for PriceRule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for PriceRule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Arc::deserialize(deserializer).map(Self::Named)
    }
}

/// One meter of one model, priced: quantity × rate, rounded once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The model as billed; charges of one line share it.
    pub model: Arc<str>,
    /// What was counted.
    pub meter: Meter,
    /// How much of it.
    pub quantity: Decimal,
    /// What the provider asks, after all factors.
    pub cost_rate: Option<Rate>,
    /// What the operator asks, after all factors.
    pub price_rate: Option<Rate>,
    /// What the provider charges.
    pub cost_usd: Option<Usd>,
    /// What the operator charges.
    pub billed_usd: Option<Usd>,
    /// Which rate of which card; charges that came about in the same way share it.
    pub cost_rule: Option<Arc<str>>,
    /// Which selling rule.
    pub price_rule: Option<PriceRule>,
    /// The quantity that the selling rule makes of what was counted, where it has steps or a minimum of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_quantity: Option<Decimal>,
}

/// Revisions of the cards an event was priced by: SHA-256 in lower-case hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateCards {
    /// The provider's card.
    pub cost: Option<Arc<str>>,
    /// The selling rules.
    pub price: Option<Arc<str>>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// One row of the ledger, as the proxy knows it. What only the collector knows (`received_at`,
/// `period`, `is_late`, `settles`, `repeats`, booked money) is not part of the record in the spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    // Identity.
    /// UUIDv7; its millisecond is `started_at`.
    pub event_id: Uuid,
    /// The event id of the call's first attempt and part.
    pub call_id: Uuid,
    /// From 1.
    pub part: u32,
    /// Whether this is the call's last part.
    pub is_final: bool,
    /// Version of this shape.
    pub schema: u32,

    // Attribution.
    /// Null: unattributed.
    pub tenant_id: Option<TenantId>,
    /// The tenant's plan when the call began; selling rules go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The tenant's end customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// A project of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// An agent of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agent's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// A conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// A run of an agent; from `x-farebox-run` or the trace id of `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// A step of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The step above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// A part of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// The caller's own flat labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Test traffic by the caller's own word; billed as any call.
    #[serde(default, skip_serializing_if = "is_false")]
    pub synthetic: bool,
    /// The key's environment.
    pub environment: Environment,
    /// Where the tenant came from.
    pub attribution: Attribution,
    /// The virtual key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Uuid>,
    /// The provider credential, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// Who the provider bills.
    pub paid_by: PaidBy,

    // Where it went.
    /// The configured name.
    pub upstream: String,
    /// The vendor.
    pub provider: Cow<'static, str>,
    /// The kind of call.
    pub endpoint: EndpointKind,
    /// The upstream's region, where the host says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_requested: Option<String>,
    /// The model billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tier billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,

    // When.
    /// By the proxy's clock; decides price and period.
    pub started_at: Timestamp,
    /// Null on an interrupted call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// To the answer's first byte, in milliseconds with three decimals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<Decimal>,
    /// To the first generated output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Decimal>,
    /// To the answer's last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Decimal>,
    /// Time that is ours alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead_ms: Option<Decimal>,

    // How it went.
    /// The HTTP status that the upstream gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How the answer ended.
    pub ending: Ending,
    /// Whether the answer came as a stream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub streaming: bool,
    /// How the answer travelled.
    pub transport: Transport,
    /// Bytes of the body sent upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Bytes of the body that came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Whether the usage option was spliced into the request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub request_amended: bool,
    /// Ours, from 1.
    pub attempt: u32,
    /// The SDK's own retry count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_retry: Option<u32>,
    /// Whether a text had to be made to fit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sanitised: bool,

    // What is charged.
    /// What pricing reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// The lines' sum.
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
    /// How the quantities are known.
    pub usage_source: UsageSource,
    /// Why it is not `reported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_reason: Option<Cow<'static, str>>,
    /// Lower bounds, when not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_low: Option<Usage>,
    /// Upper bounds, when not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_high: Option<Usage>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The proxy's own figure of `billed_usd`; the collector's is booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_usd: Option<Usd>,
    /// How far the proxy could price it.
    pub pricing: Pricing,
    /// Revisions the proxy priced by; the collector uses the same.
    #[serde(default)]
    pub rate_cards: RateCards,

    // For reconciliation.
    /// The provider's request id header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// The id in the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// The call made its answer itself; one without this may have fetched what another call made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub original: bool,
    /// What the vendor keeps since this call, or belongs to what the call asked for: files, batches,
    /// responses. At most [`OBJECTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,

    // Added by the shipper from the record's place in the spool.
    /// The proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The proxy's process start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The settlement's number in the epoch, from 1 without gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// SHA-256 in hex over the record as spooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
}
