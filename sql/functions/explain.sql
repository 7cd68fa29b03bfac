create or replace function farebox.explain(event_id uuid)
    returns table (
        step integer,
        topic text,
        item text,
        quantity numeric,
        rate text,
        cost_usd numeric,
        billed_usd numeric,
        detail text
    )
    language sql stable
begin atomic
    with event as (
        select *
        from farebox.usage_events
        where usage_events.event_id = explain.event_id
    ),
    steps as (
        select
            1 as step,
            'call' as topic,
            fact.item,
            null::numeric as quantity,
            null::text as rate,
            null::numeric as cost_usd,
            null::numeric as billed_usd,
            fact.detail,
            fact.place
        from event
        cross join lateral (
            values
                (1, 'tenant', coalesce(event.tenant_id, 'unattributed') || ', from ' || event.attribution),
                (2, 'upstream', event.upstream || ', ' || event.endpoint || ', paid by ' || event.paid_by),
                (3, 'model', 'asked ' || coalesce(event.model_requested, 'for none')
                    || ', billed ' || coalesce(event.model, 'none')),
                (4, 'answer', event.ending || coalesce(', status ' || event.status, '')
                    || coalesce(', ' || event.duration_ms || ' ms', '')),
                (5, 'provider ids', concat_ws(', ', event.upstream_request_id, event.response_id))
        ) as fact (place, item, detail)
        union all
        select
            2, 'evidence', seen.value ->> 'at', null, null, null, null, seen.value ->> 'value', seen.place
        from event
        cross join lateral jsonb_array_elements(event.evidence -> 'objects')
            with ordinality as seen (value, place)
        union all
        select
            3, 'usage', meter.key, meter.value::numeric, null, null, null,
            concat_ws(', ', line.value ->> 'model', event.usage_source, event.usage_reason,
                nullif(line.value ->> 'conditions', '{}')),
            line.place
        from event
        cross join lateral jsonb_array_elements(event.lines) with ordinality as line (value, place)
        cross join lateral jsonb_each_text(line.value -> 'usage') as meter (key, value)
        union all
        select
            4, 'bounds', meters.meter, null, null, null, null,
            coalesce(event.usage_low ->> meters.meter, '0')
                || ' to ' || coalesce(event.usage_high ->> meters.meter, 'unbounded'),
            1
        from event
        cross join lateral jsonb_object_keys(
            coalesce(event.usage_low, '{}') || coalesce(event.usage_high, '{}')
        ) as meters (meter)
        union all
        select
            5, 'charge', charge.value ->> 'meter', (charge.value ->> 'quantity')::numeric,
            (charge.value -> 'price_rate' ->> 'usd') || ' USD per ' || (charge.value -> 'price_rate' ->> 'per'),
            (charge.value ->> 'cost_usd')::numeric,
            (charge.value ->> 'billed_usd')::numeric,
            concat_ws(', ', charge.value ->> 'model', charge.value ->> 'cost_rule', charge.value ->> 'price_rule'),
            charge.place
        from event
        cross join lateral jsonb_array_elements(event.charges) with ordinality as charge (value, place)
        union all
        select
            6, 'booked', event.pricing, null, null, event.cost_usd, event.billed_usd,
            concat_ws(', ',
                'card ' || left(event.rate_cards ->> 'cost', 12),
                'the proxy claimed ' || event.claimed_usd,
                case when event.price_mismatch then 'which differs' end,
                'repeats ' || event.repeats,
                'settles ' || event.settles),
            1
        from event
        union all
        select
            7, 'adjustment', adjustments.meter, adjustments.quantity, null,
            adjustments.cost_usd, adjustments.billed_usd,
            concat_ws(', ', adjustments.kind, adjustments.reason, 'in ' || to_char(adjustments.period, 'YYYY-MM')),
            extract(epoch from adjustments.booked_at)::bigint
        from farebox.adjustments
        where adjustments.event_id = explain.event_id
        union all
        select
            8, 'invoice', to_char(event.period, 'YYYY-MM'), null, null, null, null,
            concat_ws(', ',
                'day ' || event.day,
                case when event.is_late then 'late: its own month was closed' end,
                case when event.environment = 'test' then 'test traffic is on no invoice' end,
                'invoice ' || invoices.number),
            1
        from event
        left join farebox.invoices
            on invoices.tenant_id = event.tenant_id
            and invoices.period = event.period
    )
    select
        steps.step,
        steps.topic,
        steps.item,
        steps.quantity,
        steps.rate,
        steps.cost_usd,
        steps.billed_usd,
        nullif(steps.detail, '')
    from steps
    order by steps.step, steps.place, steps.item;
end;

revoke execute on function farebox.explain(uuid) from public;
grant execute on function farebox.explain(uuid) to farebox_reader, farebox_collector, farebox_tenant;
comment on function farebox.explain(uuid) is
    'One event from what was seen on the wire to the invoice''s month, step by step: call, evidence, usage, bounds, charge, booked, adjustment, invoice. Tenants see their own, without costs.';
