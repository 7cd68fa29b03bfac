-- The ledger: what was booked, its sums, its corrections, and the invoices made of it.

create table farebox_private.usage_events (
    event_id uuid not null,
    call_id uuid not null,
    part integer not null,
    is_final boolean not null,
    settles uuid,
    schema integer not null,

    tenant_id text,
    customer_id text,
    project text,
    agent text,
    revision text,
    session_id text,
    run_id text,
    span_id text,
    parent_span_id text,
    section text,
    metadata jsonb,
    synthetic boolean not null,
    environment text not null,
    attribution text not null,
    key_id uuid,
    credential_id text,
    paid_by text not null,

    upstream text not null,
    provider text not null,
    endpoint text not null,
    region text,
    model_requested text,
    model text,
    service_tier text,

    started_at timestamptz not null,
    ended_at timestamptz,
    received_at timestamptz not null default now(),
    period date not null,
    day date not null,
    is_late boolean not null,
    clock_suspect boolean not null,
    ttfb_ms numeric,
    ttft_ms numeric,
    duration_ms numeric,
    overhead_ms numeric,

    status integer,
    ending text not null,
    streaming boolean not null,
    transport text not null,
    request_bytes bigint,
    response_bytes bigint,
    request_amended boolean not null,
    attempt integer not null,
    client_retry integer,
    sanitised boolean not null,

    lines text not null,
    usage text not null,
    usage_source text not null,
    usage_reason text,
    usage_low jsonb,
    usage_high jsonb,
    evidence text,
    charges text not null,
    cost_usd farebox_private.usd,
    billed_usd farebox_private.usd,
    claimed_usd farebox_private.usd,
    price_mismatch boolean not null,
    pricing text not null,
    cost_card bytea,
    price_card bytea,
    repeats uuid,

    upstream_request_id text,
    response_id text,
    node text,
    epoch bigint,
    seq bigint,
    content_sha256 bytea,
    content_digest bytea not null,
    further jsonb,

    constraint usage_events_pkey primary key (event_id),
    constraint part_from_one check (part >= 1),
    constraint attempt_from_one check (attempt >= 1),
    constraint environment_is_known check (environment in ('live', 'test')),
    constraint attribution_is_known check (attribution in ('key', 'header', 'path', 'query', 'session', 'body', 'none')),
    constraint paid_by_is_known check (paid_by in ('operator', 'tenant', 'caller')),
    constraint ending_is_known check (ending in ('complete', 'refused_by_upstream', 'upstream_failed', 'downstream_gone', 'timeout', 'cut', 'interrupted', 'continues')),
    constraint transport_is_known check (transport in ('http', 'sse', 'websocket')),
    constraint usage_source_is_known check (usage_source in ('reported', 'partial', 'measured', 'estimated', 'pending', 'missing', 'none')),
    constraint pricing_is_known check (pricing in ('priced', 'partial', 'unpriced', 'unknown', 'free', 'repeat')),
    constraint amounts_not_negative check (cost_usd >= 0 and billed_usd >= 0),
    constraint unknown_is_not_zero check (pricing <> 'unknown' or (cost_usd is null and billed_usd is null)),
    constraint repeat_costs_nothing check (pricing <> 'repeat' or (cost_usd = 0 and billed_usd = 0 and repeats is not null)),
    constraint period_is_month check (extract(day from period) = 1)
) partition by range (event_id);

-- Ascending, though it is read from its end: entries that come in order fill pages, in reverse they split them.
create index usage_events_of_tenant on farebox_private.usage_events (tenant_id, started_at);
create index usage_events_of_session on farebox_private.usage_events (tenant_id, session_id) where session_id is not null;
create index usage_events_of_response on farebox_private.usage_events (response_id) where response_id is not null;
create index usage_events_of_upstream_request on farebox_private.usage_events (upstream_request_id) where upstream_request_id is not null;
create index usage_events_settling on farebox_private.usage_events (settles) where settles is not null;
create index usage_events_without_price on farebox_private.usage_events (tenant_id, period) where pricing in ('unpriced', 'partial', 'unknown');

