-- Merges what batches left in new_sums into the sums: hours before days before totals, each in the order in which batches grow
-- them by themselves, so that nobody blocks another for good.
create or replace function farebox_private.merge_sums() returns bigint
    language sql
    -- Adding up by hashing takes a third of the time of sorting, which the default would be too small for.
    set work_mem = '64MB'
    set jit = off
begin atomic
    with taken as (
        delete from farebox_private.new_sums
        returning *
    ),
    grown as materialized (
        select
            taken.hour, taken.day, taken.period, taken.tenant_id, taken.customer_id, taken.project, taken.key_id,
            taken.environment, taken.paid_by, taken.provider, taken.endpoint, part.model, taken.pricing,
            part.meter, sum(part.quantity) as quantity, sum(part.cost_usd) as cost_usd,
            sum(part.billed_usd) as billed_usd, sum(part.events)::bigint as events,
            sum(part.unpriced_events)::bigint as unpriced_events
        from taken
        cross join lateral unnest(
            taken.models, taken.meters, taken.quantities, taken.costs_usd, taken.billed_usd, taken.events,
            taken.unpriced_events
        ) as part (model, meter, quantity, cost_usd, billed_usd, events, unpriced_events)
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    ),
    hours as (
        insert into farebox_private.hourly_sums as sums (
            hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
            model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events
        )
        select
            hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
            model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events)::bigint,
            sum(unpriced_events)::bigint
        from grown
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
        order by
            hour, tenant_id collate "C" nulls first, period, customer_id collate "C" nulls first,
            project collate "C" nulls first, key_id nulls first, environment collate "C", paid_by collate "C",
            provider collate "C", endpoint collate "C", pricing collate "C", model collate "C" nulls first,
            meter collate "C"
        on conflict (
            tenant_id, hour, meter, model, endpoint, provider, key_id, customer_id, project, period,
            environment, paid_by, pricing
        ) do update
        set quantity = sums.quantity + excluded.quantity,
            cost_usd = sums.cost_usd + excluded.cost_usd,
            billed_usd = sums.billed_usd + excluded.billed_usd,
            events = sums.events + excluded.events,
            unpriced_events = sums.unpriced_events + excluded.unpriced_events
        returning 1
    ),
    days as (
        insert into farebox_private.daily_sums as sums (
            day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
            model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events, utc_day
        )
        select
            day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
            model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events)::bigint,
            sum(unpriced_events)::bigint, utc_day
        from (
            select grown.*, (grown.hour at time zone 'UTC')::date as utc_day
            from grown
            -- All hours are grown when this is sorted.
            cross join (select count(*) from hours) as behind_hours
        ) as grown
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, utc_day
        order by
            day, tenant_id collate "C" nulls first, period, customer_id collate "C" nulls first,
            project collate "C" nulls first, key_id nulls first, environment collate "C", paid_by collate "C",
            provider collate "C", endpoint collate "C", pricing collate "C", model collate "C" nulls first,
            meter collate "C", utc_day
        on conflict (
            tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period,
            environment, paid_by, pricing, utc_day
        ) do update
        set quantity = sums.quantity + excluded.quantity,
            cost_usd = sums.cost_usd + excluded.cost_usd,
            billed_usd = sums.billed_usd + excluded.billed_usd,
            events = sums.events + excluded.events,
            unpriced_events = sums.unpriced_events + excluded.unpriced_events
        returning 1
    ),
    totals as (
        insert into farebox_private.total_sums as sums (
            day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity,
            cost_usd, billed_usd, events, unpriced_events, utc_day
        )
        select
            day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
            sum(quantity), sum(cost_usd), sum(billed_usd), sum(events)::bigint, sum(unpriced_events)::bigint,
            utc_day
        from (
            select grown.*, (grown.hour at time zone 'UTC')::date as utc_day
            from grown
            -- All days are grown when this is sorted.
            cross join (select count(*) from days) as behind_days
        ) as grown
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, utc_day
        order by
            day, tenant_id collate "C" nulls first, period, environment collate "C", paid_by collate "C",
            provider collate "C", endpoint collate "C", pricing collate "C", model collate "C" nulls first,
            meter collate "C", utc_day
        on conflict (
            tenant_id, day, meter, model, endpoint, provider, period, environment, paid_by, pricing, utc_day
        ) do update
        set quantity = sums.quantity + excluded.quantity,
            cost_usd = sums.cost_usd + excluded.cost_usd,
            billed_usd = sums.billed_usd + excluded.billed_usd,
            events = sums.events + excluded.events,
            unpriced_events = sums.unpriced_events + excluded.unpriced_events
        returning 1
    )
    select (select count(*) from days)
    from (select count(*) from totals) as behind_totals;
end;

revoke execute on function farebox_private.merge_sums() from public;
grant execute on function farebox_private.merge_sums() to farebox_collector;
comment on function farebox_private.merge_sums() is
    'Adds what is in new_sums to hourly_sums, daily_sums and total_sums, and takes it out there; how many rows of days grew.';
