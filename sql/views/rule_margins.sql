create or replace view farebox.rule_margins as
select
    sums.period,
    sums.tenant_id,
    sums.price_rule,
    trim_scale(sums.billed_usd) as billed_usd,
    trim_scale(sums.cost_usd) as cost_usd,
    trim_scale(sums.billed_usd - sums.cost_usd) as margin_usd,
    sums.charges,
    case when sums.billed_usd <> 0 then round((sums.billed_usd - sums.cost_usd) / sums.billed_usd, 4) end as margin_ratio,
    sums.billed_usd - sums.cost_usd < 0.2 * sums.billed_usd as is_thin,
    sums.billed_usd < sums.cost_usd as is_negative
from (
    select
        events.period,
        events.tenant_id,
        charge.value ->> 8 as price_rule,
        sum((charge.value ->> 6)::numeric) as billed_usd,
        sum(case when events.paid_by = 'operator' then coalesce((charge.value ->> 5)::numeric, 0) else 0 end) as cost_usd,
        count(*) as charges
    from farebox_private.usage_events as events
    cross join lateral jsonb_array_elements(events.charges::jsonb) as charge (value)
    where (select farebox_private.sees_all())
        and events.environment = 'live'
        and charge.value -> 6 <> 'null'
    group by events.period, events.tenant_id, charge.value ->> 8
) as sums;

grant select on farebox.rule_margins to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.rule_margins is 'Margins by selling rule, from the charges as first booked, without adjustments. Empty for tenants.';
comment on column farebox.rule_margins.period is 'The month.';
comment on column farebox.rule_margins.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.rule_margins.price_rule is 'The selling rule''s name; cost, paid_by_other and covered are built in.';
comment on column farebox.rule_margins.billed_usd is 'What the operator charges by it.';
comment on column farebox.rule_margins.cost_usd is 'What the operator pays for the same, as far as it is known.';
comment on column farebox.rule_margins.margin_usd is 'The difference.';
comment on column farebox.rule_margins.charges is 'How many charges.';
comment on column farebox.rule_margins.margin_ratio is 'The margin as a part of what was billed, to four decimals; null where nothing was billed.';
comment on column farebox.rule_margins.is_thin is 'Whether the margin is less than a fifth of what was billed; negative ones are.';
comment on column farebox.rule_margins.is_negative is 'Whether it cost more than was billed.';
