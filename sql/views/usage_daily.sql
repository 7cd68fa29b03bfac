create or replace view farebox.usage_daily as
select
    sums.day,
    sums.period,
    sums.tenant_id,
    coalesce(customers.customer_id, sums.customer_id) as customer_id,
    sums.project,
    sums.key_id,
    sums.environment,
    sums.paid_by,
    sums.provider,
    sums.endpoint,
    sums.model,
    sums.pricing,
    sums.meter,
    sums.quantity,
    case when (select farebox_private.sees_all()) or sums.paid_by <> 'operator' then sums.cost_usd end as cost_usd,
    sums.billed_usd,
    sums.events,
    sums.unpriced_events,
    sums.utc_day
from farebox_private.usage_daily as sums
left join farebox_private.customers
    on customers.tenant_id = sums.tenant_id and customers.reference = sums.customer_id;

grant select on farebox.usage_daily to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.usage_daily is 'Usage and money by tenant-local day, meter and dimension; adjustments included. A day of another zone than UTC has two rows, one for each day of UTC in it.';
comment on column farebox.usage_daily.day is 'The day in the tenant''s zone at ingest.';
comment on column farebox.usage_daily.period is 'Month it is invoiced in, by its first day.';
comment on column farebox.usage_daily.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.usage_daily.customer_id is 'The tenant''s end customer.';
comment on column farebox.usage_daily.project is 'A project of the tenant.';
comment on column farebox.usage_daily.key_id is 'The virtual key.';
comment on column farebox.usage_daily.environment is 'live or test.';
comment on column farebox.usage_daily.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox.usage_daily.provider is 'The vendor.';
comment on column farebox.usage_daily.endpoint is 'The kind of call.';
comment on column farebox.usage_daily.model is 'The model of the line; of the event on the row of the meter calls.';
comment on column farebox.usage_daily.pricing is 'How far the events are priced.';
comment on column farebox.usage_daily.meter is 'What is counted; calls is a meter of the roll-ups only.';
comment on column farebox.usage_daily.quantity is 'Sum of the meter.';
comment on column farebox.usage_daily.cost_usd is 'What the provider charges, as far as priced. Null for tenants where the operator pays.';
comment on column farebox.usage_daily.billed_usd is 'What the operator charges, as far as priced.';
comment on column farebox.usage_daily.events is 'Events, on the row of the meter calls; 0 elsewhere.';
comment on column farebox.usage_daily.unpriced_events is 'Events with pricing unpriced or partial, on the row of the meter calls; 0 elsewhere.';
comment on column farebox.usage_daily.utc_day is 'The day in UTC: whole days of UTC over all tenants are summed by it.';
