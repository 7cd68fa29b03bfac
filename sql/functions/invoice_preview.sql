create or replace function farebox.invoice_preview(tenant text, month date)
    returns table (
        line bigint,
        kind text,
        provider text,
        model text,
        meter text,
        quantity numeric,
        billed_usd numeric,
        unpriced_events bigint,
        quantity_low numeric,
        quantity_high numeric,
        corrects date,
        text text
    )
    language sql stable
begin atomic
    with recursive daily as (
        select *
        from farebox.usage_daily
        where usage_daily.tenant_id = invoice_preview.tenant
            and usage_daily.period = date_trunc('month', invoice_preview.month)::date
            and usage_daily.environment = 'live'
    ),
    -- What was booked in this month for an earlier one.
    corrected as (
        select *
        from farebox.adjustments
        where adjustments.tenant_id = invoice_preview.tenant
            and adjustments.period = date_trunc('month', invoice_preview.month)::date
            and adjustments.environment = 'live'
            and adjustments.event_period < adjustments.period
            and adjustments.meter <> 'calls'
            and adjustments.pricing <> 'unpriced'
    ),
    priced as (
        select daily.provider, daily.model, daily.meter, daily.quantity, daily.billed_usd::numeric as billed_usd
        from daily
        where daily.meter <> 'calls'
            and daily.pricing <> 'unpriced'
        union all
        select corrected.provider, corrected.model, corrected.meter, -corrected.quantity, -corrected.billed_usd
        from corrected
    ),
    -- What has a price, corrections of the same month included.
    used as (
        select
            priced.provider,
            priced.model,
            priced.meter,
            sum(priced.quantity) as quantity,
            sum(priced.billed_usd) as billed_usd
        from priced
        group by priced.provider, priced.model, priced.meter
    ),
    -- What is included, in the order in which it is taken off.
    included as (
        select
            row_number() over (order by allowances.allowance) as turn,
            allowances.allowance,
            allowances.provider,
            allowances.model,
            allowances.meters,
            allowances.usd,
            allowances.quantity
        from farebox.allowances
        where allowances.tenant_id = invoice_preview.tenant
            and coalesce(allowances.valid_from <= date_trunc('month', invoice_preview.month)::date, true)
            and coalesce(allowances.valid_to > date_trunc('month', invoice_preview.month)::date, true)
    ),
    -- What each turn leaves of every line of usage, and what it took of it. A line that corrections made
    -- negative gives nothing and takes nothing.
    remaining as (
        select
            0::bigint as turn,
            used.provider,
            used.model,
            used.meter,
            used.billed_usd,
            used.quantity,
            0::numeric as off_usd,
            0::numeric as off_quantity
        from used
        where used.billed_usd >= 0
            and used.quantity >= 0
        union all
        select
            reached.turn,
            reached.provider,
            reached.model,
            reached.meter,
            reached.billed_usd - off.usd,
            reached.quantity - off_with.quantity,
            off.usd,
            off_with.quantity
        from (
            -- In scope: the line's own, all up to it, and all.
            select
                included.turn,
                remaining.provider,
                remaining.model,
                remaining.meter,
                remaining.billed_usd,
                remaining.quantity,
                included.usd as included_usd,
                scope.usd,
                scope.quantity as units,
                sum(scope.usd) over up_to_it as usd_up_to_it,
                sum(scope.quantity) over up_to_it as units_up_to_it,
                sum(scope.quantity) over () as units_of_all,
                least(included.quantity, sum(scope.quantity) over ()) as units_off
            from remaining
            join included on included.turn = remaining.turn + 1
            cross join lateral (
                select
                    case when scoped.is_in_it then remaining.billed_usd else 0 end as usd,
                    case when scoped.is_in_it then remaining.quantity else 0 end as quantity
                from (
                    select (included.provider is null or included.provider = remaining.provider)
                        and (included.model is null or included.model = remaining.model)
                        and (included.meters is null or remaining.meter = any (included.meters)) as is_in_it
                ) as scoped
            ) as scope
            window up_to_it as (
                order by remaining.provider, remaining.model, remaining.meter
                rows unbounded preceding
            )
        ) as reached
        -- An amount is taken line by line until it is used up; of a quantity, its share of each. The sum of the
        -- lines up to each is rounded, so that they add up to all of it rounded once: div(2 * n + d, 2 * d) is
        -- n / d rounded to a whole number, which a quotient with its own rounding would not always be.
        cross join lateral (
            select case
                when reached.included_usd is not null then
                    least(reached.included_usd, reached.usd_up_to_it)
                    - least(reached.included_usd, reached.usd_up_to_it - reached.usd)
                when reached.units_of_all > 0 then 1e-12 * (
                    div(
                        2e12 * reached.usd_up_to_it * reached.units_off + reached.units_of_all,
                        2 * reached.units_of_all
                    )
                    - div(
                        2e12 * (reached.usd_up_to_it - reached.usd) * reached.units_off + reached.units_of_all,
                        2 * reached.units_of_all
                    )
                )
                else 0
            end as usd
        ) as off
        -- What is paid for is gone as a quantity too, so that what is left of a line keeps its price by the unit.
        cross join lateral (
            select case
                when reached.included_usd is not null and reached.usd > 0 then
                    1e-18 * div(2e18 * reached.units * off.usd + reached.usd, 2 * reached.usd)
                when reached.included_usd is null and reached.units_of_all > 0 then 1e-18 * (
                    div(
                        2e18 * reached.units_up_to_it * reached.units_off + reached.units_of_all,
                        2 * reached.units_of_all
                    )
                    - div(
                        2e18 * (reached.units_up_to_it - reached.units) * reached.units_off + reached.units_of_all,
                        2 * reached.units_of_all
                    )
                )
                else 0
            end as quantity
        ) as off_with
    ),
    allowed as (
        select
            included.allowance,
            included.provider,
            included.model,
            case when included.quantity is not null then sum(remaining.off_quantity) end as off_quantity,
            sum(remaining.off_usd) as off_usd
        from included
        join remaining on remaining.turn = included.turn
        group by included.allowance, included.provider, included.model, included.quantity
    ),
    lines as (
        select
            1 as place,
            'usage' as kind,
            null::date as corrects,
            used.provider,
            used.model,
            used.meter,
            used.quantity,
            used.billed_usd,
            0::bigint as unpriced_events,
            null::numeric as quantity_low,
            null::numeric as quantity_high,
            null::text as text
        from used
        union all
        select
            2,
            'allowance',
            null,
            allowed.provider,
            allowed.model,
            null,
            -allowed.off_quantity,
            -allowed.off_usd,
            0,
            null,
            null,
            'included: ' || allowed.allowance
        from allowed
        where allowed.off_usd > 0
        union all
        select
            3,
            case when sum(corrected.billed_usd) < 0 then 'credit' else 'debit' end,
            corrected.event_period,
            corrected.provider,
            corrected.model,
            corrected.meter,
            sum(corrected.quantity),
            sum(corrected.billed_usd),
            0,
            null,
            null,
            'correction of ' || to_char(corrected.event_period, 'YYYY-MM') || ': '
                || string_agg(distinct corrected.reason, '; ')
        from corrected
        group by corrected.event_period, corrected.provider, corrected.model, corrected.meter
        union all
        -- What has none, and how many events wait for one.
        select
            4,
            'unpriced',
            null,
            daily.provider,
            daily.model,
            daily.meter,
            sum(daily.quantity),
            null,
            sum(daily.unpriced_events)::bigint,
            null,
            null,
            null
        from daily
        where daily.pricing = 'unpriced'
            or (daily.meter = 'calls' and daily.pricing = 'partial')
        group by daily.provider, daily.model, daily.meter
        union all
        -- Calls of which no usage is known, within their bounds.
        select
            5,
            'unknown',
            null,
            unknown.provider,
            coalesce(unknown.model, unknown.model_requested),
            coalesce(bounds.meter, 'calls'),
            case when bounds.meter is null then count(*) end,
            null,
            0,
            sum(bounds.low),
            sum(bounds.high),
            null
        from farebox.unpriced_usage as unknown
        left join lateral (
            select
                meters.meter,
                (unknown.usage_low ->> meters.meter)::numeric as low,
                (unknown.usage_high ->> meters.meter)::numeric as high
            from jsonb_object_keys(
                coalesce(unknown.usage_low, '{}') || coalesce(unknown.usage_high, '{}')
            ) as meters (meter)
        ) as bounds on true
        where unknown.tenant_id = invoice_preview.tenant
            and unknown.period = date_trunc('month', invoice_preview.month)::date
            and unknown.environment = 'live'
            and unknown.pricing = 'unknown'
        group by unknown.provider, coalesce(unknown.model, unknown.model_requested), bounds.meter
    )
    select
        row_number() over (
            order by lines.place, lines.corrects, lines.provider, lines.model, lines.meter, lines.kind, lines.text
        ),
        lines.kind,
        lines.provider,
        lines.model,
        lines.meter,
        trim_scale(lines.quantity),
        trim_scale(lines.billed_usd),
        lines.unpriced_events,
        trim_scale(lines.quantity_low),
        trim_scale(lines.quantity_high),
        lines.corrects,
        lines.text
    from lines
    where lines.place = 5
        or lines.quantity <> 0
        or lines.billed_usd <> 0
        or lines.unpriced_events <> 0
    order by 1;
end;

revoke execute on function farebox.invoice_preview(text, date) from public;
grant execute on function farebox.invoice_preview(text, date) to farebox_reader, farebox_collector, farebox_tenant;
comment on function farebox.invoice_preview(text, date) is
    'The lines of a tenant''s invoice for a month as it stands: kind usage by provider, model and meter, kind allowance for what is included (what is left of the sum is the overage), kind credit and debit for corrections of earlier months (billed_usd of these sums to the invoice), kind unpriced (no rate yet; blocks the close), kind unknown (no usage known, with bounds). Tenants see their own.';
