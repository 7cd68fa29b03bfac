create or replace function farebox_private.check_rollups(from_day date, to_day date)
    returns table (
        roll_up text,
        slot text,
        tenant_id text,
        period date,
        model text,
        meter text,
        difference text
    )
    language sql stable
begin atomic
    with parts as materialized (
        select *
        from farebox_private.ledger_parts(check_rollups.from_day, check_rollups.to_day)
    ),
    made as (
        select
            'usage_hourly' as roll_up, to_char(parts.hour at time zone 'UTC', 'YYYY-MM-DD HH24') as slot,
            (parts.hour at time zone 'UTC')::date as utc_day,
            parts.period, parts.tenant_id, parts.customer_id, parts.project, parts.key_id,
            parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing,
            parts.meter, sum(parts.quantity) as quantity, sum(parts.cost_usd) as cost_usd,
            sum(parts.billed_usd) as billed_usd, sum(parts.events)::bigint as events,
            sum(parts.unpriced_events)::bigint as unpriced_events
        from parts
        where parts.hour >= check_rollups.from_day::timestamp at time zone 'UTC'
            and parts.hour < check_rollups.to_day::timestamp at time zone 'UTC'
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        union all
        select
            'usage_daily', parts.day::text, (parts.hour at time zone 'UTC')::date,
            parts.period, parts.tenant_id, parts.customer_id, parts.project, parts.key_id,
            parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing,
            parts.meter, sum(parts.quantity), sum(parts.cost_usd), sum(parts.billed_usd),
            sum(parts.events)::bigint, sum(parts.unpriced_events)::bigint
        from parts
        where parts.day >= check_rollups.from_day
            and parts.day < check_rollups.to_day
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        union all
        select
            'usage_totals', parts.day::text, (parts.hour at time zone 'UTC')::date,
            parts.period, parts.tenant_id, null, null, null,
            parts.environment, parts.paid_by, parts.provider, parts.endpoint, parts.model, parts.pricing,
            parts.meter, sum(parts.quantity), sum(parts.cost_usd), sum(parts.billed_usd),
            sum(parts.events)::bigint, sum(parts.unpriced_events)::bigint
        from parts
        where parts.day >= check_rollups.from_day
            and parts.day < check_rollups.to_day
        group by 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15
    ),
    kept as (
        select
            'usage_hourly' as roll_up, to_char(usage_hourly.hour at time zone 'UTC', 'YYYY-MM-DD HH24') as slot,
            (usage_hourly.hour at time zone 'UTC')::date as utc_day,
            usage_hourly.period, usage_hourly.tenant_id, usage_hourly.customer_id, usage_hourly.project,
            usage_hourly.key_id, usage_hourly.environment, usage_hourly.paid_by, usage_hourly.provider,
            usage_hourly.endpoint, usage_hourly.model, usage_hourly.pricing, usage_hourly.meter,
            sum(usage_hourly.quantity) as quantity, sum(usage_hourly.cost_usd) as cost_usd,
            sum(usage_hourly.billed_usd) as billed_usd, sum(usage_hourly.events)::bigint as events,
            sum(usage_hourly.unpriced_events)::bigint as unpriced_events
        from farebox_private.usage_hourly
        where usage_hourly.hour >= check_rollups.from_day::timestamp at time zone 'UTC'
            and usage_hourly.hour < check_rollups.to_day::timestamp at time zone 'UTC'
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        union all
        select
            'usage_daily', usage_daily.day::text, usage_daily.utc_day,
            usage_daily.period, usage_daily.tenant_id, usage_daily.customer_id, usage_daily.project,
            usage_daily.key_id, usage_daily.environment, usage_daily.paid_by, usage_daily.provider,
            usage_daily.endpoint, usage_daily.model, usage_daily.pricing, usage_daily.meter,
            sum(usage_daily.quantity), sum(usage_daily.cost_usd), sum(usage_daily.billed_usd),
            sum(usage_daily.events)::bigint, sum(usage_daily.unpriced_events)::bigint
        from farebox_private.usage_daily
        where usage_daily.day >= check_rollups.from_day
            and usage_daily.day < check_rollups.to_day
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        union all
        select
            'usage_totals', usage_totals.day::text, usage_totals.utc_day,
            usage_totals.period, usage_totals.tenant_id, null, null, null,
            usage_totals.environment, usage_totals.paid_by, usage_totals.provider, usage_totals.endpoint,
            usage_totals.model, usage_totals.pricing, usage_totals.meter,
            sum(usage_totals.quantity), sum(usage_totals.cost_usd), sum(usage_totals.billed_usd),
            sum(usage_totals.events)::bigint, sum(usage_totals.unpriced_events)::bigint
        from farebox_private.usage_totals
        where usage_totals.day >= check_rollups.from_day
            and usage_totals.day < check_rollups.to_day
        group by 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15
    ),
    -- A row of nothing but zeros says the same as none.
    differing as (
        select 'not kept' as difference, missing.*
        from (select * from made except all select * from kept) as missing
        union all
        select 'not in the ledger', invented.*
        from (select * from kept except all select * from made) as invented
    )
    select
        differing.roll_up, differing.slot, differing.tenant_id, differing.period, differing.model,
        differing.meter,
        differing.difference || ': quantity ' || trim_scale(differing.quantity)
            || ', cost ' || trim_scale(differing.cost_usd) || ', billed ' || trim_scale(differing.billed_usd)
            || ', events ' || differing.events || ', unpriced ' || differing.unpriced_events
    from differing
    where differing.quantity <> 0
        or differing.cost_usd <> 0
        or differing.billed_usd <> 0
        or differing.events <> 0
        or differing.unpriced_events <> 0
    order by 1, 2, 3, 4, 5, 6, 7;
end;

revoke execute on function farebox_private.check_rollups(date, date) from public;
grant execute on function farebox_private.check_rollups(date, date) to farebox_collector;
comment on function farebox_private.check_rollups(date, date) is
    'Rows of the roll-ups of these days that are not the sums of the ledger; none is as it should be. What retention removed is missing from the ledger.';
