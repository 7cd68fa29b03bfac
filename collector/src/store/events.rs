//! Usage events as the API shows them: what was first booked, and beside it the current amounts.
//!
//! A tenant sees no purchase price where the operator pays, and nothing of the proxies' inside.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::exports::Kind;

mod charges;
mod seek;

use charges::Charges;
pub(crate) use charges::shown as shown_charges;

macro_rules! event {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $column:expr,)+) => {
        /// One event of the ledger. Fields are those of the event as shipped, and what was booked.
        #[derive(Clone, Debug, Serialize, ToSchema)]
        pub(crate) struct UsageEvent {
            $($(#[$doc])* pub $field: $type,)+
        }

        /// The columns, in the order of the fields. `$1` says whether a tenant asks.
        const COLUMNS: &[&str] = &[$($column,)+];

        /// Names of the fields in their order, and how each stands in JSON.
        pub(crate) const FIELDS: &[(&str, Kind)] =
            &[$((stringify!($field), <$type as Column>::KIND),)+];

        fn read(row: &Row) -> Result<UsageEvent, Error> {
            let mut index = 0..;
            let mut next = || index.next().unwrap_or_default();
            Ok(UsageEvent { $($field: <$type as Column>::read(row, next())?,)+ })
        }
    };
}

/// How a field is read from its column: JSON travels as text and stays as it is.
trait Column: Sized {
    const KIND: Kind;

    fn read(row: &Row, index: usize) -> Result<Self, Error>;
}

macro_rules! plain_columns {
    ($kind:expr, $($type:ty)+) => {
        $(impl Column for $type {
            const KIND: Kind = $kind;

            fn read(row: &Row, index: usize) -> Result<Self, Error> {
                row.try_get(index)
            }
        })+
    };
}

plain_columns!(Kind::Text, Uuid Option<Uuid> String Option<String>);
plain_columns!(Kind::Raw, i32 Option<i32> Option<i64> bool Option<bool>);

impl Column for Option<Box<RawValue>> {
    const KIND: Kind = Kind::Raw;

    fn read(row: &Row, index: usize) -> Result<Self, Error> {
        let text: Option<String> = row.try_get(index)?;
        Ok(text.and_then(|text| RawValue::from_string(text).ok()))
    }
}

event! {
    /// UUIDv7; its millisecond is `started_at`.
    event_id: Uuid = "event_id",
    /// The event id of the call's first attempt and part.
    call_id: Uuid = "call_id",
    /// From 1.
    part: i32 = "part",
    /// Whether this is the call's last part.
    is_final: bool = "is_final",
    /// The event whose usage this one tells.
    settles: Option<Uuid> = "(
        select links.other_event_id
        from farebox_private.event_links as links
        where links.event_id = usage_events.event_id and links.relation = 'settles'
    )",
    /// Version of the record's shape.
    schema: i32 = "schema",
    /// Null: unattributed.
    tenant_id: Option<String> = "tenant_id",
    /// The tenant's plan when the call began.
    plan: Option<String> = "plan",
    /// The tenant's end customer.
    customer_id: Option<String> = "coalesce((
        select customers.customer_id
        from farebox_private.customers
        where customers.tenant_id = usage_events.tenant_id
            and customers.reference = usage_events.customer_id
    ), usage_events.customer_id)",
    /// A project of the tenant.
    project: Option<String> = "project",
    /// An agent of the tenant.
    agent: Option<String> = "agent",
    /// The agent's revision.
    revision: Option<String> = "revision",
    /// A conversation.
    session_id: Option<String> = "session_id",
    /// A run of an agent.
    run_id: Option<String> = "run_id",
    /// A step of the run.
    span_id: Option<String> = "span_id",
    /// The step above it.
    parent_span_id: Option<String> = "parent_span_id",
    /// A part of the product.
    section: Option<String> = "section",
    /// The caller's own flat labels.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>> = "metadata::text",
    /// Test traffic by the caller's own word; billed as any call.
    synthetic: bool = "synthetic",
    /// `live` or `test`.
    environment: String = "environment",
    /// Where the tenant came from.
    attribution: String = "attribution",
    /// The virtual key.
    key_id: Option<Uuid> = "key_id",
    /// The provider credential, by name.
    credential_id: Option<String> = "case when not $1 or paid_by <> 'operator' then credential_id end",
    /// Who the provider bills: `operator`, `tenant` or `caller`.
    paid_by: String = "paid_by",
    /// The configured name.
    upstream: String = "upstream",
    /// The vendor.
    provider: String = "provider",
    /// The kind of call.
    endpoint: String = "endpoint",
    /// The upstream's region.
    region: Option<String> = "region",
    /// The model asked for.
    model_requested: Option<String> = "model_requested",
    /// The model billed.
    model: Option<String> = "model",
    /// The tier billed.
    service_tier: Option<String> = "service_tier",
    /// By the proxy's clock.
    started_at: String = r#"to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#,
    /// Null on an interrupted call.
    ended_at: Option<String> = r#"to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#,
    /// By the collector's clock.
    received_at: String = r#"to_char(received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#,
    /// Month it is invoiced in, by its first day.
    period: String = "period::text",
    /// Day in the tenant's zone.
    day: String = "day::text",
    /// Booked in a later month than its own, because that was closed.
    is_late: bool = "is_late",
    /// The proxy's clock and the collector's differ by more than five minutes.
    clock_suspect: bool = "clock_suspect",
    /// To the answer's first byte.
    ttfb_ms: Option<String> = "ttfb_ms::text",
    /// To the first generated output.
    ttft_ms: Option<String> = "ttft_ms::text",
    /// To the answer's last byte.
    duration_ms: Option<String> = "duration_ms::text",
    /// Time that is the proxy's alone; null for a tenant.
    overhead_ms: Option<String> = "case when not $1 then overhead_ms end::text",
    /// The HTTP status that the upstream gave.
    status: Option<i32> = "status",
    /// How the answer ended.
    ending: String = "ending",
    /// Whether the answer came as a stream.
    streaming: bool = "streaming",
    /// `http`, `sse` or `websocket`.
    transport: String = "transport",
    /// Bytes of the body sent upstream.
    request_bytes: Option<i64> = "request_bytes",
    /// Bytes of the body that came back.
    response_bytes: Option<i64> = "response_bytes",
    /// Whether the usage option was spliced into the request.
    request_amended: bool = "request_amended",
    /// The proxy's, from 1.
    attempt: i32 = "attempt",
    /// The SDK's own retry count.
    client_retry: Option<i32> = "client_retry",
    /// Whether a text had to be made to fit.
    sanitised: bool = "sanitised",
    /// What pricing reads.
    #[schema(value_type = Option<Vec<Object>>)]
    lines: Option<Box<RawValue>> = "lines::text",
    /// The lines' sum: quantity by meter, exact decimals.
    #[schema(value_type = Option<Object>)]
    usage: Option<Box<RawValue>> = "usage::text",
    /// How the quantities are known.
    usage_source: String = "usage_source",
    /// Why it is not `reported`.
    usage_reason: Option<String> = "usage_reason",
    /// Lower bounds.
    #[schema(value_type = Option<Object>)]
    usage_low: Option<Box<RawValue>> = "usage_low::text",
    /// Upper bounds.
    #[schema(value_type = Option<Object>)]
    usage_high: Option<Box<RawValue>> = "usage_high::text",
    /// What was seen; null for a tenant where the operator pays.
    #[schema(value_type = Option<Object>)]
    evidence: Option<Box<RawValue>> = "case when not $1 or paid_by <> 'operator' then evidence end::text",
    /// Quantity by rate; for a tenant without the cost half where the operator pays.
    #[schema(value_type = Option<Vec<Object>>)]
    charges: Option<Charges> = charges::COLUMN,
    /// What the provider charges; null when unpriced, and for a tenant where the operator pays.
    cost_usd: Option<String> = "trim_scale(case when not $1 or paid_by <> 'operator' then cost_usd end)::text",
    /// What the operator charges; null when unpriced.
    billed_usd: Option<String> = "trim_scale(billed_usd)::text",
    /// `cost_usd` with all adjustments; null: unpriced and never adjusted.
    adjusted_cost_usd: Option<String> = "trim_scale(
        case when not $1 or paid_by <> 'operator'
            then case when adjusted.cost_usd is null then usage_events.cost_usd
                else coalesce(usage_events.cost_usd, 0) + adjusted.cost_usd end
        end)::text",
    /// `billed_usd` with all adjustments; null: unpriced and never adjusted.
    adjusted_billed_usd: Option<String> = "trim_scale(
        case when adjusted.billed_usd is null then usage_events.billed_usd
            else coalesce(usage_events.billed_usd, 0) + adjusted.billed_usd end)::text",
    /// The proxy's own figure of `billed_usd`.
    claimed_usd: Option<String> = "trim_scale(case when not $1 then claimed_usd end)::text",
    /// Whether that differs from what was booked.
    price_mismatch: Option<bool> = "case when not $1 then price_mismatch end",
    /// How far it is priced; speaks of `billed_usd`.
    pricing: String = "pricing",
    /// Revisions it was priced by: `{cost, price}`; null for a tenant where the operator pays.
    #[schema(value_type = Option<Object>)]
    rate_cards: Option<Box<RawValue>> = "case when not $1 or paid_by <> 'operator' then
        jsonb_build_object('cost', encode(cost_card, 'hex'), 'price', encode(price_card, 'hex'))
    end::text",
    /// The event already charged for the same provider id.
    repeats: Option<Uuid> = "(
        select links.other_event_id
        from farebox_private.event_links as links
        where links.event_id = usage_events.event_id and links.relation = 'repeats'
    )",
    /// The provider's request id header.
    upstream_request_id: Option<String> = "upstream_request_id",
    /// The id in the answer's body.
    response_id: Option<String> = "response_id",
    /// The proxy.
    node: Option<String> = "case when not $1 then node end",
    /// The proxy's process start.
    epoch: Option<i64> = "case when not $1 then epoch end",
    /// The settlement's number in it.
    seq: Option<i64> = "case when not $1 then seq end",
    /// SHA-256 over the record as spooled.
    content_sha256: Option<String> = "case when not $1 then encode(content_sha256, 'hex') end",
}

