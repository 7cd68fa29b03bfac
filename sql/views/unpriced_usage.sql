create or replace view farebox.unpriced_usage as
select
    events.event_id,
    events.tenant_id,
    coalesce(customers.customer_id, events.customer_id) as customer_id,
    events.started_at,
    events.period,
    events.environment,
    events.paid_by,
    events.upstream,
    events.provider,
    events.endpoint,
    events.model_requested,
    events.model,
    events.pricing,
    events.ending,
    events.usage_source,
    events.usage_reason,
    events.lines::jsonb as lines,
    events.usage::jsonb as usage,
    events.usage_low,
    events.usage_high,
    events.billed_usd,
    events.response_id
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
where events.pricing in ('unpriced', 'partial', 'unknown')
    -- What was corrected since goes by its latest correction.
    and coalesce((
        select corrections.pricing in ('unpriced', 'partial', 'unknown')
            and corrections.tenant_id is not distinct from events.tenant_id
        from farebox_private.corrections
        where corrections.event_id = events.event_id
        order by corrections.number desc
        limit 1
    ), true)
    and not (
        events.usage_source = 'pending'
        and exists (
            select from farebox_private.event_links as told
            where told.other_event_id = events.event_id and told.relation = 'settles'
        )
    );

grant select on farebox.unpriced_usage to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.unpriced_usage is 'Events whose amount is not, or not wholly, known: unpriced and partial ones block the close, unknown ones do not.';
comment on column farebox.unpriced_usage.event_id is 'UUIDv7 made by the proxy; its millisecond is started_at.';
comment on column farebox.unpriced_usage.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.unpriced_usage.customer_id is 'The tenant''s end customer.';
comment on column farebox.unpriced_usage.started_at is 'By the proxy''s clock; decides price and period.';
comment on column farebox.unpriced_usage.period is 'Month it is invoiced in, by its first day.';
comment on column farebox.unpriced_usage.environment is 'The key''s environment: live or test.';
comment on column farebox.unpriced_usage.paid_by is 'Who the provider bills: operator, tenant, caller.';
comment on column farebox.unpriced_usage.upstream is 'The configured name.';
comment on column farebox.unpriced_usage.provider is 'The vendor.';
comment on column farebox.unpriced_usage.endpoint is 'The kind of call.';
comment on column farebox.unpriced_usage.model_requested is 'The model asked for.';
comment on column farebox.unpriced_usage.model is 'The model billed.';
comment on column farebox.unpriced_usage.pricing is 'priced, partial, unpriced, unknown, free or repeat; speaks of billed_usd.';
comment on column farebox.unpriced_usage.ending is 'How the answer ended.';
comment on column farebox.unpriced_usage.usage_source is 'How the quantities are known.';
comment on column farebox.unpriced_usage.usage_reason is 'Why they are not reported.';
comment on column farebox.unpriced_usage.lines is 'What pricing reads: [{model, conditions, usage}].';
comment on column farebox.unpriced_usage.usage is 'The lines'' sum, exact decimals as strings by meter.';
comment on column farebox.unpriced_usage.usage_low is 'Lower bounds by meter when not reported.';
comment on column farebox.unpriced_usage.usage_high is 'Upper bounds by meter when not reported.';
comment on column farebox.unpriced_usage.billed_usd is 'What the operator charges the tenant; null: unpriced.';
comment on column farebox.unpriced_usage.response_id is 'The id in the answer''s body.';
