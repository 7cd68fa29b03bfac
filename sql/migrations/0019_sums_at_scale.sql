-- What is asked of many millions of events and read no event for: sums over all customers, projects and keys,
-- and which sessions a tenant had.

create table farebox_private.total_sums (
    day date not null,
    utc_day date not null,
    period date not null,
    tenant_id text,
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
    constraint total_sums_key unique nulls not distinct (
        tenant_id, day, meter, model, endpoint, provider, period, environment, paid_by, pricing, utc_day
    )
) with (fillfactor = 50);
create index total_sums_utc_day on farebox_private.total_sums (utc_day);
comment on table farebox_private.total_sums is 'The sums of daily_sums over all customers, projects and keys.';
comment on column farebox_private.total_sums.day is 'The day in the tenant''s zone at ingest.';
comment on column farebox_private.total_sums.utc_day is 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';
comment on column farebox_private.total_sums.period is 'Month it is invoiced in, by its first day.';
comment on column farebox_private.total_sums.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox_private.total_sums.environment is 'live or test.';
comment on column farebox_private.total_sums.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox_private.total_sums.provider is 'The vendor.';
comment on column farebox_private.total_sums.endpoint is 'The kind of call.';
comment on column farebox_private.total_sums.model is 'The model of the line; of the event on the row of the meter calls.';
comment on column farebox_private.total_sums.pricing is 'How far the events are priced.';
comment on column farebox_private.total_sums.meter is 'What is counted; calls is a meter of the roll-ups only.';
comment on column farebox_private.total_sums.quantity is 'Sum of the meter.';
comment on column farebox_private.total_sums.cost_usd is 'What the provider charges, as far as priced.';
comment on column farebox_private.total_sums.billed_usd is 'What the operator charges, as far as priced.';
comment on column farebox_private.total_sums.events is 'Events, on the row of the meter calls; 0 elsewhere.';
comment on column farebox_private.total_sums.unpriced_events is 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';

insert into farebox_private.total_sums
select
    day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
    sum(quantity), sum(cost_usd), sum(billed_usd), sum(events), sum(unpriced_events)
from farebox_private.daily_sums
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;

create view farebox_private.usage_totals as
select
    day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity,
    cost_usd, billed_usd, events, unpriced_events
from farebox_private.total_sums
union all
select
    added.day, (added.hour at time zone 'UTC')::date, added.period, added.tenant_id, added.environment,
    added.paid_by, added.provider, added.endpoint, part.model, added.pricing, part.meter, part.quantity,
    part.cost_usd::farebox_private.usd, part.billed_usd::farebox_private.usd, part.events, part.unpriced_events
from farebox_private.new_sums as added
cross join lateral unnest(
    added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events,
    added.unpriced_events
) as part (model, meter, quantity, cost_usd, billed_usd, events, unpriced_events);
comment on view farebox_private.usage_totals is 'The sums of usage_daily over all customers, projects and keys: what is asked of a month of everybody is read from here. What is not merged yet has rows of its own.';
do $comments$
declare
    column_name text;
    text_of text;
begin
    for column_name, text_of in
        select attname, col_description(attrelid, attnum)
        from pg_attribute
        where attrelid = 'farebox_private.total_sums'::regclass and attnum > 0
    loop
        execute format('comment on column farebox_private.usage_totals.%I is %L', column_name, text_of);
    end loop;
end
$comments$;
grant select on farebox_private.usage_totals to farebox_collector, farebox_retention;

-- Parsed when it is made, so that no search_path of a caller can bend it.
create function farebox_private.session_digest(session_id text) returns uuid
    language sql immutable parallel safe
    return encode(substr(sha256(convert_to(session_id, 'UTF8')), 1, 16), 'hex')::uuid;
comment on function farebox_private.session_digest(text) is
    'What a session is counted by: the beginning of the SHA-256 of its id, which is the caller''s and not kept for longer than its events.';
grant execute on function farebox_private.session_digest(text)
    to farebox_reader, farebox_collector, farebox_tenant;

create table farebox_private.tenant_sessions (
    tenant_id text not null,
    session uuid not null,
    constraint tenant_sessions_pkey primary key (tenant_id, session)
);
comment on table farebox_private.tenant_sessions is 'The sessions that events were first booked under, so that they are counted without their events; retention leaves them.';
comment on column farebox_private.tenant_sessions.tenant_id is 'The tenant.';
comment on column farebox_private.tenant_sessions.session is 'session_digest of the session''s id.';

insert into farebox_private.tenant_sessions
select distinct tenant_id, farebox_private.session_digest(session_id)
from farebox_private.usage_events
where tenant_id is not null
    and session_id is not null;

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['total_sums', 'tenant_sessions']
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
grant select, insert, update on farebox_private.total_sums to farebox_collector;
grant select, insert on farebox_private.tenant_sessions to farebox_collector;