/// Which events a list shows; `None` filters nothing.
pub(crate) struct Filter<'a> {
    pub(crate) is_tenant: bool,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) after: Option<Uuid>,
    /// Only those of nobody.
    pub(crate) unattributed: bool,
    pub(crate) equal: &'a [(FilterColumn, Option<&'a str>)],
    pub(crate) limit: u32,
}

/// Columns an event can be looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterColumn {
    Tenant,
    Customer,
    Project,
    Provider,
    Model,
    Session,
    Response,
    UpstreamRequest,
    Endpoint,
    Environment,
    Ending,
    Pricing,
    Agent,
    Section,
    Run,
    Key,
    Call,
    Upstream,
    Status,
    UsageSource,
    Attribution,
}

impl FilterColumn {
    fn name(self) -> &'static str {
        match self {
            Self::Tenant => "usage_events.tenant_id",
            Self::Customer => "usage_events.customer_id",
            Self::Project => "usage_events.project",
            Self::Provider => "usage_events.provider",
            Self::Model => "usage_events.model",
            Self::Session => "usage_events.session_id",
            Self::Response => "usage_events.response_id",
            Self::UpstreamRequest => "usage_events.upstream_request_id",
            Self::Endpoint => "usage_events.endpoint",
            Self::Environment => "usage_events.environment",
            Self::Ending => "usage_events.ending",
            Self::Pricing => "usage_events.pricing",
            Self::Agent => "usage_events.agent",
            Self::Section => "usage_events.section",
            Self::Run => "usage_events.run_id",
            Self::Key => "usage_events.key_id",
            Self::Call => "usage_events.call_id",
            Self::Upstream => "usage_events.upstream",
            Self::Status => "usage_events.status",
            Self::UsageSource => "usage_events.usage_source",
            Self::Attribution => "usage_events.attribution",
        }
    }

    /// What a text parameter becomes before it is compared.
    fn cast(self) -> &'static str {
        match self {
            Self::Key | Self::Call => "::text::uuid",
            Self::Status => "::text::integer",
            _ => "",
        }
    }
}

