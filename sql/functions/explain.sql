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
    -- In whose months it is counted.
    months as (
        select event.tenant_id, event.period
        from event
        union
        select adjustments.tenant_id, adjustments.period
        from farebox.adjustments
        where adjustments.event_id = explain.event_id
    ),
    -- And there under which model and meter, as usage or as the correction of a month.
    counted as (
        select
            event.tenant_id,
            event.period,
            charge.value ->> 'model' as model,
            charge.value ->> 'meter' as meter,
            null::date as corrects
        from event
        cross join lateral jsonb_array_elements(event.charges) as charge (value)
        where event.environment = 'live'
        union
        select
            adjustments.tenant_id,
            adjustments.period,
            adjustments.model,
            adjustments.meter,
            case when adjustments.event_period < adjustments.period then adjustments.event_period end
        from farebox.adjustments
        where adjustments.event_id = explain.event_id
            and adjustments.environment = 'live'
            and adjustments.meter <> 'calls'
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
                (5, 'bytes', coalesce(event.request_bytes::text, 'unknown') || ' up, '
                    || coalesce(event.response_bytes::text, 'unknown') || ' down, ' || event.transport),
                (6, 'provider ids', concat_ws(', ', event.upstream_request_id, event.response_id)),
                (7, 'key', (
                    select virtual_keys.prefix || ', ' || virtual_keys.name
                    from farebox.virtual_keys
                    where virtual_keys.key_id = event.key_id
                ))
        ) as fact (place, item, detail)
        union all
        -- What bound the call then.
        select
            2, 'limit', limits.meter, limits.amount, 'per ' || limits.window_kind, null, null,
            concat_ws(', ', limits.action, case when limits.dry_run then 'dry run' end,
                coalesce('tenant ' || limits.tenant_id, 'every tenant'),
                'customer ' || limits.customer_id, 'model ' || limits.model, 'limit ' || limits.limit_id),
            row_number() over (order by limits.created_at)
        from event
        join farebox.limits
            on (limits.tenant_id is null or limits.tenant_id = event.tenant_id)
            and (limits.customer_id is null or limits.customer_id = event.customer_id)
            and (limits.project is null or limits.project = event.project)
            and (limits.agent is null or limits.agent = event.agent)
            and (limits.key_id is null or limits.key_id = event.key_id)
            and (limits.provider is null or limits.provider = event.provider)
            and (limits.upstream is null or limits.upstream = event.upstream)
            and (limits.model is null or limits.model in (event.model, event.model_requested))
            and limits.created_at <= event.started_at
            and (limits.expires_at is null or limits.expires_at > event.started_at)
        union all
        -- What happened at limits of the tenant while it ran.
        select
            3, 'limit event', limit_events.kind, limit_events.used, 'of ' || limit_events.amount, null, null,
            concat_ws(', ', limit_events.meter, 'limit ' || limit_events.limit_id),
            row_number() over (order by limit_events.at)
        from event
        join farebox.limit_events
            on limit_events.tenant_id = event.tenant_id
            and limit_events.at >= event.started_at
            and limit_events.at <= coalesce(event.ended_at, event.started_at)
        union all
        select
            4, 'evidence', seen.value ->> 'at', null, null, null, null, seen.value ->> 'value', seen.place
        from event
        cross join lateral jsonb_array_elements(event.evidence -> 'objects')
            with ordinality as seen (value, place)
        union all
        select
            5, 'usage', meter.key, meter.value::numeric, null, null, null,
            concat_ws(', ', line.value ->> 'model', event.usage_source, event.usage_reason,
                nullif(line.value ->> 'conditions', '{}')),
            line.place
        from event
        cross join lateral jsonb_array_elements(event.lines) with ordinality as line (value, place)
        cross join lateral jsonb_each_text(line.value -> 'usage') as meter (key, value)
        union all
        select
            6, 'bounds', meters.meter, null, null, null, null,
            coalesce(event.usage_low ->> meters.meter, '0')
                || ' to ' || coalesce(event.usage_high ->> meters.meter, 'unbounded'),
            1
        from event
        cross join lateral jsonb_object_keys(
            coalesce(event.usage_low, '{}') || coalesce(event.usage_high, '{}')
        ) as meters (meter)
        union all
        select
            7, 'charge', charge.value ->> 'meter', (charge.value ->> 'quantity')::numeric,
            (charge.value -> 'price_rate' ->> 'usd') || ' USD per ' || (charge.value -> 'price_rate' ->> 'per'),
            (charge.value ->> 'cost_usd')::numeric,
            (charge.value ->> 'billed_usd')::numeric,
            concat_ws(', ', charge.value ->> 'model', charge.value ->> 'cost_rule', charge.value ->> 'price_rule',
                'billed as ' || (charge.value ->> 'billed_quantity')),
            charge.place
        from event
        cross join lateral jsonb_array_elements(event.charges) with ordinality as charge (value, place)
        union all
        select
            8, 'booked', event.pricing, null, null, event.cost_usd, event.billed_usd,
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
            case when adjustments.tenant_id is not distinct from event.tenant_id then 9 else 12 end,
            case when adjustments.tenant_id is not distinct from event.tenant_id then 'adjustment' else 'moved' end,
            adjustments.meter, adjustments.quantity, null,
            adjustments.cost_usd, adjustments.billed_usd,
            concat_ws(', ', adjustments.kind, adjustments.reason, 'in ' || to_char(adjustments.period, 'YYYY-MM'),
                case when adjustments.kind = 'retag' then concat_ws(', ',
                    'tenant ' || coalesce(adjustments.tenant_id, 'unattributed'),
                    'customer ' || adjustments.customer_id,
                    'project ' || adjustments.project)
                end),
            (extract(epoch from adjustments.booked_at) * 1000000)::bigint
        from event
        join farebox.adjustments
            on adjustments.event_id = event.event_id
        union all
        select
            10, 'invoice', to_char(months.period, 'YYYY-MM'), null, null, null, null,
            concat_ws(', ',
                case when months.period = event.period then 'day ' || event.day else 'corrections' end,
                case when months.period = event.period and event.is_late then 'late: its own month was closed' end,
                case
                    when event.environment = 'test' then 'test traffic is on no invoice'
                    else 'invoice ' || invoices.number
                end),
            months.period - date '2000-01-01'
        from event
        join months
            on months.tenant_id is not distinct from event.tenant_id
        left join farebox.invoices
            on invoices.tenant_id = months.tenant_id
            and invoices.period = months.period
        union all
        select
            case when invoices.tenant_id = event.tenant_id then 11 else 12 end,
            case when invoices.tenant_id = event.tenant_id then 'invoice line' else 'moved' end,
            invoice_lines.meter, invoice_lines.quantity, null, null, invoice_lines.billed_usd,
            'line ' || invoice_lines.line || ' of ' || invoices.number || ', of all its events',
            (invoices.period - date '2000-01-01') * 1000000::bigint + invoice_lines.line
        from event
        cross join counted
        join farebox.invoices
            on invoices.tenant_id = counted.tenant_id
            and invoices.period = counted.period
        join farebox.invoice_lines
            on invoice_lines.invoice_id = invoices.invoice_id
            and invoice_lines.provider = event.provider
            and invoice_lines.model is not distinct from counted.model
            and invoice_lines.meter = counted.meter
            and invoice_lines.corrects is not distinct from counted.corrects
        union all
        -- Whose it is since it was moved.
        select
            12, 'moved', to_char(months.period, 'YYYY-MM'), null, null, null, null,
            concat_ws(', ',
                'tenant ' || coalesce(months.tenant_id, 'unattributed'),
                case when event.environment = 'live' then 'invoice ' || invoices.number end),
            (months.period - date '2000-01-01') * 1000000::bigint
        from event
        join months
            on months.tenant_id is distinct from event.tenant_id
        left join farebox.invoices
            on invoices.tenant_id = months.tenant_id
            and invoices.period = months.period
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
    'One event from what was seen on the wire to the invoice''s month, step by step: call, limit, limit event, evidence, usage, bounds, charge, booked, adjustment, invoice, invoice line, moved (the tenants that corrections took it to, what they are charged, their months and lines). Tenants see their own, without costs.';