comment on table farebox_private.usage_events is 'One row for each attempt of a call, or each part of a socket, as first booked; never changed.';
comment on column farebox_private.usage_events.event_id is 'UUIDv7 made by the proxy; its millisecond is started_at.';
comment on column farebox_private.usage_events.call_id is 'The event id of the call''s first attempt and part.';
comment on column farebox_private.usage_events.part is 'Part of a socket, from 1.';
comment on column farebox_private.usage_events.is_final is 'Whether this is the call''s last part.';
comment on column farebox_private.usage_events.settles is 'The earlier, pending event whose usage this one tells.';
comment on column farebox_private.usage_events.schema is 'Version of the record''s shape.';
comment on column farebox_private.usage_events.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox_private.usage_events.customer_id is 'The tenant''s end customer.';
comment on column farebox_private.usage_events.project is 'A project of the tenant.';
comment on column farebox_private.usage_events.agent is 'An agent of the tenant.';
comment on column farebox_private.usage_events.revision is 'The agent''s revision.';
comment on column farebox_private.usage_events.session_id is 'A conversation.';
comment on column farebox_private.usage_events.run_id is 'A run of an agent.';
comment on column farebox_private.usage_events.span_id is 'A step of the run.';
comment on column farebox_private.usage_events.parent_span_id is 'The step above it.';
comment on column farebox_private.usage_events.section is 'A part of the product.';
comment on column farebox_private.usage_events.metadata is 'The caller''s own flat labels.';
comment on column farebox_private.usage_events.synthetic is 'Test traffic by the caller''s own word; billed as any call.';
comment on column farebox_private.usage_events.environment is 'The key''s environment: live or test.';
comment on column farebox_private.usage_events.attribution is 'Where the tenant came from: key, header, path, query, session, body, none.';
comment on column farebox_private.usage_events.key_id is 'The virtual key.';
comment on column farebox_private.usage_events.credential_id is 'The provider credential, by name.';
comment on column farebox_private.usage_events.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox_private.usage_events.upstream is 'The configured name.';
comment on column farebox_private.usage_events.provider is 'The vendor.';
comment on column farebox_private.usage_events.endpoint is 'The kind of call.';
comment on column farebox_private.usage_events.region is 'The upstream''s region.';
comment on column farebox_private.usage_events.model_requested is 'The model asked for.';
comment on column farebox_private.usage_events.model is 'The model billed.';
comment on column farebox_private.usage_events.service_tier is 'The tier billed.';
comment on column farebox_private.usage_events.started_at is 'By the proxy''s clock; decides price and period.';
comment on column farebox_private.usage_events.ended_at is 'Last byte of the answer; null on an interrupted call.';
comment on column farebox_private.usage_events.received_at is 'When the collector booked it.';
comment on column farebox_private.usage_events.period is 'Month it is invoiced in, by its first day.';
comment on column farebox_private.usage_events.day is 'The day in the tenant''s zone at ingest.';
comment on column farebox_private.usage_events.is_late is 'Its own month was closed when it came; it is in the first open one.';
comment on column farebox_private.usage_events.clock_suspect is 'The proxy''s clock and the collector''s differed by more than five minutes.';
comment on column farebox_private.usage_events.ttfb_ms is 'To the answer''s first byte, in milliseconds.';
comment on column farebox_private.usage_events.ttft_ms is 'To the first generated output, in milliseconds.';
comment on column farebox_private.usage_events.duration_ms is 'To the answer''s last byte, in milliseconds.';
comment on column farebox_private.usage_events.overhead_ms is 'Time that is the proxy''s alone, in milliseconds.';
comment on column farebox_private.usage_events.status is 'The upstream''s HTTP status.';
comment on column farebox_private.usage_events.ending is 'How the answer ended.';
comment on column farebox_private.usage_events.streaming is 'Whether the answer came as a stream.';
comment on column farebox_private.usage_events.transport is 'http, sse or websocket.';
comment on column farebox_private.usage_events.request_bytes is 'Bytes of the body sent upstream.';
comment on column farebox_private.usage_events.response_bytes is 'Bytes of the body that came back.';
comment on column farebox_private.usage_events.request_amended is 'Whether the usage option was spliced into the request.';
comment on column farebox_private.usage_events.attempt is 'The proxy''s attempt, from 1.';
comment on column farebox_private.usage_events.client_retry is 'The SDK''s own retry count.';
comment on column farebox_private.usage_events.sanitised is 'Whether a text had to be made to fit.';
comment on column farebox_private.usage_events.lines is 'What pricing reads: [{model, conditions, usage}]; JSON as text, which the view reads.';
comment on column farebox_private.usage_events.usage is 'The lines'' sum, exact decimals as strings by meter; JSON as text, which the view reads.';
comment on column farebox_private.usage_events.usage_source is 'How the quantities are known.';
comment on column farebox_private.usage_events.usage_reason is 'Why they are not reported.';
comment on column farebox_private.usage_events.usage_low is 'Lower bounds by meter when not reported.';
comment on column farebox_private.usage_events.usage_high is 'Upper bounds by meter when not reported.';
comment on column farebox_private.usage_events.evidence is 'What was seen on the wire; numbers and names, never content. JSON as text, which the view reads.';
comment on column farebox_private.usage_events.charges is 'Each meter priced: [[model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule]], a rate as [usd, per]; JSON as text, which charges_of reads.';
comment on column farebox_private.usage_events.cost_usd is 'What the provider charges, whoever pays; null: a rate is missing.';
comment on column farebox_private.usage_events.billed_usd is 'What the operator charges the tenant; null: unpriced.';
comment on column farebox_private.usage_events.claimed_usd is 'The proxy''s own figure of billed_usd.';
comment on column farebox_private.usage_events.price_mismatch is 'Whether the proxy''s figure differs from the booked one.';
comment on column farebox_private.usage_events.pricing is 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';
comment on column farebox_private.usage_events.cost_card is 'SHA-256 of the provider''s card it was priced by.';
comment on column farebox_private.usage_events.price_card is 'SHA-256 of the selling rules it was priced by.';
comment on column farebox_private.usage_events.repeats is 'The event already charged for the same provider id.';
comment on column farebox_private.usage_events.upstream_request_id is 'The provider''s request id.';
comment on column farebox_private.usage_events.response_id is 'The id in the answer''s body.';
comment on column farebox_private.usage_events.node is 'The proxy.';
comment on column farebox_private.usage_events.epoch is 'The proxy''s process start.';
comment on column farebox_private.usage_events.seq is 'The settlement''s number in the epoch, without gaps.';
comment on column farebox_private.usage_events.content_sha256 is 'SHA-256 over the record as spooled, by the proxy.';
comment on column farebox_private.usage_events.content_digest is 'SHA-256 over what the collector compares for conflict.';
comment on column farebox_private.usage_events.further is 'Fields of a newer proxy that this version does not know, as they came.';