/// An event's corrections, added up.
const ADJUSTED: &str = "left join lateral (
            select
                sum(adjustments.cost_usd) as cost_usd,
                sum(adjustments.billed_usd) as billed_usd
            from farebox_private.adjustments
            where adjustments.event_id = usage_events.event_id
                and adjustments.tenant_id is not distinct from usage_events.tenant_id
         ) as adjusted on true";

/// The statement up to its conditions. Names are qualified where the adjustments have the same.
fn select() -> String {
    format!(
        "select {}
         from farebox_private.usage_events
         {ADJUSTED}",
        qualified().join(", ")
    )
}

/// `adjusted` brings only these two names; every other column is of the event alone.
fn qualified() -> Vec<String> {
    COLUMNS
        .iter()
        .map(|column| {
            column
                .replace("then cost_usd end", "then usage_events.cost_usd end")
                .replace(
                    "trim_scale(billed_usd)",
                    "trim_scale(usage_events.billed_usd)",
                )
                .replace("$1", "$1::boolean")
        })
        .collect()
}

/// A page of events, the latest first. The order is that of the ids, which never changes: an event
/// that arrives meanwhile is before or after the cursor, and moves nothing.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<UsageEvent>, Error> {
    match seek::leads(filter) {
        true => seek::page(client, filter).await,
        false => page(client, filter, None).await,
    }
}

