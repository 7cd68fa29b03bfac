create or replace view farebox.margins as
select
    sums.period,
    sums.tenant_id,
    sums.provider,
    sums.model,
    trim_scale(sums.billed_usd) as billed_usd,
    trim_scale(sums.cost_usd) as cost_usd,
    trim_scale(sums.billed_usd - sums.cost_usd) as margin_usd,
    sums.unpriced_events,
    case when sums.billed_usd <> 0 then round((sums.billed_usd - sums.cost_usd) / sums.billed_usd, 4) end as margin_ratio,
    sums.billed_usd - sums.cost_usd < 0.2 * sums.billed_usd as is_thin,
    sums.billed_usd < sums.cost_usd as is_negative
from (
    select
        daily.period,
        daily.tenant_id,
        daily.provider,
        daily.model,
        sum(daily.billed_usd) as billed_usd,
        sum(case when daily.paid_by = 'operator' then daily.cost_usd else 0 end) as cost_usd,
        sum(daily.unpriced_events)::bigint as unpriced_events
    from farebox_private.usage_daily as daily
    where (select farebox_private.sees_all())
        and daily.environment = 'live'
    group by daily.period, daily.tenant_id, daily.provider, daily.model
) as sums;

grant select on farebox.margins to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.margins is 'What was billed less what it cost, by month; cost counts where the operator pays. Empty for tenants.';
comment on column farebox.margins.period is 'The month.';
comment on column farebox.margins.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.margins.provider is 'The vendor.';
comment on column farebox.margins.model is 'The model.';
comment on column farebox.margins.billed_usd is 'What the operator charges.';
comment on column farebox.margins.cost_usd is 'What the operator pays.';
comment on column farebox.margins.margin_usd is 'The difference.';
comment on column farebox.margins.unpriced_events is 'Events that are missing from both.';
comment on column farebox.margins.margin_ratio is 'The margin as a part of what was billed, to four decimals; null where nothing was billed.';
comment on column farebox.margins.is_thin is 'Whether the margin is less than a fifth of what was billed; negative ones are.';
comment on column farebox.margins.is_negative is 'Whether it cost more than was billed.';