alter table farebox_private.usage_events enable row level security;
alter table farebox_private.usage_events force row level security;
create policy own_rows on farebox_private.usage_events
    to public
    using ((select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()));
grant select, insert on farebox_private.usage_events to farebox_collector;

-- Charges are kept as lists without the members' names, which would be half of a row.
create function farebox_private.charges_of(charges text, with_cost boolean) returns jsonb
    language sql immutable parallel safe
    return (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'model', charge -> 0,
                'meter', charge -> 1,
                'quantity', charge -> 2,
                'cost_rate', case
                    when with_cost and charge -> 3 <> 'null'
                    then jsonb_build_object('usd', charge -> 3 -> 0, 'per', charge -> 3 -> 1)
                end,
                'price_rate', case
                    when charge -> 4 <> 'null'
                    then jsonb_build_object('usd', charge -> 4 -> 0, 'per', charge -> 4 -> 1)
                end,
                'cost_usd', case when with_cost then charge -> 5 end,
                'billed_usd', charge -> 6,
                'cost_rule', case when with_cost then charge -> 7 end,
                'price_rule', charge -> 8
            )
            order by place
        ), '[]')
        from jsonb_array_elements(charges::jsonb) with ordinality as kept (charge, place)
    );
comment on function farebox_private.charges_of(text, boolean) is
    'Charges as the public face shows them, from the form they are kept in; without their cost half for those who must not see it.';