/// What events are asked for by: conditions, and their values from the second parameter on.
struct Conditions<'a> {
    texts: Vec<String>,
    values: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Conditions<'a> {
    fn none() -> Self {
        Self {
            texts: vec!["true".to_owned()],
            values: Vec::new(),
        }
    }

    /// Only what is asked for becomes a condition, so that the planner sees which index serves it.
    fn of(filter: &Filter<'a>) -> Self {
        let mut all = Self {
            texts: vec!["true".to_owned()],
            values: vec![Box::new(filter.is_tenant)],
        };
        all.equal(filter, |_| true);
        // The index of a tenant's events is by time. Ids begin with it; they choose the months, and
        // would only make the planner expect less of that index if they said more.
        let is_by_time = filter.is_by_time();
        for (bound, comparison) in [(filter.from, ">="), (filter.to, "<")] {
            let Some(at) = bound else { continue };
            let place = all.place(at.to_string());
            let time = format!("${place}::text::timestamptz");
            if !is_by_time {
                all.texts.push(format!(
                    "usage_events.event_id {comparison} farebox_private.first_event_id({time})"
                ));
                continue;
            }
            let month = format!("date_trunc('month', {time}, 'UTC')");
            let month = match comparison {
                ">=" => month,
                _ => format!("({month} + interval '32 days')"),
            };
            all.texts.push(format!(
                "usage_events.event_id {comparison} farebox_private.first_event_id({month})
                 and usage_events.started_at {comparison} {time}"
            ));
        }
        if let Some(after) = filter.after {
            let place = all.place(after);
            all.texts.push(format!("usage_events.event_id < ${place}"));
            if is_by_time {
                let place = all.place(started_at(after).to_string());
                all.texts.push(format!(
                    "usage_events.started_at <= ${place}::text::timestamptz"
                ));
            }
        }
        all
    }

    /// What a filter says of columns of this kind.
    fn equal(&mut self, filter: &Filter<'a>, of: impl Fn(FilterColumn) -> bool) {
        for (column, value) in filter.equal {
            let Some(value) = value.filter(|_| of(*column)) else {
                continue;
            };
            let place = self.place(value);
            self.texts.push(match column {
                FilterColumn::Customer => of_customer(place),
                FilterColumn::Call => of_call(place),
                _ => format!("{} = ${place}{}", column.name(), column.cast()),
            });
        }
        if filter.unattributed {
            self.texts.push("usage_events.tenant_id is null".to_owned());
        }
    }

    fn place(&mut self, value: impl ToSql + Sync + Send + 'a) -> usize {
        self.values.push(Box::new(value));
        self.values.len()
    }

    fn text(&self) -> String {
        self.texts.join(" and ")
    }

    async fn ask(&self, client: &impl GenericClient, sql: &str) -> Result<Vec<Row>, Error> {
        let values: Vec<&(dyn ToSql + Sync)> = (self.values.iter())
            .map(|value| &**value as &(dyn ToSql + Sync))
            .collect();
        client.query(sql, &values).await
    }
}

