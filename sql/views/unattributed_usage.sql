create or replace view farebox.unattributed_usage as
select
    daily.day,
    daily.period,
    daily.key_id,
    daily.environment,
    daily.paid_by,
    daily.provider,
    daily.endpoint,
    daily.model,
    daily.meter,
    trim_scale(sum(daily.quantity)) as quantity,
    trim_scale(sum(daily.cost_usd)) as cost_usd,
    trim_scale(sum(daily.billed_usd)) as billed_usd,
    sum(daily.events)::bigint as events,
    sum(daily.unpriced_events)::bigint as unpriced_events,
    suggestion.tenant_id as suggested_tenant_id
from farebox_private.usage_daily as daily
left join (
    select
        attributed.key_id,
        min(attributed.tenant_id) as tenant_id
    from farebox_private.usage_daily as attributed
    where attributed.tenant_id is not null
        and attributed.key_id is not null
    group by attributed.key_id
    having count(distinct attributed.tenant_id) = 1
) as suggestion using (key_id)
where daily.tenant_id is null
    and (select farebox_private.sees_all())
group by
    daily.day,
    daily.period,
    daily.key_id,
    daily.environment,
    daily.paid_by,
    daily.provider,
    daily.endpoint,
    daily.model,
    daily.meter,
    suggestion.tenant_id;

grant select on farebox.unattributed_usage to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.unattributed_usage is 'Usage that names no tenant, by UTC day. For the operator only.';
comment on column farebox.unattributed_usage.day is 'The day, UTC.';
comment on column farebox.unattributed_usage.period is 'The month.';
comment on column farebox.unattributed_usage.key_id is 'The virtual key.';
comment on column farebox.unattributed_usage.environment is 'live or test.';
comment on column farebox.unattributed_usage.paid_by is 'Who the provider bills.';
comment on column farebox.unattributed_usage.provider is 'The vendor.';
comment on column farebox.unattributed_usage.endpoint is 'The kind of call.';
comment on column farebox.unattributed_usage.model is 'The model.';
comment on column farebox.unattributed_usage.meter is 'What is counted; calls carries the events.';
comment on column farebox.unattributed_usage.quantity is 'How much of it.';
comment on column farebox.unattributed_usage.cost_usd is 'What the provider charges, as far as priced.';
comment on column farebox.unattributed_usage.billed_usd is 'What would be billed, as far as priced.';
comment on column farebox.unattributed_usage.events is 'Events, on the row of the meter calls.';
comment on column farebox.unattributed_usage.unpriced_events is 'Unpriced ones, on the row of the meter calls.';
comment on column farebox.unattributed_usage.suggested_tenant_id is 'The one tenant that the key''s other calls name; null: none, or several.';