-- Who was charged for a provider's id first. Two collectors that meet in it wait for each other here.
create table farebox_private.response_claims (
    claim uuid not null,
    charged_event_id uuid,
    pending_event_id uuid,
    constraint response_claims_pkey primary key (claim)
);
comment on table farebox_private.response_claims is 'Which event was charged for an answer of a provider, so that it is charged once.';
comment on column farebox_private.response_claims.claim is 'First half of the SHA-256 over tenant, upstream and response id.';
comment on column farebox_private.response_claims.charged_event_id is 'The event that was charged for it.';
comment on column farebox_private.response_claims.pending_event_id is 'The event that waits for its usage.';
grant select, insert, update on farebox_private.response_claims to farebox_collector;
grant select, delete on farebox_private.response_claims to farebox_retention;
alter table farebox_private.response_claims enable row level security;
alter table farebox_private.response_claims force row level security;
create policy operator_rows on farebox_private.response_claims
    to public
    using ((select farebox_private.sees_all()));

-- The first id of a millisecond: UUIDv7 begins with 48 bits of Unix milliseconds.
create function farebox_private.first_event_id(at timestamptz) returns uuid
    language sql immutable parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
comment on function farebox_private.first_event_id(timestamptz) is
    'The lowest id an event of this millisecond or later can have.';

-- Attaching a finished table lets readers and writers of other months go on; creating it as a
-- partition would lock them all out.
create function farebox_private.ensure_partition(month date) returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
as $function$
declare
    from_month date := date_trunc('month', month)::date;
    to_month date := (date_trunc('month', month) + interval '1 month')::date;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_made boolean := false;
begin
    if from_month < date '2000-01-01' or from_month >= date '2100-01-01' then
        raise exception 'no partition for %: events are of the years 2000 to 2099', month
            using errcode = 'datetime_field_overflow';
    end if;
    if to_regclass('farebox_private.' || partition_name) is not null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    if to_regclass('farebox_private.' || partition_name) is null then
        execute format(
            'create table farebox_private.%I (like farebox_private.usage_events including all,'
            ' constraint started_in_month check (started_at >= %L and started_at < %L))'
            -- A row is about two kilobytes; compressing it would cost more than all its indexes.
            ' with (toast_tuple_target = 8160)',
            partition_name,
            from_month::timestamptz,
            to_month::timestamptz
        );
        -- Rows are read through the table above it, whose policies hold there. The collector copies
        -- straight into the month, which row security of its own would refuse; nobody may read it.
        execute format('grant insert on farebox_private.%I to farebox_collector', partition_name);
        execute format(
            'alter table farebox_private.usage_events attach partition farebox_private.%I'
            ' for values from (%L) to (%L)',
            partition_name,
            farebox_private.first_event_id(from_month::timestamptz),
            farebox_private.first_event_id(to_month::timestamptz)
        );
        execute format(
            'comment on table farebox_private.%I is %L',
            partition_name,
            'Usage events that started in ' || to_char(from_month, 'YYYY-MM') || ' (UTC).'
        );
        is_made := true;
    end if;
    return is_made;