impl Filter<'_> {
    fn value(&self, of: FilterColumn) -> Option<&str> {
        let mut equal = self.equal.iter();
        equal.find(|(column, _)| *column == of)?.1
    }

    /// Whether it is held to one tenant: there is an index of its events by time.
    fn is_by_time(&self) -> bool {
        self.value(FilterColumn::Tenant).is_some()
    }
}

/// The latest events that a filter lets pass, `only` among these where there are any. One more than a page says
/// that there is a next one.
async fn page(
    client: &impl GenericClient,
    filter: &Filter<'_>,
    only: Option<&[Uuid]>,
) -> Result<Vec<UsageEvent>, Error> {
    let mut conditions = Conditions::of(filter);
    if let Some(only) = only {
        let place = conditions.place(only);
        conditions
            .texts
            .push(format!("usage_events.event_id = any(${place})"));
    }
    let limit = conditions.place(i64::from(filter.limit) + 1);
    let time = match filter.is_by_time() && only.is_none() {
        true => "usage_events.started_at desc, ",
        false => "",
    };
    let sql = format!(
        "{} where {} order by {time}usage_events.event_id desc limit ${limit}",
        select(),
        conditions.text(),
    );
    let rows = conditions.ask(client, &sql).await?;
    rows.iter().map(read).collect()
}

/// Customers are kept by reference; those of nobody's events have none.
fn of_customer(place: usize) -> String {
    format!(
        "(usage_events.customer_id in (
            select customers.reference
            from farebox_private.customers
            where customers.customer_id = ${place})
         or usage_events.tenant_id is null and usage_events.customer_id = ${place})"
    )
}

/// Most calls are one event, which is called as they are; only the others are in the index of calls.
fn of_call(place: usize) -> String {
    let call = format!("${place}{}", FilterColumn::Call.cast());
    format!(
        "(usage_events.event_id = {call} and usage_events.call_id = {call}
         or usage_events.call_id = {call} and usage_events.call_id <> usage_events.event_id)"
    )
}

/// The millisecond that an event's id begins with.
pub(crate) fn started_at(event_id: Uuid) -> Timestamp {
    let millis = event_id.as_u128() >> 80;
    // 48 bits fit.
    Timestamp::from_millis(millis as i64)
}

/// The statement of an export: every column as text, in the order of the ids. Its parameters are those
/// of [`super::exports`].
pub(crate) fn export_sql() -> String {
    let columns: Vec<String> = (qualified().iter())
        .map(|column| format!("({column})::text"))
        .collect();
    format!(
        "select {}
         from farebox_private.usage_events
         {ADJUSTED}
         where ($2::text is null or usage_events.tenant_id = $2)
            and ($3::text is null or usage_events.period = $3::text::date)
            and ($4::text is null or usage_events.event_id >= farebox_private.first_event_id($4::text::timestamptz))
            and ($5::text is null or usage_events.event_id < farebox_private.first_event_id($5::text::timestamptz))
            and ($6::text is null or usage_events.environment = $6)
         order by usage_events.event_id",
        columns.join(", ")
    )
}

/// One event; `tenant` holds it to one tenant.
pub(crate) async fn find(
    client: &impl GenericClient,
    event_id: Uuid,
    tenant: Option<&str>,
) -> Result<Option<UsageEvent>, Error> {
    let sql = format!(
        "{} where usage_events.event_id = $2 and ($3::text is null or usage_events.tenant_id = $3)",
        select()
    );
    let row = client
        .query_opt(&sql, &[&tenant.is_some(), &event_id, &tenant])
        .await?;
    row.as_ref().map(read).transpose()
}
