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
    with daily as (
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
    -- What each allowance would take off by itself: an amount, or the share of a quantity in its price.
    included as (
        select
            allowances.allowance,
            allowances.provider,
            allowances.model,
            allowances.quantity,
            sum(used.quantity) as used_quantity,
            case
                when allowances.usd is not null then least(allowances.usd, sum(used.billed_usd))
                when sum(used.quantity) > 0 then round(
                    sum(used.billed_usd) * least(allowances.quantity, sum(used.quantity)) / sum(used.quantity),
                    12
                )
            end as usd
        from farebox.allowances
        join used
            on (allowances.provider is null or allowances.provider = used.provider)
            and (allowances.model is null or allowances.model = used.model)
            and (allowances.meters is null or used.meter = any (allowances.meters))
        where allowances.tenant_id = invoice_preview.tenant
            and coalesce(allowances.valid_from <= date_trunc('month', invoice_preview.month)::date, true)
            and coalesce(allowances.valid_to > date_trunc('month', invoice_preview.month)::date, true)
        group by allowances.allowance, allowances.provider, allowances.model, allowances.usd, allowances.quantity
    ),
    -- Together no more than what was used: one after the other by name.
    allowed as (
        select
            included.*,
            greatest(0, least(
                included.usd,
                (select sum(used.billed_usd) from used)
                    - coalesce(sum(included.usd) over (
                        order by included.allowance
                        rows between unbounded preceding and 1 preceding
                    ), 0)
            )) as off_usd
        from included
        where included.usd > 0
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
            case when allowed.quantity is not null then -least(allowed.quantity, allowed.used_quantity) end,
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
