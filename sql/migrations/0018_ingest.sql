-- What booking an event costs.

-- A call that made its answer and said all of it claims nothing: it is found in the events by its id, when
-- somebody asks for the answer.
comment on table farebox_private.response_claims is 'Which event was charged for an answer of a provider, so that it is charged once. Calls that made their answers and said all of it have no row until somebody asks for the answer; they are looked up in usage_events.';

-- A batch of many tenants and customers grows thousands of sums by little. It leaves what they grow by here, which
-- costs a tenth of growing them; many batches' are then merged at once. Whoever reads sums reads both.
alter table farebox_private.usage_hourly rename to hourly_sums;
alter table farebox_private.usage_daily rename to daily_sums;
comment on table farebox_private.hourly_sums is 'Sums of the ledger by UTC hour, but for what is in new_sums; can be rebuilt from usage_events and adjustments.';
comment on table farebox_private.daily_sums is 'Sums of the ledger by tenant-local day, but for what is in new_sums; can be rebuilt from usage_events and adjustments.';

create table farebox_private.new_sums (
    hour timestamptz not null,
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
    pricing text not null,
    models text[] not null,
    meters text[] not null,
    quantities numeric[] not null,
    costs_usd numeric[] not null,
    billed_usd numeric[] not null,
    events bigint[] not null,
    unpriced_events bigint[] not null
) partition by list (environment);
comment on table farebox_private.new_sums is 'What batches add to hourly_sums and daily_sums, until it is merged into them; a row has the meters of one hour, day and set of dimensions, one after the other.';
comment on column farebox_private.new_sums.hour is 'The hour''s begin, UTC.';
comment on column farebox_private.new_sums.day is 'The day in the tenant''s zone at ingest.';
comment on column farebox_private.new_sums.period is 'Month it is invoiced in, by its first day.';
comment on column farebox_private.new_sums.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox_private.new_sums.customer_id is 'The tenant''s end customer.';
comment on column farebox_private.new_sums.project is 'A project of the tenant.';
comment on column farebox_private.new_sums.key_id is 'The virtual key.';
comment on column farebox_private.new_sums.environment is 'live or test.';
comment on column farebox_private.new_sums.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox_private.new_sums.provider is 'The vendor.';
comment on column farebox_private.new_sums.endpoint is 'The kind of call.';
comment on column farebox_private.new_sums.pricing is 'How far the events are priced.';
comment on column farebox_private.new_sums.models is 'The model of each line; of the events where the meter is calls.';
comment on column farebox_private.new_sums.meters is 'What is counted.';
comment on column farebox_private.new_sums.quantities is 'Sum of each meter.';
comment on column farebox_private.new_sums.costs_usd is 'What the provider charges for each, as far as priced.';
comment on column farebox_private.new_sums.billed_usd is 'What the operator charges for each, as far as priced.';
comment on column farebox_private.new_sums.events is 'Events, where the meter is calls; 0 elsewhere.';
comment on column farebox_private.new_sums.unpriced_events is 'Events with pricing unpriced or partial, where the meter is calls; 0 elsewhere.';

alter table farebox_private.new_sums enable row level security;
alter table farebox_private.new_sums force row level security;
create policy own_rows on farebox_private.new_sums
    to public
    using ((select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()));
grant select, delete on farebox_private.new_sums to farebox_collector;

-- As a month of the ledger: copied into, which row security of its own would refuse, and read through the table
-- above it. Its rows stay for seconds, so it is cleaned early; nearly every page becomes free again as a whole.
create table farebox_private.new_sums_rows partition of farebox_private.new_sums default
    with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
comment on table farebox_private.new_sums_rows is 'The one partition of new_sums.';
do $comments$
declare
    column_name text;
    text_of text;
begin
    for column_name, text_of in
        select attname, col_description(attrelid, attnum)
        from pg_attribute
        where attrelid = 'farebox_private.new_sums'::regclass and attnum > 0
    loop
        execute format('comment on column farebox_private.new_sums_rows.%I is %L', column_name, text_of);
    end loop;
end
$comments$;
grant insert on farebox_private.new_sums_rows to farebox_collector;

create view farebox_private.usage_hourly as
select
    hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model,
    pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events
from farebox_private.hourly_sums
union all
select
    added.hour, added.period, added.tenant_id, added.customer_id, added.project, added.key_id, added.environment,
    added.paid_by, added.provider, added.endpoint, part.model, added.pricing, part.meter, part.quantity,
    part.cost_usd::farebox_private.usd, part.billed_usd::farebox_private.usd, part.events, part.unpriced_events
from farebox_private.new_sums as added
cross join lateral unnest(
    added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events,
    added.unpriced_events
) as part (model, meter, quantity, cost_usd, billed_usd, events, unpriced_events);
comment on view farebox_private.usage_hourly is 'Sums of the ledger by UTC hour. What is not merged yet has rows of its own.';

create view farebox_private.usage_daily as
select
    day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model,
    pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events, utc_day
from farebox_private.daily_sums
union all
select
    added.day, added.period, added.tenant_id, added.customer_id, added.project, added.key_id, added.environment,
    added.paid_by, added.provider, added.endpoint, part.model, added.pricing, part.meter, part.quantity,
    part.cost_usd::farebox_private.usd, part.billed_usd::farebox_private.usd, part.events, part.unpriced_events,
    (added.hour at time zone 'UTC')::date
from farebox_private.new_sums as added
cross join lateral unnest(
    added.models, added.meters, added.quantities, added.costs_usd, added.billed_usd, added.events,
    added.unpriced_events
) as part (model, meter, quantity, cost_usd, billed_usd, events, unpriced_events);
comment on view farebox_private.usage_daily is 'Sums of the ledger by tenant-local day. What is not merged yet has rows of its own.';

do $comments$
declare
    sums text;
    column_name text;
    text_of text;
begin
    foreach sums in array array['hourly', 'daily']
    loop
        for column_name, text_of in
            select attname, col_description(attrelid, attnum)
            from pg_attribute
            where attrelid = ('farebox_private.' || sums || '_sums')::regclass and attnum > 0 and not attisdropped
        loop
            execute format('comment on column farebox_private.usage_%s.%I is %L', sums, column_name, text_of);
        end loop;
    end loop;
end
$comments$;
grant select on farebox_private.usage_hourly, farebox_private.usage_daily to farebox_collector, farebox_retention;
grant select on farebox_private.new_sums to farebox_retention;