end
$function$;
comment on function farebox_private.ensure_partition(date) is
    'Makes the partition of a month (UTC) unless it is there; true when it made one.';
revoke execute on function farebox_private.ensure_partition(date) from public;
grant execute on function farebox_private.ensure_partition(date) to farebox_collector;

-- Sums grow in place: half of each page stays free, so that an update touches no index.
create table farebox_private.usage_hourly (
    hour timestamptz not null,
    period date not null,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text not null,
    paid_by text not null,
    provider text not null,
    endpoint text not null,
    model text,
    pricing text not null,
    meter text not null,
    quantity numeric not null default 0,
    cost_usd farebox_private.usd not null default 0,
    billed_usd farebox_private.usd not null default 0,
    events bigint not null default 0,
    unpriced_events bigint not null default 0,
    constraint usage_hourly_key unique nulls not distinct (
        tenant_id, hour, meter, model, endpoint, provider, key_id, customer_id, project, period,
        environment, paid_by, pricing
    )
) with (fillfactor = 50);
create index usage_hourly_hour on farebox_private.usage_hourly (hour);
comment on table farebox_private.usage_hourly is 'Sums of the ledger by UTC hour; can be rebuilt from usage_events and adjustments.';

create table farebox_private.usage_daily (
    day date not null,
    period date not null,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text not null,
    paid_by text not null,
    provider text not null,
    endpoint text not null,
    model text,
    pricing text not null,
    meter text not null,
    quantity numeric not null default 0,
    cost_usd farebox_private.usd not null default 0,
    billed_usd farebox_private.usd not null default 0,
    events bigint not null default 0,
    unpriced_events bigint not null default 0,
    constraint usage_daily_key unique nulls not distinct (
        tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period,
        environment, paid_by, pricing
    )
) with (fillfactor = 50);
create index usage_daily_period on farebox_private.usage_daily (tenant_id, period);
comment on table farebox_private.usage_daily is 'Sums of the ledger by tenant-local day; can be rebuilt from usage_events and adjustments.';
comment on column farebox_private.usage_hourly.hour is 'The hour''s begin, UTC.';
comment on column farebox_private.usage_daily.day is 'The day in the tenant''s zone at ingest.';

do $comments$
declare
    table_name text;
