create or replace function farebox_private.rebuild_rollups(from_day date, to_day date)
    returns bigint
    language plpgsql
    set search_path = pg_temp, pg_catalog
as $function$
declare
    rows_made bigint;
    rows_more bigint;
    rows_of_totals bigint;
begin
    if exists (
        select
        from farebox_private.retained
        where retained.removed_before > (from_day - 2)::timestamp at time zone 'UTC'
    ) then
        raise exception 'retention removed events of these days: their sums cannot be made again'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    -- Nobody books meanwhile; reading goes on.
    lock table farebox_private.new_sums, farebox_private.hourly_sums, farebox_private.daily_sums,
        farebox_private.total_sums
        in share row exclusive mode;
    perform farebox_private.merge_sums();
    -- Added up by both slots at once, so that what is put aside is no larger than the sums themselves.
    create temporary table parts on commit drop as
    select
        hour, day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, sum(quantity) as quantity, sum(cost_usd) as cost_usd,
        sum(billed_usd) as billed_usd, sum(events) as events, sum(unpriced_events) as unpriced_events
    from farebox_private.ledger_parts(from_day, to_day)
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    delete from farebox_private.hourly_sums
    where hour >= from_day::timestamp at time zone 'UTC'
        and hour < to_day::timestamp at time zone 'UTC';
    delete from farebox_private.daily_sums
    where day >= from_day
        and day < to_day;
    insert into farebox_private.hourly_sums
    select
        hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events),
        sum(unpriced_events)
    from parts
    where hour >= from_day::timestamp at time zone 'UTC'
        and hour < to_day::timestamp at time zone 'UTC'
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13;
    get diagnostics rows_made = row_count;
    insert into farebox_private.daily_sums (
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, utc_day, quantity, cost_usd, billed_usd, events, unpriced_events
    )
    select
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, (hour at time zone 'UTC')::date, sum(quantity), sum(cost_usd), sum(billed_usd),
        sum(events), sum(unpriced_events)
    from parts
    where day >= from_day
        and day < to_day
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    get diagnostics rows_more = row_count;
    drop table parts;
    delete from farebox_private.total_sums
    where day >= from_day
        and day < to_day;
    insert into farebox_private.total_sums (
        day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        quantity, cost_usd, billed_usd, events, unpriced_events
    )
    select
        day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        sum(quantity), sum(cost_usd), sum(billed_usd), sum(events), sum(unpriced_events)
    from farebox_private.daily_sums
    where day >= from_day
        and day < to_day
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    get diagnostics rows_of_totals = row_count;
    insert into farebox_private.tenant_sessions (tenant_id, session)
    select distinct booked.tenant_id, farebox_private.session_digest(booked.session_id)
    from farebox_private.usage_events as booked
    where booked.tenant_id is not null
        and booked.session_id is not null
        and booked.started_at >= (from_day - 2)::timestamp at time zone 'UTC'
        and booked.started_at < (to_day + 2)::timestamp at time zone 'UTC'
    on conflict do nothing;
    return rows_made + rows_more + rows_of_totals;
end
$function$;

revoke execute on function farebox_private.rebuild_rollups(date, date) from public;
comment on function farebox_private.rebuild_rollups(date, date) is
    'Makes the roll-ups of these days again from the ledger, and counts sessions that were not counted, for its owner; how many rows the roll-ups have then. Refused where retention removed events.';
