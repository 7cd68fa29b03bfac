-- What each booked event and each adjustment adds to the sums, row by row: what the roll-ups are the
-- sums of. The days are widened by one, since an hour's day in UTC is not the tenant's.
create or replace function farebox_private.ledger_parts(from_day date, to_day date)
    returns table (
        hour timestamptz,
        day date,
        period date,
        tenant_id text,
        customer_id text,
        project text,
        key_id uuid,
        environment text,
        paid_by text,
        provider text,
        endpoint text,
        model text,
        pricing text,
        meter text,
        quantity numeric,
        cost_usd numeric,
        billed_usd numeric,
        events bigint,
        unpriced_events bigint
    )
    language sql stable
begin atomic
    select
        date_trunc('hour', booked.started_at, 'UTC'), booked.day, booked.period, booked.tenant_id,
        booked.customer_id, booked.project, booked.key_id, booked.environment, booked.paid_by,
        booked.provider, booked.endpoint, part.model, booked.pricing, part.meter, part.quantity,
        part.cost_usd, part.billed_usd, part.events, part.unpriced_events
    from farebox_private.usage_events as booked
    cross join lateral (
        select
            booked.model, 'calls' as meter, (booked.attempt = 1 and booked.part = 1)::integer::numeric as quantity,
            0::numeric as cost_usd, 0::numeric as billed_usd, 1::bigint as events,
            (booked.pricing in ('unpriced', 'partial'))::integer::bigint as unpriced_events
        union all
        select line ->> 'model', counted.meter, counted.quantity::numeric, 0, 0, 0, 0
        from jsonb_array_elements(booked.lines::jsonb) as line
        cross join lateral jsonb_each_text(line -> 'usage') as counted (meter, quantity)
        where booked.pricing <> 'repeat'
        union all
        select
            charge ->> 0, charge ->> 1, 0,
            coalesce((charge ->> 5)::numeric, 0), coalesce((charge ->> 6)::numeric, 0), 0, 0
        from jsonb_array_elements(booked.charges::jsonb) as charge
    ) as part
    -- Ids begin with the time: these lead to the days, what is behind them says the same.
    where booked.event_id >= farebox_private.first_event_id((ledger_parts.from_day - 2)::timestamp at time zone 'UTC')
        and booked.event_id < farebox_private.first_event_id((ledger_parts.to_day + 2)::timestamp at time zone 'UTC')
        and booked.started_at >= (ledger_parts.from_day - 2)::timestamp at time zone 'UTC'
        and booked.started_at < (ledger_parts.to_day + 2)::timestamp at time zone 'UTC'
    union all
    select
        date_trunc('hour', adjusted.started_at, 'UTC'), adjusted.day, adjusted.period,
        adjusted.tenant_id, adjusted.customer_id, adjusted.project, adjusted.key_id,
        adjusted.environment, adjusted.paid_by, adjusted.provider, adjusted.endpoint, adjusted.model,
        adjusted.pricing, adjusted.meter, adjusted.quantity, adjusted.cost_usd, adjusted.billed_usd,
        adjusted.events, adjusted.unpriced_events
    from farebox_private.adjustments as adjusted
    where adjusted.started_at >= (ledger_parts.from_day - 2)::timestamp at time zone 'UTC'
        and adjusted.started_at < (ledger_parts.to_day + 2)::timestamp at time zone 'UTC';
end;

revoke execute on function farebox_private.ledger_parts(date, date) from public;
grant execute on function farebox_private.ledger_parts(date, date) to farebox_collector;
comment on function farebox_private.ledger_parts(date, date) is
    'What each event and adjustment around these days adds to the sums, not added up.';