begin
    foreach table_name in array array['usage_hourly', 'usage_daily']
    loop
        execute format('comment on column farebox_private.%I.period is %L', table_name, 'Month it is invoiced in, by its first day.');
        execute format('comment on column farebox_private.%I.tenant_id is %L', table_name, 'The tenant; null: unattributed.');
        execute format('comment on column farebox_private.%I.customer_id is %L', table_name, 'The tenant''s end customer.');
        execute format('comment on column farebox_private.%I.project is %L', table_name, 'A project of the tenant.');
        execute format('comment on column farebox_private.%I.key_id is %L', table_name, 'The virtual key.');
        execute format('comment on column farebox_private.%I.environment is %L', table_name, 'live or test.');
        execute format('comment on column farebox_private.%I.paid_by is %L', table_name, 'Who the provider bills: operator, tenant, caller.');
        execute format('comment on column farebox_private.%I.provider is %L', table_name, 'The vendor.');
        execute format('comment on column farebox_private.%I.endpoint is %L', table_name, 'The kind of call.');
        execute format('comment on column farebox_private.%I.model is %L', table_name, 'The model of the line; of the event on the row of the meter calls.');
        execute format('comment on column farebox_private.%I.pricing is %L', table_name, 'How far the events are priced.');
        execute format('comment on column farebox_private.%I.meter is %L', table_name, 'What is counted; calls is a meter of the roll-ups only.');
        execute format('comment on column farebox_private.%I.quantity is %L', table_name, 'Sum of the meter.');
        execute format('comment on column farebox_private.%I.cost_usd is %L', table_name, 'What the provider charges, as far as priced.');
        execute format('comment on column farebox_private.%I.billed_usd is %L', table_name, 'What the operator charges, as far as priced.');
        execute format('comment on column farebox_private.%I.events is %L', table_name, 'Events, on the row of the meter calls; 0 elsewhere.');
        execute format('comment on column farebox_private.%I.unpriced_events is %L', table_name, 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.');
    end loop;
end
$comments$;

create table farebox_private.adjustments (
    adjustment_id uuid not null,
    event_id uuid not null,
    kind text not null,
    actor text not null,
    reason text not null,
    old_revision text,
    new_revision text,
    booked_at timestamptz not null default now(),
    started_at timestamptz not null,
    day date not null,
    period date not null,
    tenant_id text,
    customer_id text,
    project text,
    key_id uuid,
    environment text not null,
    paid_by text not null,
    provider text not null,
    endpoint text not null,
    model text,
    pricing text not null,
    meter text not null,
    quantity numeric not null,
    cost_usd farebox_private.usd not null,
    billed_usd farebox_private.usd not null,
    constraint adjustments_pkey primary key (adjustment_id),
    constraint kind_is_known check (kind in ('reprice', 'retag', 'reread', 'manual')),
    constraint reason_is_given check (reason <> ''),
    constraint period_is_month check (extract(day from period) = 1)
);
create index adjustments_of_event on farebox_private.adjustments (event_id);
create index adjustments_of_tenant on farebox_private.adjustments (tenant_id, period);
comment on table farebox_private.adjustments is 'Corrections of booked events, by signed amounts; events themselves never change.';
comment on column farebox_private.adjustments.adjustment_id is 'Identifier of the adjustment.';
comment on column farebox_private.adjustments.event_id is 'The event it corrects.';
comment on column farebox_private.adjustments.kind is 'reprice, retag, reread or manual.';
comment on column farebox_private.adjustments.actor is 'Who booked it.';
comment on column farebox_private.adjustments.reason is 'Why.';
comment on column farebox_private.adjustments.old_revision is 'The rate card or reader it was booked by.';
comment on column farebox_private.adjustments.new_revision is 'The rate card or reader it is corrected to.';
comment on column farebox_private.adjustments.booked_at is 'When it was booked.';
comment on column farebox_private.adjustments.started_at is 'started_at of its event; its hour in the roll-ups.';
comment on column farebox_private.adjustments.day is 'The day of its event in the roll-ups.';
comment on column farebox_private.adjustments.period is 'The month open when it was booked, by its first day.';
comment on column farebox_private.adjustments.tenant_id is 'The tenant it is booked to; null: unattributed.';
comment on column farebox_private.adjustments.customer_id is 'The customer it is booked to.';
comment on column farebox_private.adjustments.project is 'The project it is booked to.';
comment on column farebox_private.adjustments.key_id is 'The virtual key.';
comment on column farebox_private.adjustments.environment is 'live or test.';
comment on column farebox_private.adjustments.paid_by is 'Who the provider bills.';
comment on column farebox_private.adjustments.provider is 'The vendor.';
comment on column farebox_private.adjustments.endpoint is 'The kind of call.';
comment on column farebox_private.adjustments.model is 'The model.';
comment on column farebox_private.adjustments.pricing is 'Pricing of the row it moves in the roll-ups.';
comment on column farebox_private.adjustments.meter is 'What is corrected.';
comment on column farebox_private.adjustments.quantity is 'Signed change of the quantity.';
comment on column farebox_private.adjustments.cost_usd is 'Signed change of the cost.';
comment on column farebox_private.adjustments.billed_usd is 'Signed change of what is billed.';

create table farebox_private.periods (
    tenant_id text,
    period date not null,
    state text not null default 'open',
    closed_at timestamptz,
    closed_by text,
    despite text[],
    constraint periods_key unique nulls not distinct (tenant_id, period),
    constraint period_is_month check (extract(day from period) = 1),
    constraint state_is_known check (state in ('open', 'closed')),
    constraint closing_is_recorded check ((state = 'closed') = (closed_at is not null))
);
comment on table farebox_private.periods is 'A tenant''s months. Ingest holds the row for share, closing for update.';
comment on column farebox_private.periods.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox_private.periods.period is 'The month''s first day, tenant-local.';
comment on column farebox_private.periods.state is 'open or closed.';
comment on column farebox_private.periods.closed_at is 'When it was closed.';
comment on column farebox_private.periods.closed_by is 'Who closed it.';
comment on column farebox_private.periods.despite is 'Nodes that had not shipped past its end.';

create table farebox_private.invoices (
    invoice_id uuid not null,
    number text not null,
    tenant_id text not null,
    period date not null,
    billed_usd farebox_private.usd not null,
    lines_sha256 text not null,
    events_sha256 text not null,
    closed_at timestamptz not null,
    closed_by text not null,
    constraint invoices_pkey primary key (invoice_id),
    constraint number_is_unique unique (number),
    constraint one_invoice_a_month unique (tenant_id, period),
    constraint period_is_month check (extract(day from period) = 1)
);
comment on table farebox_private.invoices is 'Closed invoices; they never change.';
comment on column farebox_private.invoices.invoice_id is 'Identifier of the invoice.';
comment on column farebox_private.invoices.number is 'The number on the invoice.';
comment on column farebox_private.invoices.tenant_id is 'The tenant.';
comment on column farebox_private.invoices.period is 'The month''s first day.';
comment on column farebox_private.invoices.billed_usd is 'Sum of the lines.';
comment on column farebox_private.invoices.lines_sha256 is 'SHA-256 over the lines.';
comment on column farebox_private.invoices.events_sha256 is 'SHA-256 over the list of (event_id, amounts).';
comment on column farebox_private.invoices.closed_at is 'When the month was closed.';
comment on column farebox_private.invoices.closed_by is 'Who closed it.';

create table farebox_private.invoice_lines (
    invoice_id uuid not null references farebox_private.invoices (invoice_id),
    line integer not null,
    tenant_id text not null,
    kind text not null,
    provider text,
    model text,
    meter text,
    quantity numeric,
    billed_usd farebox_private.usd not null,
    text text,
    constraint invoice_lines_pkey primary key (invoice_id, line),
    constraint kind_is_known check (kind in ('usage', 'credit', 'debit'))
);
comment on table farebox_private.invoice_lines is 'Lines of closed invoices.';
comment on column farebox_private.invoice_lines.invoice_id is 'The invoice.';
comment on column farebox_private.invoice_lines.line is 'Number of the line, from 1.';
comment on column farebox_private.invoice_lines.tenant_id is 'The invoice''s tenant.';
comment on column farebox_private.invoice_lines.kind is 'usage, or a credit or debit for an earlier month.';
comment on column farebox_private.invoice_lines.provider is 'The vendor.';
comment on column farebox_private.invoice_lines.model is 'The model.';
comment on column farebox_private.invoice_lines.meter is 'What is counted.';
comment on column farebox_private.invoice_lines.quantity is 'How much of it.';
comment on column farebox_private.invoice_lines.billed_usd is 'The amount.';
comment on column farebox_private.invoice_lines.text is 'What a person reads.';

do $security$
declare
    table_name text;
begin
    foreach table_name in array array[
        'usage_hourly', 'usage_daily', 'adjustments', 'periods', 'invoices', 'invoice_lines'
    ]
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
        execute format(
            'create policy own_rows on farebox_private.%I to public using ('
            '(select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()))',
            table_name
        );
    end loop;
end
$security$;

-- Sums and months may be updated; what was booked or closed may not.
grant select, insert, update on farebox_private.usage_hourly, farebox_private.usage_daily, farebox_private.periods
    to farebox_collector;
grant select, insert on farebox_private.adjustments, farebox_private.invoices, farebox_private.invoice_lines
    to farebox_collector;
